//! Attempts to acquire a lock that fail.

use std::cell::UnsafeCell;

use nt::{DEVICE_OBJECT, ERESOURCE, FAST_MUTEX, IRP, NTSTATUS, STATUS_SUCCESS};

use crate::{
    frame::{CORRECT, Lock},
    steps::{Steps, complete, two_requests as two},
};

/// Releases what it has tried to acquire, regardless of the result.
const IGNORES_FAILURE: u8 = 1;

const FAST: u8 = 0;
const RESOURCE: u8 = 1;
const SPIN_LOCK: u8 = 2;

/// Tries to acquire a lock of some kind, in two threads.
struct Tries<const M: u8, const KIND: u8>;

struct Tried {
    mutex: UnsafeCell<FAST_MUTEX>,
    resource: UnsafeCell<ERESOURCE>,
    lock: Lock,
}

impl<const M: u8, const KIND: u8> Steps for Tries<M, KIND> {
    type Own = Tried;

    fn add(_: *mut DEVICE_OBJECT, own: &Tried) {
        nt!(ExInitializeFastMutex(own.mutex.get()));
        own.lock.initialise();
        if KIND == RESOURCE {
            nt!(ExInitializeResourceLite(own.resource.get()));
        }
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Tried, irp: *mut IRP, _: u32) -> NTSTATUS {
        let goes_on = |acquired: u8| acquired != 0 || M == IGNORES_FAILURE;
        match KIND {
            FAST => {
                if goes_on(nt!(ExTryToAcquireFastMutex(own.mutex.get()))) {
                    nt!(ExReleaseFastMutex(own.mutex.get()));
                }
            }
            RESOURCE => {
                nt!(KeEnterCriticalRegion());
                if goes_on(nt!(ExAcquireResourceExclusiveLite(own.resource.get(), 0))) {
                    nt!(ExReleaseResourceLite(own.resource.get()));
                }
                nt!(KeLeaveCriticalRegion());
            }
            _ => {
                let irql = nt!(KeRaiseIrqlToDpcLevel());
                if goes_on(nt!(KeTryToAcquireSpinLockAtDpcLevel(own.lock.get()))) {
                    nt!(KeReleaseSpinLockFromDpcLevel(own.lock.get()));
                }
                nt!(KeLowerIrql(irql));
            }
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Tried) {
        if KIND == RESOURCE {
            nt!(ExDeleteResourceLite(own.resource.get()));
        }
    }
}

pairs! {
    fast_mutex_is_released_that_was_not_acquired_immediately:
        two::<Tries<IGNORES_FAILURE, FAST>>, two::<Tries<CORRECT, FAST>>, FastMutex, "";
    resource_is_released_that_was_not_acquired_immediately:
        two::<Tries<IGNORES_FAILURE, RESOURCE>>, two::<Tries<CORRECT, RESOURCE>>, Resource, "";
    spin_lock_is_released_that_was_not_acquired_immediately:
        two::<Tries<IGNORES_FAILURE, SPIN_LOCK>>, two::<Tries<CORRECT, SPIN_LOCK>>, SpinlockRelease, "";
}
