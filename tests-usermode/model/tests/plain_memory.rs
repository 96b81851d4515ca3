//! `Shared` reports unordered accesses of two threads to plain memory, and no ordered ones.

#[macro_use]
mod call;
mod steps;

use std::{cell::UnsafeCell, ffi::c_void, ptr::null_mut, sync::atomic::AtomicI32};

use call::{initialise_dpc, queue_work, wait};
use nt::{DEVICE_OBJECT, IRP, KDPC, KEVENT, KSPIN_LOCK, KTIMER, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{
    Rule,
    explore::{Search, Shared, explore},
};
use steps::{SECOND, Steps, breaks, complete, holds, one_request, own, two_requests};

/// A counter in a device extension, with its possible guards.
struct Counter {
    value: Option<Shared<u32>>,
    lock: UnsafeCell<KSPIN_LOCK>,
    flag: AtomicI32,
    event: UnsafeCell<KEVENT>,
    dpc: UnsafeCell<KDPC>,
    timer: UnsafeCell<KTIMER>,
}

fn initialise(own: &Counter) {
    let value = (&raw const own.value).cast_mut();
    // SAFETY: the extension is zeroed, so there is no value to drop, and no other code accesses it yet.
    unsafe { value.write(Some(Shared::new(0))) };
    nt!(KeInitializeSpinLock(own.lock.get()));
    nt!(KeInitializeEvent(own.event.get(), 0, 0));
}

impl Counter {
    fn value(&self) -> &Shared<u32> {
        self.value.as_ref().expect("it is initialised")
    }

    fn count(&self) {
        self.value().set(self.value().get() + 1);
    }

    fn under_lock(&self, work: impl FnOnce()) {
        let old_irql = nt!(KeAcquireSpinLockRaiseToDpc(self.lock.get()));
        work();
        nt!(KeReleaseSpinLock(self.lock.get(), old_irql));
    }
}

/// A driver that only differs in how it counts.
macro_rules! counts {
    ($name:ident, |$device:ident, $own:ident, $code:ident| $body:block) => {
        struct $name;

        impl Steps for $name {
            type Own = Counter;

            fn add(_: *mut DEVICE_OBJECT, own: &Counter) {
                initialise(own);
            }

            fn control($device: *mut DEVICE_OBJECT, $own: &Counter, irp: *mut IRP, $code: u32) -> NTSTATUS {
                let _ = ($device, $code);
                $body
                complete(irp, STATUS_SUCCESS)
            }

            fn remove(own: &Counter) {
                nt!(KeFlushQueuedDpcs());
                own.value().get();
            }
        }
    };
}

counts!(Unguarded, |_device, own, _code| { own.count() });
counts!(Guarded, |_device, own, _code| {
    own.under_lock(|| own.count());
});
counts!(ReadUnguarded, |_device, own, code| {
    if code == SECOND {
        own.value().get();
    } else {
        own.under_lock(|| own.count());
    }
});

#[test]
fn a_counter_without_a_lock_is_found_in_the_first_schedule() {
    let found = explore(Search::every(1), two_requests::<Unguarded>).expect_err("it is found");
    assert_eq!(found.violation.rule, Rule::PlainMemory, "{found}");
    let both = found.violation.what.matches("plain_memory.rs:").count();
    assert_eq!(both, 2, "{found}");
    holds(two_requests::<Guarded>);
}

#[test]
fn a_read_without_the_lock_is_found() {
    let text = "is read by";
    breaks(two_requests::<ReadUnguarded>, Rule::PlainMemory, text);
}

// One thread publishes the value by a number, and the other one reads the value after it has read the number.
counts!(Published, |_device, own, code| {
    if code == SECOND {
        own.count();
        nt::interlocked::InterlockedExchange(&own.flag, 1);
    } else if nt::interlocked::InterlockedExchange(&own.flag, 0) == 1 {
        own.count();
    }
});
// The same, counting after it was published.
counts!(PublishedEarly, |_device, own, code| {
    if code == SECOND {
        nt::interlocked::InterlockedExchange(&own.flag, 1);
        own.count();
    } else if nt::interlocked::InterlockedExchange(&own.flag, 0) == 1 {
        own.count();
    }
});

#[test]
fn an_interlocked_operation_orders_earlier_accesses() {
    holds(two_requests::<Published>);
    let text = "nothing orders the two";
    breaks(two_requests::<PublishedEarly>, Rule::PlainMemory, text);
}

// One thread accesses the counter before it sets an event, and the other one after it has waited.
counts!(Waited, |_device, own, code| {
    let event = own.event.get();
    if code == SECOND {
        own.count();
        nt!(KeSetEvent(event, 0, 0));
    } else {
        wait(event);
        own.count();
    }
});
counts!(NotWaited, |_device, own, code| {
    let event = own.event.get();
    if code == SECOND {
        nt!(KeSetEvent(event, 0, 0));
        own.count();
    } else {
        wait(event);
        own.count();
    }
});

#[test]
fn an_event_orders_earlier_accesses() {
    holds(two_requests::<Waited>);
    let text = "nothing orders";
    breaks(two_requests::<NotWaited>, Rule::PlainMemory, text);
}

/// Sets a timer whose DPC counts.
fn set_timer(own: &Counter) {
    initialise_dpc(own.dpc.get(), own, Counter::count);
    nt!(KeInitializeTimer(own.timer.get()));
    nt!(KeSetTimer(own.timer.get(), -10_000, own.dpc.get()));
}

// A timer's DPC counts what was counted before the timer was set, or what is counted at the same time.
counts!(BeforeTimer, |_device, own, _code| {
    own.count();
    set_timer(own);
    delay();
});
counts!(BesideTimer, |_device, own, _code| {
    set_timer(own);
    own.count();
    delay();
});

fn delay() {
    let mut time = -20_000;
    nt!(KeDelayExecutionThread(0, 0, &raw mut time));
}

#[test]
fn a_timer_orders_earlier_accesses() {
    holds(one_request::<BeforeTimer>);
    let text = "nothing orders";
    breaks(one_request::<BesideTimer>, Rule::PlainMemory, text);
}

unsafe extern "C" fn counting_item<const LATE: bool>(device: *mut DEVICE_OBJECT, _: *mut c_void) {
    let own = own::<QueuesItem<LATE>>(device);
    if LATE {
        own.under_lock(|| own.count());
    } else {
        own.count();
    }
    nt!(KeSetEvent(own.event.get(), 0, 0));
}

/// A work item that counts under a lock, while another thread counts without it or does not count.
struct QueuesItem<const LATE: bool>;

impl<const LATE: bool> Steps for QueuesItem<LATE> {
    type Own = Counter;

    fn add(_: *mut DEVICE_OBJECT, own: &Counter) {
        initialise(own);
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Counter, irp: *mut IRP, _: u32) -> NTSTATUS {
        if !LATE {
            own.count();
        }
        let item = nt!(IoAllocateWorkItem(device));
        queue_work(item, counting_item::<LATE>, null_mut());
        if LATE {
            own.count();
        }
        wait(own.event.get());
        nt!(IoFreeWorkItem(item));
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn a_work_item_orders_earlier_accesses() {
    holds(one_request::<QueuesItem<false>>);
    let text = "nothing orders";
    breaks(one_request::<QueuesItem<true>>, Rule::PlainMemory, text);
}
