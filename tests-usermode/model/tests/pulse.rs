//! `KePulseEvent` satisfies the waits of the threads that wait, and leaves the event reset.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kepulseevent)

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use call::{join_thread, start_thread, wait};
use common::{MILLISECOND, delay, delete, event, passes, set, stops};
use nt::{DEVICE_OBJECT, KEVENT, STATUS_TIMEOUT};
use ntmodel::Rule;

const NOTIFICATION: i32 = 0;
const SYNCHRONIZATION: i32 = 1;

fn pulse(event: *mut KEVENT) -> i32 {
    nt!(KePulseEvent(event, 0, 0))
}

fn pulses_without_waits(device: *mut DEVICE_OBJECT) {
    delete(device);
    let mut event = event();
    let event = &raw mut event;
    for kind in [NOTIFICATION, SYNCHRONIZATION] {
        nt!(KeInitializeEvent(event, kind, 1));
        assert_eq!(pulse(event), 1, "the event was set");
        assert_eq!(nt!(KeReadStateEvent(event)), 0);
        assert_eq!(pulse(event), 0);
        assert_eq!(nt!(KeReadStateEvent(event)), 0);
        // The pulse is over.
        let (mut time, object) = (-MILLISECOND, event.cast());
        let status = nt!(KeWaitForSingleObject(object, 0, 0, 0, &raw mut time));
        assert_eq!(status, STATUS_TIMEOUT);
    }
}

#[test]
fn pulse_leaves_the_event_reset() {
    passes(pulses_without_waits);
}

/// Two threads that wait for an event, and the number of those whose wait has ended.
struct Waiters {
    event: KEVENT,
    ended: AtomicU32,
}

unsafe extern "C" fn waits(context: *mut c_void) {
    let waiters: *mut Waiters = context.cast();
    // SAFETY: the driver keeps the object until the threads have ended.
    wait(unsafe { &raw mut (*waiters).event });
    // SAFETY: as above.
    unsafe { (*waiters).ended.fetch_add(1, SeqCst) };
}

/// Pulses an event of a kind until a thread has observed it; returns the number of threads that one pulse has released.
fn released_by_one_pulse(kind: i32) -> u32 {
    let mut waiters = Waiters {
        event: event(),
        ended: AtomicU32::new(0),
    };
    let waiters = &raw mut waiters;
    // SAFETY: the object stays on the stack until the threads have ended.
    let event = unsafe { &raw mut (*waiters).event };
    // SAFETY: as above.
    let ended = unsafe { &(*waiters).ended };
    nt!(KeInitializeEvent(event, kind, 0));
    let threads = [start_thread(waits, waiters), start_thread(waits, waiters)];
    // Each thread waits by now.
    delay(-100 * MILLISECOND);
    pulse(event);
    delay(-100 * MILLISECOND);
    let released = ended.load(SeqCst);
    assert_eq!(nt!(KeReadStateEvent(event)), 0);
    // The other threads end.
    set(event);
    delay(-100 * MILLISECOND);
    set(event);
    for thread in threads {
        join_thread(thread);
    }
    released
}

#[test]
fn pulse_releases_every_thread_that_waits_for_a_notification_event() {
    common::load(&ntmodel::Kernel::new(ntmodel::Config::default()), {
        unsafe extern "C" fn entry(
            _: *mut nt::DRIVER_OBJECT,
            _: *mut nt::UNICODE_STRING,
        ) -> nt::NTSTATUS {
            assert_eq!(released_by_one_pulse(NOTIFICATION), 2);
            assert_eq!(released_by_one_pulse(SYNCHRONIZATION), 1);
            nt::STATUS_CANCELLED
        }
        entry
    });
}

/// The rule of the page: `IrqlKeDispatchLte`.
#[test]
fn event_is_not_pulsed_above_dispatch_level() {
    let body = |device: *mut DEVICE_OBJECT| {
        let event = common::extension(device).cast();
        nt!(KeInitializeEvent(event, 0, 0));
        nt!(KfRaiseIrql(5));
        pulse(event);
    };
    let routine = "KePulseEvent";
    stops(body, Rule::IrqlKeDispatchLte, 0xc4, 0x2_0011, routine);
}
