//! Executive resources, and fast mutexes that do not change the IRQL: their documented behaviour, and mistakes of drivers.

#[macro_use]
mod call;
mod body;
mod steps;

use std::cell::UnsafeCell;

use body::{found, passes};
use call::broke;
use nt::{DEVICE_OBJECT, ERESOURCE, FAST_MUTEX, IRP, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Rule, explore::Shared};
use steps::{Steps, breaks, complete, holds, one_request, two_requests};

/// Runs a body with a resource that is initialised before and deleted after it.
fn with_resource(body: impl FnOnce(*mut ERESOURCE)) {
    let mut resource = ERESOURCE { Reserved: [0; 13] };
    let resource = &raw mut resource;
    assert_eq!(nt!(ExInitializeResourceLite(resource)), STATUS_SUCCESS);
    body(resource);
    assert_eq!(nt!(ExDeleteResourceLite(resource)), STATUS_SUCCESS);
}

#[test]
fn access_is_granted_to_a_thread_as_often_as_it_acquires() {
    passes(|| {
        with_resource(|resource| {
            nt!(KeEnterCriticalRegion());
            assert_eq!(nt!(ExAcquireResourceExclusiveLite(resource, 1)), 1);
            // The owner of exclusive access gets exclusive access again when it requests shared access.
            assert_eq!(nt!(ExAcquireResourceSharedLite(resource, 0)), 1);
            assert_eq!(nt!(ExIsResourceAcquiredExclusiveLite(resource)), 1);
            assert_eq!(nt!(ExIsResourceAcquiredSharedLite(resource)), 2);
            nt!(ExReleaseResourceLite(resource));
            nt!(ExConvertExclusiveToSharedLite(resource));
            assert_eq!(nt!(ExIsResourceAcquiredExclusiveLite(resource)), 0);
            assert_eq!(nt!(ExIsResourceAcquiredSharedLite(resource)), 1);
            // A thread that has shared access is not granted exclusive access.
            assert_eq!(nt!(ExAcquireResourceExclusiveLite(resource, 0)), 0);
            nt!(ExReleaseResourceLite(resource));
            assert_eq!(nt!(ExIsResourceAcquiredSharedLite(resource)), 0);
            nt!(KeLeaveCriticalRegion());
        });
    });
}

/// The violation of a body: its rule, its bug check, and a part of its message.
fn is_found(body: fn(), rule: Rule, code: u32, text: &str) {
    let violation = found(body);
    broke(&violation, rule, code, &[]);
    assert!(violation.what.contains(text), "{violation}");
}

#[test]
fn resource_is_used_against_its_documentation() {
    is_found(
        || with_resource(|resource| nt!(ExReleaseResourceLite(resource))),
        Rule::Resource,
        0xe3,
        "has not acquired it",
    );
    is_found(
        || {
            with_resource(|resource| {
                nt!(ExAcquireResourceSharedLite(resource, 1));
                nt!(ExAcquireResourceExclusiveLite(resource, 1));
            });
        },
        Rule::Resource,
        0,
        "release it first",
    );
    is_found(
        || {
            with_resource(|resource| {
                nt!(ExInitializeResourceLite(resource));
            });
        },
        Rule::Resource,
        0xc4,
        "initialised again",
    );
    is_found(
        || {
            let mut resource = ERESOURCE { Reserved: [0; 13] };
            nt!(ExDeleteResourceLite(&raw mut resource));
        },
        Rule::Resource,
        0xc4,
        "was not initialised",
    );
    is_found(
        || {
            with_resource(|resource| {
                nt!(ExAcquireResourceExclusiveLite(resource, 1));
            });
        },
        Rule::Resource,
        0,
        "while a thread owns it",
    );
    is_found(
        || {
            with_resource(|resource| {
                nt!(KfRaiseIrql(2));
                nt!(ExAcquireResourceExclusiveLite(resource, 1));
            });
        },
        Rule::Irql,
        0xc4,
        "must be at most 1",
    );
}

#[test]
fn memory_of_a_resource_is_freed_before_the_resource_is_deleted() {
    is_found(
        || {
            let block = nt!(ExAllocatePool2(0x40, size_of::<ERESOURCE>(), 1));
            nt!(ExInitializeResourceLite(block.cast()));
            nt!(ExFreePoolWithTag(block, 1));
        },
        Rule::Resource,
        0xc4,
        "call ExDeleteResourceLite before",
    );
    is_found(
        || {
            let mut resource = ERESOURCE { Reserved: [0; 13] };
            nt!(ExInitializeResourceLite(&raw mut resource));
        },
        Rule::Resource,
        0xce,
        "has not deleted the resource",
    );
}

/// The locks of a device, whose requests write the data with exclusive access and read it with shared access.
struct Locks {
    resource: UnsafeCell<ERESOURCE>,
    mutex: UnsafeCell<FAST_MUTEX>,
    data: UnsafeCell<Option<Shared<u32>>>,
}

const CORRECT: u8 = 0;
const SUSPENDED: u8 = 1;
const SHARED_FOR_A_WRITE: u8 = 2;
const KEPT: u8 = 3;
const UNSAFE_MUTEX: u8 = 4;
const UNSAFE_MUTEX_SUSPENDED: u8 = 5;

struct Served<const M: u8>;

impl<const M: u8> Steps for Served<M> {
    type Own = Locks;

    fn add(_: *mut DEVICE_OBJECT, own: &Locks) {
        nt!(ExInitializeResourceLite(own.resource.get()));
        nt!(ExInitializeFastMutex(own.mutex.get()));
        // SAFETY: no other thread uses the device yet.
        unsafe { own.data.get().write(Some(Shared::new(0))) };
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Locks, irp: *mut IRP, _: u32) -> NTSTATUS {
        let (resource, mutex) = (own.resource.get(), own.mutex.get());
        if !matches!(M, SUSPENDED | UNSAFE_MUTEX_SUSPENDED) {
            nt!(KeEnterCriticalRegion());
        }
        match M {
            UNSAFE_MUTEX | UNSAFE_MUTEX_SUSPENDED => {
                nt!(ExAcquireFastMutexUnsafe(mutex));
            }
            SHARED_FOR_A_WRITE => {
                nt!(ExAcquireResourceSharedLite(resource, 1));
            }
            _ => {
                nt!(ExAcquireResourceExclusiveLite(resource, 1));
            }
        }
        // SAFETY: it is written in AddDevice alone.
        if let Some(data) = unsafe { &*own.data.get() } {
            data.set(data.get() + 1);
        }
        match M {
            UNSAFE_MUTEX | UNSAFE_MUTEX_SUSPENDED => nt!(ExReleaseFastMutexUnsafe(mutex)),
            KEPT => {}
            _ => nt!(ExReleaseResourceLite(resource)),
        }
        nt!(KeLeaveCriticalRegion());
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Locks) {
        nt!(ExDeleteResourceLite(own.resource.get()));
    }
}

#[test]
fn a_resource_and_an_unsafe_fast_mutex_order_two_threads() {
    holds(two_requests::<Served<CORRECT>>);
    holds(two_requests::<Served<UNSAFE_MUTEX>>);
}

#[test]
fn thread_can_be_suspended_while_it_owns_a_lock() {
    let text = "KeEnterCriticalRegion";
    breaks(one_request::<Served<SUSPENDED>>, Rule::Resource, text);
    let scenario = one_request::<Served<UNSAFE_MUTEX_SUSPENDED>>;
    breaks(scenario, Rule::FastMutex, text);
}

#[test]
fn data_is_written_with_shared_access() {
    let scenario = two_requests::<Served<SHARED_FOR_A_WRITE>>;
    let text = "";
    breaks(scenario, Rule::PlainMemory, text);
}

#[test]
fn resource_is_kept_by_a_thread_that_returns() {
    let text = "a dispatch routine has returned and holds the resource";
    breaks(one_request::<Served<KEPT>>, Rule::Mutex, text);
}
