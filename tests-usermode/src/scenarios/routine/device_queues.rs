//! Device queues.

use interlock_abi::{Call, CallResult, Routine};

use super::{NULL, Run, call, check, found, number};
use crate::error::Result;
use crate::scenarios::{Scenario, Session, Tally};
use crate::status::Status;

/// The largest key.
const LAST: u64 = u32::MAX as u64;

/// A removal found the queue empty: it is no longer busy.
const NOT_BUSY: CallResult = CallResult {
    status: Status::DEVICE_NOT_READY.0,
    ..NULL
};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = routines! {
    KeInitializeDeviceQueue::is_not_busy,
        "a device queue is not busy once it is initialised",
        calls! {
            0, [] => number(0);
        };
    KeInsertDeviceQueue::queues_when_busy,
        "the first request makes the device queue busy, and those that follow are queued in order",
        calls! {
            0, [] => number(0);
            0, [5] => found(0);
            0, [5, 9] => found(1), [9];
            0, [5, 9, u64::MAX, 1, 9] => found(4), [9, u64::MAX, 1, 9];
        };
    KeInsertByKeyDeviceQueue::queues_by_key,
        "requests are queued by key once the device queue is busy",
        calls! {
            0, [] => number(0);
            0, [5] => found(0);
            // The first request is not queued, whatever its key.
            0, [5, 9, 1, 7] => found(3), [1, 7, 9];
            // Smaller than all keys, equal, larger than all.
            0, [0, 10, 20, 5, 10, 30, 20] => found(6), [5, 10, 10, 20, 20, 30];
            0, [1, LAST, 0, LAST, 0] => found(4), [0, 0, LAST, LAST];
        };
    KeRemoveDeviceQueue::returns_the_oldest,
        "a removal returns the oldest request, NULL if there is none, and then the queue is not busy",
        calls! {
            0, [] => NOT_BUSY;
            0, [7] => found(7);
            0, [3, 1, 2] => found(3), [1, 2];
            0, [0, u64::MAX] => found(0), [u64::MAX];
        };
    KeRemoveByKeyDeviceQueue::returns_the_next_key,
        "a removal returns the first request with no smaller key, or else the first of all",
        REMOVE_BY_KEY;
    KeRemoveByKeyDeviceQueueIfBusy::returns_the_next_key,
        "on a device queue that is busy, it returns what KeRemoveByKeyDeviceQueue would",
        REMOVE_BY_KEY;
    KeRemoveByKeyDeviceQueueIfBusy::takes_a_queue_that_is_not_busy,
        "on a device queue that is not busy, it returns NULL",
        remove_by_key_if_not_busy;
    KeRemoveEntryDeviceQueue::returns_whether_it_was_queued,
        "a queued request is removed once, wherever it is, and the others stay in order",
        calls! {
            0, [7] => found(0);
            0, [1, 2, 3] => found(0), [2, 3];
            1, [1, 2, 3] => found(0), [1, 3];
            2, [1, 2, 3] => found(0), [1, 2];
        };
};

const REMOVE_BY_KEY: Run = calls! {
    7, [] => NOT_BUSY;
    7, [9] => found(9);
    9, [7] => found(7);
    // A key that is smaller than all, equal to one, between two, and equal to two.
    0, [30, 10, 20, 20] => found(10), [20, 20, 30];
    10, [30, 10, 20, 20] => found(10), [20, 20, 30];
    11, [30, 10, 20, 20] => found(20), [10, 20, 30];
    20, [30, 10, 20, 20] => found(20), [10, 20, 30];
    30, [30, 10, 20, 20] => found(30), [10, 20, 20];
    // Larger than all.
    31, [30, 10, 20, 20] => found(10), [20, 20, 30];
    LAST, [30, 10, 20, 20] => found(10), [20, 20, 30];
    LAST, [LAST, 0] => found(LAST), [0];
};

fn remove_by_key_if_not_busy(session: &Session, routine: Routine) -> Result<Tally> {
    let not_busy = |key| Call {
        reserved: 1,
        ..call(key, [])
    };
    let calls = [(not_busy(0), NOT_BUSY), (not_busy(LAST), NOT_BUSY)];
    check(session, routine, &calls)
}
