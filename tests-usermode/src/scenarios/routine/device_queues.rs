//! Device queues.

use interlock_abi::{Call, Returned, Routine};

use super::{NULL, call, check, found, leaving, number};
use crate::scenarios::{Context, Scenario, Verdict, scenario};
use crate::status::Status;

/// The largest key.
const LAST: u64 = u32::MAX as u64;

/// The answer of a removal where there is nothing to remove: the queue is not busy any more.
const NOT_BUSY: Returned = Returned {
    status: Status::DEVICE_NOT_READY.0,
    ..NULL
};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "routine::KeInitializeDeviceQueue::is_not_busy",
        "a device queue is not busy once it is initialised",
        &[Routine::KeInitializeDeviceQueue],
        |_| {
            check(
                Routine::KeInitializeDeviceQueue,
                &[(call(0, []), number(0))],
            )
        },
    ),
    scenario(
        "routine::KeInsertDeviceQueue::queues_where_busy",
        "the first request makes the device queue busy, and those that follow are queued in order",
        &[Routine::KeInsertDeviceQueue],
        insert,
    ),
    scenario(
        "routine::KeInsertByKeyDeviceQueue::queues_by_key",
        "requests are queued by key once the device queue is busy",
        &[Routine::KeInsertByKeyDeviceQueue],
        insert_by_key,
    ),
    scenario(
        "routine::KeRemoveDeviceQueue::returns_the_oldest",
        "a removal returns the oldest request, NULL if there is none, and then it is not busy",
        &[Routine::KeRemoveDeviceQueue],
        remove,
    ),
    scenario(
        "routine::KeRemoveByKeyDeviceQueue::returns_the_next_key",
        "a removal returns the first request with no smaller key, or else the first of all",
        &[Routine::KeRemoveByKeyDeviceQueue],
        |_| removes_by_key(Routine::KeRemoveByKeyDeviceQueue),
    ),
    scenario(
        "routine::KeRemoveByKeyDeviceQueueIfBusy::returns_the_next_key",
        "on a device queue that is busy, it returns what KeRemoveByKeyDeviceQueue would",
        &[Routine::KeRemoveByKeyDeviceQueueIfBusy],
        |_| removes_by_key(Routine::KeRemoveByKeyDeviceQueueIfBusy),
    ),
    scenario(
        "routine::KeRemoveByKeyDeviceQueueIfBusy::takes_a_queue_that_is_not_busy",
        "on a device queue that is not busy, it returns NULL",
        &[Routine::KeRemoveByKeyDeviceQueueIfBusy],
        remove_by_key_if_busy,
    ),
    scenario(
        "routine::KeRemoveEntryDeviceQueue::says_whether_it_was_queued",
        "a request is found and taken out once, wherever it is queued, and the others stay in order",
        &[Routine::KeRemoveEntryDeviceQueue],
        remove_entry,
    ),
];

fn insert(_: &Context) -> Verdict {
    check(
        Routine::KeInsertDeviceQueue,
        &[
            (call(0, []), number(0)),
            (call(0, [5]), found(0)),
            (call(0, [5, 9]), leaving(found(1), [9])),
            (
                call(0, [5, 9, u64::MAX, 1, 9]),
                leaving(found(4), [9, u64::MAX, 1, 9]),
            ),
        ],
    )
}

fn insert_by_key(_: &Context) -> Verdict {
    check(
        Routine::KeInsertByKeyDeviceQueue,
        &[
            (call(0, []), number(0)),
            (call(0, [5]), found(0)),
            // The first is not queued, whatever its key.
            (call(0, [5, 9, 1, 7]), leaving(found(3), [1, 7, 9])),
            // Smaller than all, equal, larger than all.
            (
                call(0, [0, 10, 20, 5, 10, 30, 20]),
                leaving(found(6), [5, 10, 10, 20, 20, 30]),
            ),
            (
                call(0, [1, LAST, 0, LAST, 0]),
                leaving(found(4), [0, 0, LAST, LAST]),
            ),
        ],
    )
}

fn remove(_: &Context) -> Verdict {
    check(
        Routine::KeRemoveDeviceQueue,
        &[
            (call(0, []), NOT_BUSY),
            (call(0, [7]), found(7)),
            (call(0, [3, 1, 2]), leaving(found(3), [1, 2])),
            (call(0, [0, u64::MAX]), leaving(found(0), [u64::MAX])),
        ],
    )
}

fn removes_by_key(routine: Routine) -> Verdict {
    let from = |key| call(key, [30, 10, 20, 20]);
    check(
        routine,
        &[
            (call(7, []), NOT_BUSY),
            (call(7, [9]), found(9)),
            (call(9, [7]), found(7)),
            // Smaller than all, equal to one, between two, equal to two.
            (from(0), leaving(found(10), [20, 20, 30])),
            (from(10), leaving(found(10), [20, 20, 30])),
            (from(11), leaving(found(20), [10, 20, 30])),
            (from(20), leaving(found(20), [10, 20, 30])),
            (from(30), leaving(found(30), [10, 20, 20])),
            // Larger than all.
            (from(31), leaving(found(10), [20, 20, 30])),
            (from(LAST), leaving(found(10), [20, 20, 30])),
            (call(LAST, [LAST, 0]), leaving(found(LAST), [0])),
        ],
    )
}

fn remove_by_key_if_busy(_: &Context) -> Verdict {
    let not_busy = |key| Call {
        reserved: 1,
        ..call(key, [])
    };
    check(
        Routine::KeRemoveByKeyDeviceQueueIfBusy,
        &[(not_busy(0), NOT_BUSY), (not_busy(LAST), NOT_BUSY)],
    )
}

fn remove_entry(_: &Context) -> Verdict {
    check(
        Routine::KeRemoveEntryDeviceQueue,
        &[
            (call(0, [7]), found(0)),
            (call(0, [1, 2, 3]), leaving(found(0), [2, 3])),
            (call(1, [1, 2, 3]), leaving(found(0), [1, 3])),
            (call(2, [1, 2, 3]), leaving(found(0), [1, 2])),
        ],
    )
}
