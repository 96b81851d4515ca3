//! Mutexes, run-down protection, threads and reference counts.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    sync::atomic::AtomicI32,
};

use nt::{
    DEVICE_OBJECT, EX_RUNDOWN_REF, FAST_MUTEX, IRP, KEVENT, KMUTEX, NTSTATUS, STATUS_SUCCESS,
    STATUS_TIMEOUT,
    interlocked::{InterlockedCompareExchange, InterlockedDecrement, InterlockedIncrement},
};

use crate::{
    call::{join_thread, referenced, spawn, wait},
    frame::{
        CORRECT, Lock, allocate, free, initialise_event, set_event, wait_for, with_fast_mutex,
    },
    steps::{FIRST, Steps, complete, one_request as one, two_requests as two},
};

const IGNORES_RUNDOWN: u8 = 1;
const WAITS_FOR_ITSELF: u8 = 2;
const IGNORES_TIMEOUT: u8 = 3;
const TWO_ORDERS: u8 = 4;
const CLOSES_UNDER_MUTEX: u8 = 5;
const EXITS_WITH_MUTEX: u8 = 6;
const WAITS_FOR_HANDLE: u8 = 7;
const KEEPS_THREAD: u8 = 8;
const EVENT_IS_ZERO: u8 = 9;
const WAITS_UNDER_LOCK: u8 = 10;
const JOINS_ITSELF: u8 = 11;
/// The correct drivers with other objects.
const RUNDOWN: u8 = 20;
const MUTEX: u8 = 21;
const THREAD: u8 = 22;
const EVENT: u8 = 23;

struct Synchronised<const M: u8>;

struct Own {
    lock: Lock,
    rundown: UnsafeCell<EX_RUNDOWN_REF>,
    mutex: UnsafeCell<KMUTEX>,
    fast: [UnsafeCell<FAST_MUTEX>; 2],
    event: UnsafeCell<KEVENT>,
    thread: Cell<*mut c_void>,
}

fn runs<const M: u8>(own: &Own) {
    match M {
        EXITS_WITH_MUTEX => nt!(ExAcquireFastMutex(own.fast[0].get())),
        JOINS_ITSELF => {
            wait(own.event.get());
            join_thread(own.thread.get());
        }
        _ => with_fast_mutex(own.fast[0].get(), || ()),
    }
    nt!(PsTerminateSystemThread(STATUS_SUCCESS));
}

/// Runs a thread, and waits for it.
fn run_thread<const M: u8>(own: &Own) {
    let handle = spawn(own, runs::<M>);
    own.thread.set(handle);
    set_event(own.event.get());
    if M == WAITS_FOR_HANDLE {
        wait(handle);
        nt!(ZwClose(handle));
        return;
    }
    let thread = referenced(handle);
    wait(thread);
    nt!(ZwClose(handle));
    if M != KEEPS_THREAD {
        nt!(ObfDereferenceObject(thread));
    }
}

fn both(first: &UnsafeCell<FAST_MUTEX>, second: &UnsafeCell<FAST_MUTEX>) {
    with_fast_mutex(first.get(), || with_fast_mutex(second.get(), || ()));
}

impl<const M: u8> Steps for Synchronised<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
        nt!(ExInitializeRundownProtection(own.rundown.get()));
        nt!(KeInitializeMutex(own.mutex.get(), 0));
        for mutex in &own.fast {
            nt!(ExInitializeFastMutex(mutex.get()));
        }
        if M != EVENT_IS_ZERO {
            initialise_event(own.event.get());
        }
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        match M {
            RUNDOWN | IGNORES_RUNDOWN | WAITS_FOR_ITSELF => {
                let rundown = own.rundown.get();
                let acquired = nt!(ExAcquireRundownProtection(rundown)) != 0;
                if M == WAITS_FOR_ITSELF {
                    nt!(ExWaitForRundownProtectionRelease(rundown));
                }
                if acquired || M == IGNORES_RUNDOWN {
                    nt!(ExReleaseRundownProtection(rundown));
                }
                if code != FIRST && M != WAITS_FOR_ITSELF {
                    nt!(ExWaitForRundownProtectionRelease(rundown));
                }
            }
            MUTEX | IGNORES_TIMEOUT => {
                let mutex = own.mutex.get();
                let status = wait_for(mutex, 100);
                if M == IGNORES_TIMEOUT || status != STATUS_TIMEOUT {
                    nt!(KeReleaseMutex(mutex, 0));
                }
            }
            TWO_ORDERS if code != FIRST => both(&own.fast[1], &own.fast[0]),
            TWO_ORDERS | CORRECT => both(&own.fast[0], &own.fast[1]),
            CLOSES_UNDER_MUTEX => {
                let handle = spawn(own, runs::<M>);
                with_fast_mutex(own.fast[1].get(), || join_thread(handle));
            }
            THREAD | EXITS_WITH_MUTEX | WAITS_FOR_HANDLE | KEEPS_THREAD | JOINS_ITSELF => {
                run_thread::<M>(own);
            }
            WAITS_UNDER_LOCK => {
                set_event(own.event.get());
                own.lock.with(|| wait(own.event.get()));
            }
            _ => {
                set_event(own.event.get());
                wait(own.event.get());
            }
        }
        complete(irp, STATUS_SUCCESS)
    }
}

const READS_COUNT_AGAIN: u8 = 1;
const FREES_LOCKED: u8 = 2;

/// An object with a reference count, which both requests hold.
struct Counted<const M: u8>;

struct Object {
    lock: Lock,
    count: AtomicI32,
}

impl<const M: u8> Steps for Counted<M> {
    type Own = Cell<*mut Object>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        let memory = allocate::<Object>();
        own.set(memory);
        // SAFETY: the block was allocated, and zero is valid for it.
        let object = unsafe { &*memory };
        object.lock.initialise();
        InterlockedIncrement(&object.count);
        InterlockedIncrement(&object.count);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let memory = own.get();
        // SAFETY: the request has a reference.
        let object = unsafe { &*memory };
        let irql = object.lock.acquire();
        if M == FREES_LOCKED {
            if InterlockedDecrement(&object.count) == 0 {
                free(memory);
            }
            object.lock.release(irql);
            return complete(irp, STATUS_SUCCESS);
        }
        object.lock.release(irql);
        let count = InterlockedDecrement(&object.count);
        let count = if M == READS_COUNT_AGAIN {
            InterlockedCompareExchange(&object.count, 0, 0)
        } else {
            count
        };
        if count == 0 {
            free(memory);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

pairs! {
    failure_to_acquire_run_down_protection_is_ignored:
        two::<Synchronised<IGNORES_RUNDOWN>>, two::<Synchronised<RUNDOWN>>, Rundown, "";
    run_down_is_waited_for_by_its_holder:
        one::<Synchronised<WAITS_FOR_ITSELF>>, one::<Synchronised<RUNDOWN>>, IrpProcessingComplete, "run-down protection that is held 1 times";
    mutex_that_was_not_acquired_in_time_is_released:
        two::<Synchronised<IGNORES_TIMEOUT>>, two::<Synchronised<MUTEX>>, Mutex, "";
    fast_mutexes_are_acquired_in_two_orders:
        two::<Synchronised<TWO_ORDERS>>, two::<Synchronised<CORRECT>>, LockOrder, "the opposite order was";
    handle_is_closed_under_a_fast_mutex:
        one::<Synchronised<CLOSES_UNDER_MUTEX>>, one::<Synchronised<THREAD>>, Irql, "PASSIVE_LEVEL";
    thread_ends_with_a_fast_mutex:
        one::<Synchronised<EXITS_WITH_MUTEX>>, one::<Synchronised<THREAD>>, IrqlPsPassive, "the IRQL is 1";
    handle_of_a_thread_is_passed_for_the_thread:
        one::<Synchronised<WAITS_FOR_HANDLE>>, one::<Synchronised<THREAD>>, Pointer, "handle";
    reference_to_a_thread_is_kept:
        one::<Synchronised<KEEPS_THREAD>>, one::<Synchronised<THREAD>>, Reference, "";
    event_was_not_initialised:
        one::<Synchronised<EVENT_IS_ZERO>>, one::<Synchronised<EVENT>>, Pointer, "event";
    thread_waits_for_an_event_under_a_spin_lock:
        one::<Synchronised<WAITS_UNDER_LOCK>>, one::<Synchronised<EVENT>>, IrqlKeWaitForMutexObject, "";
    thread_waits_for_its_own_end:
        one::<Synchronised<JOINS_ITSELF>>, one::<Synchronised<THREAD>>, IrpProcessingComplete, "waits for the end of a thread";
    reference_count_is_read_again_after_the_decrement:
        two::<Counted<READS_COUNT_AGAIN>>, two::<Counted<CORRECT>>, FreedMemory, "";
    object_is_freed_under_its_own_lock:
        two::<Counted<FREES_LOCKED>>, two::<Counted<CORRECT>>, SpinLock, "holds";
}
