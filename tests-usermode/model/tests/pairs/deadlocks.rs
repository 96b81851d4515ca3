//! Threads that wait for each other or for themselves, and locks that are not ready.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::from_ref,
    sync::atomic::AtomicI32,
};

use nt::{
    DEVICE_OBJECT, ERESOURCE, EX_RUNDOWN_REF, IO_WORKITEM, IRP, KEVENT, KMUTEX, NTSTATUS,
    STATUS_SUCCESS, interlocked::InterlockedExchange,
};

use crate::{
    call::{queue_work, wait},
    frame::{Lock, initialise_event, set_event},
    steps::{FIRST, Steps, complete, one_request as one, two_requests as two},
};

const UPGRADES: u8 = 1;
const KEEPS_ONCE: u8 = 2;
const WAITS_FOR_ITEM: u8 = 3;
const RUNS_DOWN_UNDER_MUTEX: u8 = 4;
const IS_READY_EARLY: u8 = 5;
const PULSES: u8 = 6;
/// The correct driver for each mistake.
const CONVERTS: u8 = 11;
const RECURSES: u8 = 12;
const ITEM: u8 = 13;
const RUNS_DOWN: u8 = 14;
const IS_READY: u8 = 15;
const SETS: u8 = 16;

struct Waits<const M: u8>;

struct Own {
    resource: UnsafeCell<ERESOURCE>,
    mutex: UnsafeCell<KMUTEX>,
    event: UnsafeCell<KEVENT>,
    rundown: UnsafeCell<EX_RUNDOWN_REF>,
    item: Cell<*mut IO_WORKITEM>,
    is_ready: AtomicI32,
    lock: Lock,
}

impl Own {
    fn acquire(&self) {
        wait(self.mutex.get());
    }

    fn release(&self) {
        nt!(KeReleaseMutex(self.mutex.get(), 0));
    }

    fn upgrade<const M: u8>(&self) {
        let resource = self.resource.get();
        nt!(KeEnterCriticalRegion());
        if M == UPGRADES {
            nt!(ExAcquireResourceSharedLite(resource, 1));
            nt!(ExAcquireResourceExclusiveLite(resource, 1));
            nt!(ExReleaseResourceLite(resource));
        } else {
            // The owner of exclusive access may acquire it again, also shared.
            nt!(ExAcquireResourceExclusiveLite(resource, 1));
            nt!(ExAcquireResourceSharedLite(resource, 1));
            nt!(ExReleaseResourceLite(resource));
        }
        nt!(ExReleaseResourceLite(resource));
        nt!(KeLeaveCriticalRegion());
    }

    fn wait_for_item<const M: u8>(&self) {
        let run = || {
            let own = from_ref(self).cast_mut().cast();
            queue_work(self.item.get(), acquires, own);
        };
        if M == WAITS_FOR_ITEM {
            self.acquire();
            run();
            wait(self.event.get());
            self.release();
        } else {
            run();
            wait(self.event.get());
        }
    }

    /// The other request ends the protection.
    fn run_down<const M: u8>(&self, code: u32) {
        let rundown = self.rundown.get();
        if code == FIRST {
            if nt!(ExAcquireRundownProtection(rundown)) != 0 {
                self.acquire();
                self.release();
                nt!(ExReleaseRundownProtection(rundown));
            }
            return;
        }
        if M == RUNS_DOWN_UNDER_MUTEX {
            self.acquire();
        }
        nt!(ExWaitForRundownProtectionRelease(rundown));
        if M == RUNS_DOWN_UNDER_MUTEX {
            self.release();
        }
    }

    /// One request waits for the other one, which may have come before.
    fn signal<const M: u8>(&self, code: u32) {
        let event = self.event.get();
        if code == FIRST {
            wait(event);
        } else if M == PULSES {
            nt!(KePulseEvent(event, 0, 0));
        } else {
            set_event(event);
        }
    }

    /// Initialises a lock at the first request.
    fn make_ready<const M: u8>(&self) {
        if M == IS_READY_EARLY {
            if InterlockedExchange(&self.is_ready, 1) == 0 {
                self.lock.initialise();
            }
        } else {
            self.acquire();
            if InterlockedExchange(&self.is_ready, 1) == 0 {
                self.lock.initialise();
            }
            self.release();
        }
        self.lock.with(|| ());
    }
}

unsafe extern "C" fn acquires(_: *mut DEVICE_OBJECT, own: *mut c_void) {
    // SAFETY: the request waits for the item.
    let own = unsafe { &*own.cast::<Own>() };
    own.acquire();
    own.release();
    set_event(own.event.get());
}

impl<const M: u8> Steps for Waits<M> {
    type Own = Own;

    fn add(device: *mut DEVICE_OBJECT, own: &Own) {
        nt!(ExInitializeResourceLite(own.resource.get()));
        nt!(KeInitializeMutex(own.mutex.get(), 0));
        initialise_event(own.event.get());
        nt!(ExInitializeRundownProtection(own.rundown.get()));
        own.item.set(nt!(IoAllocateWorkItem(device)));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        match M {
            UPGRADES | CONVERTS => own.upgrade::<M>(),
            KEEPS_ONCE | RECURSES => {
                own.acquire();
                own.acquire();
                own.release();
                if M == RECURSES {
                    own.release();
                }
            }
            WAITS_FOR_ITEM | ITEM => own.wait_for_item::<M>(),
            RUNS_DOWN_UNDER_MUTEX | RUNS_DOWN => own.run_down::<M>(code),
            IS_READY_EARLY | IS_READY => own.make_ready::<M>(),
            PULSES | SETS => own.signal::<M>(code),
            _ => {}
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Own) {
        nt!(IoFreeWorkItem(own.item.get()));
        nt!(ExDeleteResourceLite(own.resource.get()));
    }
}

const KEEPS_ORDER: u8 = 20;
const RAISES: u8 = 23;

/// Two spin locks, of which the second one is acquired at `DISPATCH_LEVEL`.
struct Overlaps<const M: u8>;

impl<const M: u8> Steps for Overlaps<M> {
    type Own = [Lock; 2];

    fn add(_: *mut DEVICE_OBJECT, own: &[Lock; 2]) {
        own.iter().for_each(Lock::initialise);
    }

    fn control(_: *mut DEVICE_OBJECT, [one, two]: &[Lock; 2], irp: *mut IRP, _: u32) -> NTSTATUS {
        if M == RAISES {
            let old = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
            nt!(KeAcquireSpinLockAtDpcLevel(one.get()));
            let irql = two.acquire();
            two.release(irql);
            nt!(KeReleaseSpinLockFromDpcLevel(one.get()));
            nt!(KeLowerIrql(old));
        } else {
            let irql = one.acquire();
            two.with(|| ());
            one.release(irql);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

pairs! {
    shared_access_to_a_resource_becomes_exclusive:
        one::<Waits<UPGRADES>>, one::<Waits<CONVERTS>>, Resource, "is a deadlock";
    mutex_that_was_acquired_twice_is_released_once:
        one::<Waits<KEEPS_ONCE>>, one::<Waits<RECURSES>>, Mutex, "";
    work_item_is_waited_for_under_a_mutex_that_it_acquires:
        one::<Waits<WAITS_FOR_ITEM>>, one::<Waits<ITEM>>, IrpProcessingComplete, "";
    run_down_is_waited_for_under_a_mutex_that_a_holder_acquires:
        two::<Waits<RUNS_DOWN_UNDER_MUTEX>>, two::<Waits<RUNS_DOWN>>, IrpProcessingComplete, "";
    event_is_pulsed_before_it_is_waited_for:
        two::<Waits<PULSES>>, two::<Waits<SETS>>, IrpProcessingComplete, "waits for";
    lock_is_used_before_another_thread_has_initialised_it:
        two::<Waits<IS_READY_EARLY>>, two::<Waits<IS_READY>>, LockInitialisation, "";
}

#[test]
fn spin_locks_are_nested_at_dispatch_level() {
    crate::passes(two::<Overlaps<KEEPS_ORDER>>);
    crate::passes(two::<Overlaps<RAISES>>);
}
