//! Mutexes, semaphores, fast mutexes, reader/writer spin locks, run-down protection, sequenced lists and periodic timers: their
//! documented behaviour, and mistakes of drivers.

#[macro_use]
mod call;
mod body;
mod steps;

use std::{cell::UnsafeCell, ffi::c_void, hint::black_box, mem::zeroed, ptr::null_mut};

use body::{found, passes, stops};
use call::initialise_dpc;
use nt::{
    DEVICE_OBJECT, EX_RUNDOWN_REF, EX_SPIN_LOCK, FAST_MUTEX, IRP, KDPC, KEVENT, KMUTEX, KSEMAPHORE,
    KTIMER, NTSTATUS, SLIST_ENTRY, SLIST_HEADER, STATUS_SUCCESS, STATUS_TIMEOUT,
};
use ntmodel::{Rule, explore::Shared};
use steps::{SECOND, Steps, breaks, complete, holds, one_request, two_requests};

/// Runs code that breaks no rule.
fn wait(object: *mut c_void) -> NTSTATUS {
    crate::call::wait(object)
}

/// Waits with a timeout of zero.
fn try_wait(object: *mut c_void) -> NTSTATUS {
    let mut none = 0;
    nt!(KeWaitForSingleObject(object, 0, 0, 0, &raw mut none))
}

#[test]
fn a_mutex_is_acquired_again_by_its_owner() {
    passes(|| {
        // SAFETY: every field may be zero.
        let mut mutex: KMUTEX = unsafe { zeroed() };
        let mutex = &raw mut mutex;
        nt!(KeInitializeMutex(mutex, 0));
        assert_eq!(nt!(KeReadStateMutex(mutex)), 1);
        assert_eq!(wait(mutex.cast()), STATUS_SUCCESS);
        assert_eq!(try_wait(mutex.cast()), STATUS_SUCCESS);
        assert_ne!(
            nt!(KeReleaseMutex(mutex, 0)),
            0,
            "the thread still holds it"
        );
        assert_eq!(nt!(KeReleaseMutex(mutex, 0)), 0, "it is signaled now");
        assert_eq!(nt!(KeReadStateMutex(mutex)), 1);
    });
}

#[test]
fn a_mutex_is_released_by_its_owner() {
    let body = || {
        // SAFETY: every field may be zero.
        let mut mutex: KMUTEX = unsafe { zeroed() };
        nt!(KeInitializeMutex(&raw mut mutex, 0));
        nt!(KeReleaseMutex(&raw mut mutex, 0));
        black_box(());
    };
    stops(body, Rule::Mutex, 0x1e, 0xc000_0046, "KeReleaseMutex");
}

/// The guard of a counter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Mutex,
    FastMutex,
    Exclusive,
    Shared,
    Semaphore,
}

struct Guarded {
    counter: Option<Shared<u32>>,
    mutex: UnsafeCell<KMUTEX>,
    fast: [UnsafeCell<FAST_MUTEX>; 2],
    lock: UnsafeCell<EX_SPIN_LOCK>,
    semaphore: UnsafeCell<KSEMAPHORE>,
}

impl Guarded {
    fn initialise(&self) {
        let counter = (&raw const self.counter).cast_mut();
        // SAFETY: the extension is zeroed, so there is no value to drop, and no other code accesses it yet.
        unsafe { counter.write(Some(Shared::new(0))) };
        nt!(KeInitializeMutex(self.mutex.get(), 0));
        for fast in &self.fast {
            nt!(ExInitializeFastMutex(fast.get()));
        }
        nt!(KeInitializeSemaphore(self.semaphore.get(), 1, 1));
    }

    fn count(&self) {
        let counter = self.counter.as_ref().expect("it is initialised");
        counter.set(counter.get() + 1);
    }

    /// Counts under a guard.
    fn count_under(&self, guard: Guard) {
        match guard {
            Guard::Mutex => {
                wait(self.mutex.get().cast());
                self.count();
                nt!(KeReleaseMutex(self.mutex.get(), 0));
            }
            Guard::FastMutex => {
                nt!(ExAcquireFastMutex(self.fast[0].get()));
                self.count();
                nt!(ExReleaseFastMutex(self.fast[0].get()));
            }
            Guard::Exclusive => {
                let irql = nt!(ExAcquireSpinLockExclusive(self.lock.get()));
                self.count();
                nt!(ExReleaseSpinLockExclusive(self.lock.get(), irql));
            }
            Guard::Shared => {
                let irql = nt!(ExAcquireSpinLockShared(self.lock.get()));
                self.count();
                nt!(ExReleaseSpinLockShared(self.lock.get(), irql));
            }
            Guard::Semaphore => {
                wait(self.semaphore.get().cast());
                self.count();
                nt!(KeReleaseSemaphore(self.semaphore.get(), 0, 1, 0));
            }
        }
    }
}

/// Counts under one guard for the first request, and another one for the second.
macro_rules! counts_under {
    ($($name:ident: $first:ident, $second:ident;)*) => {
        $(
            struct $name;

            impl Steps for $name {
                type Own = Guarded;

                fn add(_: *mut DEVICE_OBJECT, own: &Guarded) {
                    own.initialise();
                }

                fn control(_: *mut DEVICE_OBJECT, own: &Guarded, irp: *mut IRP, code: u32) -> NTSTATUS {
                    let guard = if code == SECOND { Guard::$second } else { Guard::$first };
                    own.count_under(guard);
                    complete(irp, STATUS_SUCCESS)
                }
            }
        )*
    };
}

counts_under! {
    Mutexes: Mutex, Mutex;
    FastMutexes: FastMutex, FastMutex;
    Writers: Exclusive, Exclusive;
    Readers: Shared, Shared;
    Semaphores: Semaphore, Semaphore;
    MutexAndFastMutex: Mutex, FastMutex;
    ReaderAndWriter: Shared, Exclusive;
}

#[test]
fn locks_exclude_each_other() {
    holds(two_requests::<Mutexes>);
    holds(two_requests::<FastMutexes>);
    holds(two_requests::<Writers>);
    holds(two_requests::<Semaphores>);
    holds(two_requests::<ReaderAndWriter>);
}

#[test]
fn write_under_a_shared_lock_is_found() {
    let text = "nothing orders the two";
    breaks(two_requests::<Readers>, Rule::PlainMemory, text);
}

#[test]
fn two_locks_do_not_exclude_each_other() {
    let text = "nothing orders the two";
    breaks(two_requests::<MutexAndFastMutex>, Rule::PlainMemory, text);
}

/// Keeps its mutex when it completes a request.
struct KeepsMutex;

impl Steps for KeepsMutex {
    type Own = Guarded;

    fn add(_: *mut DEVICE_OBJECT, own: &Guarded) {
        own.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Guarded, irp: *mut IRP, _: u32) -> NTSTATUS {
        wait(own.mutex.get().cast());
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn a_mutex_is_released_before_the_dispatch_routine_returns() {
    let text = "a dispatch routine has returned and holds the mutex";
    let violation = breaks(one_request::<KeepsMutex>, Rule::Mutex, text);
    assert_eq!(violation.code, 1);
}

/// Acquires two fast mutexes, the second request in the other order if `CROSSES`.
struct TwoMutexes<const CROSSES: bool>;

impl<const CROSSES: bool> Steps for TwoMutexes<CROSSES> {
    type Own = Guarded;

    fn add(_: *mut DEVICE_OBJECT, own: &Guarded) {
        own.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Guarded, irp: *mut IRP, code: u32) -> NTSTATUS {
        let [mut first, mut second] = [own.fast[0].get(), own.fast[1].get()];
        if CROSSES && code == SECOND {
            std::mem::swap(&mut first, &mut second);
        }
        nt!(ExAcquireFastMutex(first));
        nt!(ExAcquireFastMutex(second));
        nt!(ExReleaseFastMutex(second));
        nt!(ExReleaseFastMutex(first));
        complete(irp, STATUS_SUCCESS)
    }
}

/// The rule is that of Driver Verifier's
/// [deadlock detection](https://learn.microsoft.com/windows-hardware/drivers/devtest/deadlock-detection).
#[test]
fn fast_mutexes_are_acquired_in_one_order() {
    let text = "the opposite order was";
    let violation = breaks(two_requests::<TwoMutexes<true>>, Rule::LockOrder, text);
    let seen = (violation.code, violation.parameters[0]);
    assert_eq!(seen, (0xc4, 0x1001), "\n{violation}");
    holds(two_requests::<TwoMutexes<false>>);
}

#[test]
fn a_fast_mutex_raises_the_irql() {
    passes(|| {
        // SAFETY: every field may be zero.
        let mut mutex: FAST_MUTEX = unsafe { zeroed() };
        let mutex = &raw mut mutex;
        nt!(ExInitializeFastMutex(mutex));
        nt!(ExAcquireFastMutex(mutex));
        // The IRQL is APC_LEVEL, so raising it to APC_LEVEL changes nothing.
        assert_eq!(nt!(KfRaiseIrql(1)), 1);
        assert_eq!(nt!(ExTryToAcquireFastMutex(mutex)), 0);
        nt!(ExReleaseFastMutex(mutex));
        assert_eq!(nt!(ExTryToAcquireFastMutex(mutex)), 1);
        nt!(ExReleaseFastMutex(mutex));
        let mut old = 9;
        nt!(KeRaiseIrql(2, &raw mut old));
        assert_eq!(old, 0);
        nt!(KeLowerIrql(old));
    });
}

fn fast_mutex() -> *mut FAST_MUTEX {
    // SAFETY: every field may be zero.
    let mutex = Box::leak(Box::new(unsafe { zeroed() }));
    nt!(ExInitializeFastMutex(mutex));
    mutex
}

#[test]
fn a_fast_mutex_is_acquired_once() {
    let twice = || {
        let mutex = fast_mutex();
        nt!(ExAcquireFastMutex(mutex));
        nt!(ExAcquireFastMutex(mutex));
        black_box(());
    };
    stops(twice, Rule::FastMutex, 0xc4, 0x1000, "ExAcquireFastMutex");
    let free = || {
        nt!(ExReleaseFastMutex(fast_mutex()));
        black_box(());
    };
    stops(free, Rule::FastMutex, 0xc4, 0x1004, "ExReleaseFastMutex");
    let high = || {
        let mutex = fast_mutex();
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(ExAcquireFastMutex(mutex));
        black_box(());
    };
    let routine = "ExAcquireFastMutex";
    stops(high, Rule::IrqlExApcLte1, 0xc4, 0x2_0005, routine);
}

#[test]
fn a_semaphore_counts_up_to_its_limit() {
    passes(|| {
        // SAFETY: every field may be zero.
        let mut semaphore: KSEMAPHORE = unsafe { zeroed() };
        let semaphore = &raw mut semaphore;
        nt!(KeInitializeSemaphore(semaphore, 0, 2));
        assert_eq!(try_wait(semaphore.cast()), STATUS_TIMEOUT);
        assert_eq!(nt!(KeReleaseSemaphore(semaphore, 0, 2, 0)), 0);
        assert_eq!(nt!(KeReadStateSemaphore(semaphore)), 2);
        assert_eq!(wait(semaphore.cast()), STATUS_SUCCESS);
        assert_eq!(try_wait(semaphore.cast()), STATUS_SUCCESS);
        assert_eq!(try_wait(semaphore.cast()), STATUS_TIMEOUT);
    });
    let beyond = || {
        // SAFETY: every field may be zero.
        let mut semaphore: KSEMAPHORE = unsafe { zeroed() };
        nt!(KeInitializeSemaphore(&raw mut semaphore, 1, 1));
        nt!(KeReleaseSemaphore(&raw mut semaphore, 0, 1, 0));
        black_box(());
    };
    stops(beyond, Rule::Mutex, 0x1e, 0xc000_0047, "KeReleaseSemaphore");
}

#[test]
fn an_event_is_reset_and_read() {
    passes(|| {
        let mut event = KEVENT { Header: [0; 3] };
        let event = &raw mut event;
        nt!(KeInitializeEvent(event, 0, 1));
        assert_ne!(nt!(KeReadStateEvent(event)), 0);
        assert_ne!(nt!(KeResetEvent(event)), 0);
        assert_eq!(nt!(KeResetEvent(event)), 0);
        assert_eq!(nt!(KeReadStateEvent(event)), 0);
    });
}

#[test]
fn a_reader_writer_spin_lock_is_not_acquired_again_nor_released_in_the_other_way() {
    passes(|| {
        let mut lock = 0;
        let irql = nt!(ExAcquireSpinLockShared(&raw mut lock));
        nt!(ExReleaseSpinLockShared(&raw mut lock, irql));
        assert_eq!(lock, 0);
    });
    let upgraded = || {
        let mut lock = 0;
        nt!(ExAcquireSpinLockShared(&raw mut lock));
        nt!(ExAcquireSpinLockExclusive(&raw mut lock));
        black_box(());
    };
    let routine = "ExAcquireSpinLockExclusive";
    stops(upgraded, Rule::SpinLock, 0xc4, 0x1000, routine);
    let other = || {
        let mut lock = 0;
        let irql = nt!(ExAcquireSpinLockShared(&raw mut lock));
        nt!(ExReleaseSpinLockExclusive(&raw mut lock, irql));
        black_box(());
    };
    let routine = "ExReleaseSpinLockExclusive";
    stops(other, Rule::SpinlockRelease, 0xc4, 0x1007, routine);
}

/// A driver whose object is freed while requests use it, unless run-down protection keeps it.
struct RunsDown<const PROTECTS: bool>;

struct RunDown {
    run_ref: UnsafeCell<EX_RUNDOWN_REF>,
    object: UnsafeCell<*mut u64>,
}

const TAG: u32 = u32::from_le_bytes(*b"tseT");

impl<const PROTECTS: bool> Steps for RunsDown<PROTECTS> {
    type Own = RunDown;

    fn add(_: *mut DEVICE_OBJECT, own: &RunDown) {
        nt!(ExInitializeRundownProtection(own.run_ref.get()));
        let object = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, TAG));
        // SAFETY: no other code accesses the extension yet.
        unsafe { *own.object.get() = object.cast() };
    }

    fn control(_: *mut DEVICE_OBJECT, own: &RunDown, irp: *mut IRP, code: u32) -> NTSTATUS {
        // SAFETY: the field is no longer written.
        let object = unsafe { *own.object.get() };
        if code == SECOND {
            if PROTECTS {
                nt!(ExWaitForRundownProtectionRelease(own.run_ref.get()));
            }
            nt!(ExFreePoolWithTag(object.cast(), TAG));
            return complete(irp, STATUS_SUCCESS);
        }
        if PROTECTS && nt!(ExAcquireRundownProtection(own.run_ref.get())) == 0 {
            return complete(irp, nt::STATUS_CANCELLED);
        }
        nt::interlocked::YieldProcessor();
        // SAFETY: the model detects a write to an object that was freed.
        unsafe { object.write(1) };
        if PROTECTS {
            nt!(ExReleaseRundownProtection(own.run_ref.get()));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn object_is_not_freed_while_run_down_protection_is_held() {
    let text = "block was freed";
    breaks(two_requests::<RunsDown<false>>, Rule::FreedMemory, text);
    holds(two_requests::<RunsDown<true>>);
}

#[test]
fn run_down_protection_is_released_as_often_as_it_was_acquired() {
    passes(|| {
        let mut run_ref = EX_RUNDOWN_REF { Count: 7 };
        let run_ref = &raw mut run_ref;
        nt!(ExInitializeRundownProtection(run_ref));
        assert_eq!(nt!(ExAcquireRundownProtection(run_ref)), 1);
        nt!(ExReleaseRundownProtection(run_ref));
        nt!(ExWaitForRundownProtectionRelease(run_ref));
        assert_eq!(nt!(ExAcquireRundownProtection(run_ref)), 0);
        nt!(ExReInitializeRundownProtection(run_ref));
        assert_eq!(nt!(ExAcquireRundownProtection(run_ref)), 1);
        nt!(ExReleaseRundownProtection(run_ref));
    });
    let violation = found(|| {
        let mut run_ref = EX_RUNDOWN_REF { Count: 0 };
        nt!(ExReleaseRundownProtection(&raw mut run_ref));
        black_box(());
    });
    let broken = (violation.rule, violation.routine);
    assert_eq!(broken, (Rule::Rundown, "ExReleaseRundownProtection"));
}

fn entry() -> *mut SLIST_ENTRY {
    Box::leak(Box::new(SLIST_ENTRY { Next: null_mut() }))
}

#[test]
fn a_sequenced_list_returns_the_last_pushed_entry() {
    passes(|| {
        let mut head = SLIST_HEADER { Reserved: [9; 2] };
        let head = &raw mut head;
        nt!(InitializeSListHead(head));
        let [first, second] = [entry(), entry()];
        assert_eq!(nt!(ExpInterlockedPopEntrySList(head)), null_mut());
        assert_eq!(nt!(ExpInterlockedPushEntrySList(head, first)), null_mut());
        assert_eq!(nt!(ExpInterlockedPushEntrySList(head, second)), first);
        assert_eq!(nt!(ExQueryDepthSList(head)), 2);
        assert_eq!(nt!(ExpInterlockedPopEntrySList(head)), second);
        assert_eq!(nt!(ExpInterlockedFlushSList(head)), first);
        assert_eq!(nt!(ExQueryDepthSList(head)), 0);
        for entry in [first, second] {
            // SAFETY: `entry` has leaked it.
            drop(unsafe { Box::from_raw(entry) });
        }
    });
}

#[test]
fn an_entry_is_on_a_sequenced_list_once() {
    let twice = || {
        let mut head = SLIST_HEADER { Reserved: [0; 2] };
        let entry = entry();
        nt!(ExpInterlockedPushEntrySList(&raw mut head, entry));
        nt!(ExpInterlockedPushEntrySList(&raw mut head, entry));
        black_box(());
    };
    let routine = "InterlockedPushEntrySList";
    stops(twice, Rule::ListEntry, 0x139, 3, routine);
}

/// A timer that expires repeatedly, until the device is removed if `CANCELS` is set.
struct Periodic<const CANCELS: bool>;

struct Timed {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    done: UnsafeCell<KEVENT>,
    count: UnsafeCell<u32>,
}

fn counts_to_three(own: &Timed) {
    // SAFETY: the DPCs of one timer run one after the other.
    let count = unsafe { &mut *own.count.get() };
    *count += 1;
    if *count == 3 {
        nt!(KeSetEvent(own.done.get(), 0, 0));
    }
}

impl<const CANCELS: bool> Steps for Periodic<CANCELS> {
    type Own = Timed;

    fn control(_: *mut DEVICE_OBJECT, timed: &Timed, irp: *mut IRP, _: u32) -> NTSTATUS {
        nt!(KeInitializeEvent(timed.done.get(), 0, 0));
        initialise_dpc(timed.dpc.get(), timed, counts_to_three);
        nt!(KeInitializeTimer(timed.timer.get()));
        let was_set = nt!(KeSetTimerEx(timed.timer.get(), -10_000, 1, timed.dpc.get()));
        assert_eq!(was_set, 0);
        wait(timed.done.get().cast());
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Timed) {
        if CANCELS {
            assert_eq!(nt!(KeCancelTimer(own.timer.get())), 1, "it is set again");
            nt!(KeFlushQueuedDpcs());
        }
    }
}

#[test]
fn a_periodic_timer_expires_until_it_is_cancelled() {
    let text = "its memory is freed";
    breaks(one_request::<Periodic<false>>, Rule::Dpc, text);
    holds(one_request::<Periodic<true>>);
}
