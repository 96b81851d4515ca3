//! Waits that end after a time, waits for timers, lock queue handles, and `IRP_MJ_CLOSE`.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ffi::c_void,
    ptr::{addr_of_mut, null_mut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use call::{broke, queue_work, wait};
use common::{
    MILLISECOND, delete, event, found_in, initialise, passes, set, stops, stops_in_some_order,
};
use nt::{
    DEVICE_OBJECT, IRP, KDPC, KEVENT, KLOCK_QUEUE_HANDLE, KSPIN_LOCK, KTIMER, NTSTATUS,
    NotificationTimer, STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT, SynchronizationTimer,
    irp as io,
};
use ntmodel::{Config, File, Kernel, Rule};
use steps::{Stage, Steps, cancel, complete, mark};

fn wait_for(object: *mut c_void, mut time: i64) -> NTSTATUS {
    nt!(KeWaitForSingleObject(object, 0, 0, 0, &raw mut time))
}

/// An event that is never set, or is already set.
fn ends(device: *mut DEVICE_OBJECT) {
    let mut event = event();
    let event = &raw mut event;
    initialise(event);
    assert_eq!(wait_for(event.cast(), -MILLISECOND), STATUS_TIMEOUT);
    // A time that has long passed.
    assert_eq!(wait_for(event.cast(), 1), STATUS_TIMEOUT);
    assert_eq!(wait_for(event.cast(), 0), STATUS_TIMEOUT);
    set(event);
    assert_eq!(wait_for(event.cast(), -MILLISECOND), STATUS_SUCCESS);
    assert_eq!(wait_for(event.cast(), 0), STATUS_SUCCESS);
    delete(device);
}

#[test]
fn a_wait_ends_after_a_time() {
    passes(ends);
}

static SET_FIRST: AtomicU32 = AtomicU32::new(0);
static TIME_FIRST: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn sets(_: *mut DEVICE_OBJECT, event: *mut c_void) {
    set(event.cast());
}

/// An event that a work item sets, before the time is over or after.
fn set_or_time(device: *mut DEVICE_OBJECT) {
    let mut event = event();
    let event: *mut KEVENT = &raw mut event;
    initialise(event);
    let item = nt!(IoAllocateWorkItem(device));
    queue_work(item, sets, event.cast());
    let first = match wait_for(event.cast(), -MILLISECOND) {
        STATUS_TIMEOUT => &TIME_FIRST,
        _ => &SET_FIRST,
    };
    first.fetch_add(1, SeqCst);
    wait(event);
    nt!(IoFreeWorkItem(item));
    delete(device);
}

#[test]
fn wait_ends_in_both_ways_in_an_exploration() {
    passes(set_or_time);
    assert_ne!(SET_FIRST.load(SeqCst), 0);
    assert_ne!(TIME_FIRST.load(SeqCst), 0);
}

/// Timers that are waited for.
fn timers(device: *mut DEVICE_OBJECT) {
    let again = [
        (NotificationTimer, STATUS_SUCCESS),
        (SynchronizationTimer, STATUS_TIMEOUT),
    ];
    for (kind, second) in again {
        let mut timer = KTIMER { Reserved: [0; 8] };
        let timer = &raw mut timer;
        nt!(KeInitializeTimerEx(timer, kind));
        assert_eq!(wait_for(timer.cast(), 0), STATUS_TIMEOUT);
        nt!(KeSetTimer(timer, -MILLISECOND, null_mut()));
        let first = wait(timer);
        assert_eq!(first, STATUS_SUCCESS);
        // A wait resets a synchronization timer.
        assert_eq!(wait_for(timer.cast(), 0), second);
        // Setting a timer again resets it, whatever its type.
        nt!(KeSetTimer(timer, -10_000 * MILLISECOND, null_mut()));
        assert_ne!(nt!(KeCancelTimer(timer)), 0);
        assert_eq!(wait_for(timer.cast(), 0), STATUS_TIMEOUT);
    }
    delete(device);
}

#[test]
fn a_timer_is_waited_for() {
    // In an exploration a timer that is set may expire before it is cancelled.
    for clock in [ntmodel::Clock::Host, ntmodel::Clock::Virtual] {
        let kernel = Kernel::new(Config {
            clock,
            ..Config::default()
        });
        common::scenario(timers)(&kernel);
    }
}

fn waits_high(_: *mut DEVICE_OBJECT) {
    let mut event = event();
    let event = &raw mut event;
    initialise(event);
    let _ = nt!(KeRaiseIrqlToDpcLevel());
    // With a timeout of zero the wait is allowed.
    assert_eq!(wait_for(event.cast(), 0), STATUS_TIMEOUT);
    wait_for(event.cast(), -MILLISECOND);
}

#[test]
fn a_thread_waits_for_a_time_at_dispatch_level() {
    let rule = Rule::IrqlKeWaitForMutexObject;
    stops(waits_high, rule, 0xc4, 0x3b, "KeWaitForSingleObject");
}

fn timer_again(_: *mut DEVICE_OBJECT) {
    let mut timer = KTIMER { Reserved: [0; 8] };
    nt!(KeInitializeTimer(&raw mut timer));
    nt!(KeSetTimer(
        &raw mut timer,
        -10_000 * MILLISECOND,
        null_mut()
    ));
    nt!(KeInitializeTimer(&raw mut timer));
}

#[test]
fn a_timer_that_is_set_is_initialised_again() {
    stops(timer_again, Rule::Dpc, 0xc7, 0, "KeInitializeTimer");
}

/// The handles of two threads for one queued spin lock: one for each, or one for both.
#[repr(C)]
struct Shared {
    lock: KSPIN_LOCK,
    handles: [KLOCK_QUEUE_HANDLE; 2],
    done: KEVENT,
}

fn hold(lock: *mut KSPIN_LOCK, handle: *mut KLOCK_QUEUE_HANDLE) {
    nt!(KeAcquireInStackQueuedSpinLock(lock, handle));
    // The other thread may run here.
    nt::interlocked::YieldProcessor();
    nt!(KeReleaseInStackQueuedSpinLock(handle));
}

impl Shared {
    /// Acquires and releases the lock by a handle.
    fn hold(this: *mut Self, handle: usize) {
        // SAFETY: the structure stays until the event is set, and only the address is computed; so below.
        let lock = unsafe { addr_of_mut!((*this).lock) };
        // SAFETY: as above.
        let handle = unsafe { addr_of_mut!((*this).handles[handle]) };
        hold(lock, handle);
    }

    fn done(this: *mut Self) -> *mut KEVENT {
        // SAFETY: as above.
        unsafe { addr_of_mut!((*this).done) }
    }
}

unsafe extern "C" fn holds<const HANDLE: usize>(_: *mut DEVICE_OBJECT, shared: *mut c_void) {
    Shared::hold(shared.cast(), HANDLE);
    set(Shared::done(shared.cast()));
}

/// Two threads acquire a queued spin lock, by one handle if `ONE`.
fn handles<const ONE: bool>(device: *mut DEVICE_OBJECT) {
    let handle = || KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
    let mut shared = Shared {
        lock: 0,
        handles: [handle(), handle()],
        done: event(),
    };
    let shared = &raw mut shared;
    // SAFETY: the structure is this function's, and only the address is computed.
    let lock = unsafe { addr_of_mut!((*shared).lock) };
    nt!(KeInitializeSpinLock(lock));
    let done = Shared::done(shared);
    initialise(done);
    let item = nt!(IoAllocateWorkItem(device));
    let routine = if ONE { holds::<0> } else { holds::<1> };
    queue_work(item, routine, shared.cast());
    Shared::hold(shared, 0);
    wait(done);
    nt!(IoFreeWorkItem(item));
    delete(device);
}

#[test]
fn two_threads_have_one_lock_queue_handle() {
    passes(handles::<false>);
    let routine = "KeReleaseInStackQueuedSpinLock";
    let body = handles::<true>;
    stops_in_some_order(body, Rule::QueuedSpinLockRelease, 0xc4, 0x1007, routine);
}

static KEPT: AtomicPtr<IRP> = AtomicPtr::new(null_mut());
static CLOSED: AtomicBool = AtomicBool::new(false);
/// The timer and the DPC that serve the request. Their memory stays.
static TIMER: AtomicPtr<(KTIMER, KDPC)> = AtomicPtr::new(null_mut());

/// Serves one request for a time; it can be cancelled, but is on no queue.
struct Serves;

unsafe extern "C" fn serve(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    let irp = KEPT.load(SeqCst);
    if nt!(irp::IoSetCancelRoutine(irp, None)).is_some() {
        complete(irp, STATUS_SUCCESS);
    }
}

impl Steps for Serves {
    type Own = u64;

    fn other(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::major_function(irp)) == nt::IRP_MJ_CLOSE {
            CLOSED.store(true, SeqCst);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        KEPT.store(irp, SeqCst);
        mark(irp);
        nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
        let served = TIMER.load(SeqCst);
        // SAFETY: the memory stays; so below.
        let timer = unsafe { &raw mut (*served).0 };
        // SAFETY: as above.
        let dpc = unsafe { &raw mut (*served).1 };
        nt!(KeInitializeTimer(timer));
        nt!(KeInitializeDpc(dpc, Some(serve), null_mut()));
        nt!(KeSetTimer(timer, -1_000 * MILLISECOND, dpc));
        STATUS_PENDING
    }

    fn cancel(_: &u64, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        nt!(IoReleaseCancelSpinLock(irql));
        complete(irp, nt::STATUS_CANCELLED);
    }
}

/// Makes the timer and the DPC; starts and opens the device.
fn serving(kernel: &Arc<Kernel>) -> File {
    let served = (KTIMER { Reserved: [0; 8] }, KDPC { Reserved: [0; 8] });
    TIMER.store(Box::into_raw(Box::new(served)), SeqCst);
    let stage = Stage::set::<Serves>(kernel);
    Arc::into_inner(stage.file).expect("no other thread uses the file")
}

/// The two tests run one after the other, since both use the same statics.
#[test]
fn a_request_that_is_served_outlasts_the_cleanup_and_one_that_is_queued_does_not() {
    served_and_closed();
    queued_and_left();
}

/// The file is closed after the request has ended, by no system call.
fn served_and_closed() {
    let kernel: Arc<Kernel> = Kernel::new(Config::default());
    let file = serving(&kernel);
    let request = file.device_control(0x22_2000, &[], Vec::new());
    file.close();
    assert!(!CLOSED.load(SeqCst));
    // No thread is in a system call from here on.
    let start = Instant::now();
    while !CLOSED.load(SeqCst) {
        assert!(start.elapsed() < Duration::from_secs(20), "no IRP_MJ_CLOSE");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(request.status(), Some(STATUS_SUCCESS));
    assert!(kernel.violation().is_none());
}

/// As above, but the request is on a list, and the cleanup leaves it there.
fn queued_and_left() {
    let violation = found_in(|kernel| {
        let file = serving(kernel);
        let _request = file.device_control(0x22_2000, &[], Vec::new());
        let mut head = nt::LIST_ENTRY {
            Flink: null_mut(),
            Blink: null_mut(),
        };
        nt!(list::InitializeListHead(&raw mut head));
        nt!(list::InsertTailList(
            &raw mut head,
            io::list_entry(KEPT.load(SeqCst))
        ));
        file.close();
    });
    broke(&violation, Rule::Cleanup, 0xc9, &[]);
}
