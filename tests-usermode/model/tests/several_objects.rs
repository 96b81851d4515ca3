//! Waits for several objects, reader/writer spin locks at `DISPATCH_LEVEL`, and critical regions: their documented behaviour, and
//! mistakes of drivers.

#[macro_use]
mod call;
mod body;
mod steps;

use std::{cell::UnsafeCell, ffi::c_void, hint::black_box, mem::zeroed, ptr::null_mut};

use body::{run, stops};
use nt::{
    DEVICE_OBJECT, EX_SPIN_LOCK, IRP, KEVENT, KMUTEX, KSEMAPHORE, KWAIT_BLOCK, NTSTATUS,
    STATUS_SUCCESS, STATUS_TIMEOUT, WaitAll, WaitAny,
};
use ntmodel::{Clock, Config, Kernel, Rule, explore::Shared};
use steps::{FIRST, Steps, breaks, complete, holds, one_request, two_requests};

/// Runs code that breaks no rule.
fn passes(body: fn()) {
    for clock in [Clock::Host, Clock::Virtual] {
        run(
            &Kernel::new(Config {
                clock,
                ..Config::default()
            }),
            body,
        );
    }
}

fn wait(objects: &mut [*mut c_void], wait_type: i32, timeout: *mut i64) -> NTSTATUS {
    let count = u32::try_from(objects.len()).expect("there are few");
    let objects = objects.as_mut_ptr();
    nt!(KeWaitForMultipleObjects(
        count,
        objects,
        wait_type,
        0,
        0,
        0,
        timeout,
        null_mut()
    ))
}

/// Waits with a timeout of zero.
fn try_wait(objects: &mut [*mut c_void], wait_type: i32) -> NTSTATUS {
    let mut none = 0;
    wait(objects, wait_type, &raw mut none)
}

/// An event, of a type and in a state.
#[expect(clippy::unnecessary_box_returns, reason = "an event must not move")]
fn event(kind: i32, state: u8) -> Box<KEVENT> {
    let mut event = Box::new(KEVENT { Header: [0; 3] });
    nt!(KeInitializeEvent(&raw mut *event, kind, state));
    event
}

fn pointer<T>(object: &mut Box<T>) -> *mut c_void {
    (&raw mut **object).cast()
}

fn state(object: &mut Box<KEVENT>) -> i32 {
    nt!(KeReadStateEvent(&raw mut **object))
}

#[test]
fn a_wait_for_any_object_returns_its_index() {
    passes(|| {
        let mut objects = [event(1, 0), event(1, 1), event(1, 1)];
        let mut pointers = objects.each_mut().map(pointer);
        assert_eq!(
            wait(&mut pointers, WaitAny, null_mut()),
            1,
            "the first one that is set"
        );
        assert_eq!(objects.each_mut().map(state), [0, 0, 1], "one is reset");
        assert_eq!(wait(&mut pointers, WaitAny, null_mut()), 2);
        assert_eq!(try_wait(&mut pointers, WaitAny), STATUS_TIMEOUT);
        let mut soon = -10_000;
        assert_eq!(wait(&mut pointers, WaitAny, &raw mut soon), STATUS_TIMEOUT);
    });
}

#[test]
fn a_wait_for_all_objects_takes_all_or_none() {
    passes(|| {
        let mut objects = [event(1, 1), event(0, 1)];
        // SAFETY: every field may be zero.
        let mut semaphore: Box<KSEMAPHORE> = Box::new(unsafe { zeroed() });
        nt!(KeInitializeSemaphore(&raw mut *semaphore, 0, 2));
        let [first, second] = objects.each_mut().map(pointer);
        let mut pointers = [first, second, pointer(&mut semaphore)];
        assert_eq!(try_wait(&mut pointers, WaitAll), STATUS_TIMEOUT);
        assert_eq!(objects.each_mut().map(state), [1, 1], "none is taken");
        nt!(KeReleaseSemaphore(&raw mut *semaphore, 0, 1, 0));
        assert_eq!(wait(&mut pointers, WaitAll, null_mut()), STATUS_SUCCESS);
        assert_eq!(
            objects.each_mut().map(state),
            [0, 1],
            "a notification event stays set"
        );
        assert_eq!(nt!(KeReadStateSemaphore(&raw mut *semaphore)), 0);
    });
}

#[test]
fn four_objects_need_wait_blocks() {
    let body = || {
        let mut objects = [event(0, 1), event(0, 1), event(0, 1), event(0, 1)];
        let mut pointers = objects.each_mut().map(pointer);
        // SAFETY: every field may be zero.
        let mut blocks: [KWAIT_BLOCK; 4] = unsafe { zeroed() };
        let (objects, blocks) = (pointers.as_mut_ptr(), blocks.as_mut_ptr());
        let status = nt!(KeWaitForMultipleObjects(
            4,
            objects,
            WaitAll,
            0,
            0,
            0,
            null_mut(),
            blocks
        ));
        assert_eq!(status, STATUS_SUCCESS);
        wait(&mut pointers, WaitAny, null_mut());
        black_box(());
    };
    stops(body, Rule::WaitObjects, 0xc, 0, "KeWaitForMultipleObjects");
}

#[test]
fn no_thread_waits_for_several_objects_at_dispatch_level() {
    let body = || {
        let mut objects = [event(0, 1), event(0, 1)];
        let mut pointers = objects.each_mut().map(pointer);
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        let status = try_wait(&mut pointers, WaitAll);
        assert_eq!(status, STATUS_SUCCESS, "it takes no time");
        wait(&mut pointers, WaitAll, null_mut());
        black_box(());
    };
    let rule = Rule::IrqlKeWaitForMultipleObjects;
    stops(body, rule, 0xc4, 0x3b, "KeWaitForMultipleObjects");
}

/// A counter, whose accesses by two threads are distinguished.
struct Counter(Option<Shared<u32>>);

impl Counter {
    fn initialise(&self) {
        let counter = (&raw const *self).cast_mut();
        // SAFETY: the extension is zeroed, so there is no value to drop, and no other code accesses it yet.
        unsafe { counter.write(Self(Some(Shared::new(0)))) };
    }

    fn count(&self) {
        let counter = self.0.as_ref().expect("it is initialised");
        counter.set(counter.get() + 1);
    }
}

/// Two threads take both of two mutexes, and count under them.
struct TakesBoth;

struct Both {
    first: UnsafeCell<KMUTEX>,
    second: UnsafeCell<KMUTEX>,
    count: Counter,
}

impl Steps for TakesBoth {
    type Own = Both;

    fn add(_: *mut DEVICE_OBJECT, own: &Both) {
        own.count.initialise();
        nt!(KeInitializeMutex(own.first.get(), 0));
        nt!(KeInitializeMutex(own.second.get(), 0));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Both, irp: *mut IRP, code: u32) -> NTSTATUS {
        let mut mutexes = [own.first.get(), own.second.get()];
        if code != FIRST {
            mutexes.reverse();
        }
        let mut pointers = mutexes.map(<*mut KMUTEX>::cast);
        // However the two are ordered, no thread holds one and waits for the other.
        assert_eq!(wait(&mut pointers, WaitAll, null_mut()), STATUS_SUCCESS);
        own.count.count();
        for mutex in mutexes {
            nt!(KeReleaseMutex(mutex, 0));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn two_threads_that_wait_for_all_of_two_mutexes_do_not_deadlock() {
    holds(two_requests::<TakesBoth>);
}

#[test]
fn a_reader_writer_lock_is_tried_and_converted_at_dispatch_level() {
    passes(|| {
        let mut lock: EX_SPIN_LOCK = 0;
        let lock = &raw mut lock;
        let irql = nt!(KeRaiseIrqlToDpcLevel());
        nt!(ExAcquireSpinLockSharedAtDpcLevel(lock));
        assert_eq!(nt!(ExTryConvertSharedSpinLockExclusive(lock)), 1);
        nt!(ExReleaseSpinLockExclusiveFromDpcLevel(lock));
        assert_eq!(nt!(ExTryAcquireSpinLockExclusiveAtDpcLevel(lock)), 1);
        nt!(ExReleaseSpinLockExclusiveFromDpcLevel(lock));
        assert_eq!(nt!(ExTryAcquireSpinLockSharedAtDpcLevel(lock)), 1);
        nt!(ExReleaseSpinLockSharedFromDpcLevel(lock));
        nt!(ExAcquireSpinLockExclusiveAtDpcLevel(lock));
        nt!(ExReleaseSpinLockExclusiveFromDpcLevel(lock));
        nt!(KeLowerIrql(irql));
        let irql = nt!(ExAcquireSpinLockShared(lock));
        assert_eq!(nt!(ExTryConvertSharedSpinLockExclusive(lock)), 1);
        nt!(ExReleaseSpinLockExclusive(lock, irql));
    });
}

#[test]
fn a_reader_writer_lock_is_released_as_it_was_acquired() {
    let routine = "ExReleaseSpinLockSharedFromDpcLevel";
    let body = || {
        let mut lock: EX_SPIN_LOCK = 0;
        nt!(ExAcquireSpinLockShared(&raw mut lock));
        nt!(ExReleaseSpinLockSharedFromDpcLevel(&raw mut lock));
        black_box(());
    };
    stops(body, Rule::SpinlockRelease, 0xc4, 0x1009, routine);
    let routine = "ExAcquireSpinLockSharedAtDpcLevel";
    let body = || {
        let mut lock: EX_SPIN_LOCK = 0;
        nt!(ExAcquireSpinLockSharedAtDpcLevel(&raw mut lock));
        black_box(());
    };
    stops(body, Rule::SpinLockDpc, 0xc4, 0x40, routine);
    let routine = "ExTryConvertSharedSpinLockExclusive";
    let body = || {
        let mut lock: EX_SPIN_LOCK = 0;
        nt!(ExAcquireSpinLockExclusive(&raw mut lock));
        nt!(ExTryConvertSharedSpinLockExclusive(&raw mut lock));
        black_box(());
    };
    stops(body, Rule::SpinLock, 0xc4, 0x1007, routine);
}

/// Counts under a reader/writer lock that it has converted, or not.
struct Converts<const CHECKS: bool>;

struct Counted {
    lock: UnsafeCell<EX_SPIN_LOCK>,
    count: Counter,
}

impl<const CHECKS: bool> Steps for Converts<CHECKS> {
    type Own = Counted;

    fn add(_: *mut DEVICE_OBJECT, own: &Counted) {
        own.count.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Counted, irp: *mut IRP, _: u32) -> NTSTATUS {
        let lock = own.lock.get();
        let irql = nt!(ExAcquireSpinLockShared(lock));
        let converted = nt!(ExTryConvertSharedSpinLockExclusive(lock)) != 0;
        if converted || !CHECKS {
            own.count.count();
        }
        if converted {
            nt!(ExReleaseSpinLockExclusive(lock, irql));
        } else {
            nt!(ExReleaseSpinLockShared(lock, irql));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn a_lock_is_not_converted_while_another_thread_holds_it() {
    holds(two_requests::<Converts<true>>);
    breaks(two_requests::<Converts<false>>, Rule::PlainMemory, "");
}

#[test]
fn a_critical_region_is_left_as_often_as_it_is_entered() {
    passes(|| {
        nt!(KeEnterCriticalRegion());
        nt!(KeEnterCriticalRegion());
        nt!(KeLeaveCriticalRegion());
        nt!(KeLeaveCriticalRegion());
    });
    let body = || {
        nt!(KeLeaveCriticalRegion());
        black_box(());
    };
    stops(body, Rule::CriticalRegions, 1, 0, "KeLeaveCriticalRegion");
    let body = || {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(KeEnterCriticalRegion());
        black_box(());
    };
    let routine = "KeEnterCriticalRegion";
    stops(body, Rule::IrqlKeApcLte2, 0xc4, 0x2_0010, routine);
}

/// Returns to user mode in a critical region.
struct Stays;

impl Steps for Stays {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        nt!(KeEnterCriticalRegion());
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn no_thread_returns_to_user_mode_in_a_critical_region() {
    let in_region = "was called in 0 critical regions and has returned in 1";
    breaks(one_request::<Stays>, Rule::CriticalRegions, in_region);
}
