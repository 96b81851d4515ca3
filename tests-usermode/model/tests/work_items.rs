//! Work items: what a driver may get wrong with them is found, and what it may do works.

mod common;

use std::{
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use common::{
    Body, MILLISECOND, NO_CODE, delay, delete, event, extension, found, initialise, is, load_body,
    passes, set, stops, stops_in_some_order,
};
use nt::{
    DEVICE_OBJECT, DelayedWorkQueue, IO_WORKITEM, KEVENT, KSPIN_LOCK, PIO_WORKITEM_ROUTINE,
    STATUS_SUCCESS,
};
use ntmodel::{
    Clock, Config, Faults, Kernel, Rule,
    explore::{Search, explore},
};

fn allocate(device: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM {
    // SAFETY: whether this may be done is what is tested; so for every call below.
    unsafe { nt::IoAllocateWorkItem(device) }
}

fn queue(item: *mut IO_WORKITEM, routine: PIO_WORKITEM_ROUTINE, context: *mut c_void) {
    // SAFETY: as above.
    unsafe { nt::IoQueueWorkItem(item, routine, DelayedWorkQueue, context) };
}

fn free(item: *mut IO_WORKITEM) {
    // SAFETY: as above.
    unsafe { nt::IoFreeWorkItem(item) };
}

fn wait(event: *mut KEVENT) {
    // SAFETY: the event is initialised.
    unsafe { nt::KeWaitForSingleObject(event.cast(), 0, 0, 0, null_mut()) };
}

/// What a routine needs, whose context it is.
#[repr(C)]
struct Shared {
    done: KEVENT,
    item: *mut IO_WORKITEM,
    runs: AtomicU32,
}

impl Shared {
    #[expect(clippy::unnecessary_box_returns, reason = "an event must not move")]
    fn new(item: *mut IO_WORKITEM) -> Box<Self> {
        let mut shared = Box::new(Self {
            done: event(),
            item,
            runs: AtomicU32::new(0),
        });
        initialise(&raw mut shared.done);
        shared
    }

    fn of<'a>(context: *mut c_void) -> &'a mut Self {
        // SAFETY: the context is a `Shared` that its owner leaves alone until the event is set.
        unsafe { &mut *context.cast() }
    }
}

unsafe extern "C" fn sets(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    set(&raw mut Shared::of(context).done);
}

unsafe extern "C" fn does_nothing(_: *mut DEVICE_OBJECT, _: *mut c_void) {}

/// Waits for an item's routine, which has been queued with this context.
fn wait_for(shared: &mut Shared) {
    wait(&raw mut shared.done);
}

/// An item that is queued, waited for, and freed.
struct Works;

impl Body for Works {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        let mut shared = Shared::new(item);
        queue(item, Some(sets), (&raw mut *shared).cast());
        wait_for(&mut shared);
        free(item);
        delete(device);
    }
}

#[test]
fn the_routine_runs_and_can_be_waited_for() {
    passes::<Works>();
}

/// An item that its own routine queues again once, and then frees.
struct QueuesItself;

unsafe extern "C" fn queues_itself(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    let shared = Shared::of(context);
    if shared.runs.fetch_add(1, SeqCst) == 0 {
        return queue(shared.item, Some(queues_itself), context);
    }
    free(shared.item);
    set(&raw mut shared.done);
}

impl Body for QueuesItself {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        let mut shared = Shared::new(item);
        queue(item, Some(queues_itself), (&raw mut *shared).cast());
        wait_for(&mut shared);
        assert_eq!(shared.runs.load(SeqCst), 2);
        delete(device);
    }
}

#[test]
fn an_item_may_be_queued_again_and_freed_by_its_own_routine() {
    passes::<QueuesItself>();
}

/// Two items, of which one's routine waits for the other's.
struct Beside;

/// What the first item's routine needs: which event it sets, and which it waits for.
struct Events {
    first: *mut KEVENT,
    second: *mut KEVENT,
}

unsafe extern "C" fn waits_for_second(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the context is what its owner leaves alone until the first event is set.
    let Events { first, second } = unsafe { context.cast::<Events>().read() };
    wait(second);
    set(first);
}

impl Body for Beside {
    fn run(device: *mut DEVICE_OBJECT) {
        let items = [allocate(device), allocate(device)];
        let mut first = Shared::new(null_mut());
        let mut second = Shared::new(null_mut());
        let mut events = Events {
            first: &raw mut first.done,
            second: &raw mut second.done,
        };
        queue(items[0], Some(waits_for_second), (&raw mut events).cast());
        queue(items[1], Some(sets), (&raw mut *second).cast());
        wait(events.first);
        // Both routines have started.
        items.into_iter().for_each(free);
        delete(device);
    }
}

#[test]
fn the_routines_of_two_items_run_beside_each_other() {
    passes::<Beside>();
}

struct QueuedTwice;

impl Body for QueuedTwice {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        for _ in 0..2 {
            queue(item, Some(does_nothing), null_mut());
        }
    }
}

#[test]
fn an_item_that_is_queued_is_queued() {
    stops_in_some_order::<QueuedTwice>(Rule::WorkItem, 0xe4, 1, "IoQueueWorkItem");
}

struct FreedQueued;

impl Body for FreedQueued {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        queue(item, Some(does_nothing), null_mut());
        free(item);
        delete(device);
    }
}

#[test]
fn an_item_that_is_queued_is_freed() {
    stops_in_some_order::<FreedQueued>(Rule::WorkItem, 0xe4, 2, "IoFreeWorkItem");
}

struct NoDevice;

impl Body for NoDevice {
    fn run(_: *mut DEVICE_OBJECT) {
        allocate(without_provenance_mut(0x1000));
    }
}

struct OfDeletedDevice;

impl Body for OfDeletedDevice {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        delete(device);
        queue(item, Some(does_nothing), null_mut());
    }
}

#[test]
fn an_item_has_a_device_object() {
    stops::<NoDevice>(Rule::WorkItem, 0xe4, 3, "IoAllocateWorkItem");
    stops::<OfDeletedDevice>(Rule::WorkItem, 0xe4, 3, "IoQueueWorkItem");
}

struct WrongQueue;

impl Body for WrongQueue {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        // SAFETY: whether this may be done is what is tested.
        unsafe { nt::IoQueueWorkItem(item, Some(does_nothing), 0, null_mut()) };
    }
}

#[test]
fn an_item_is_queued_for_delayed_work() {
    stops::<WrongQueue>(Rule::WorkItem, 0xe4, 6, "IoQueueWorkItem");
}

struct NoRoutine;

impl Body for NoRoutine {
    fn run(device: *mut DEVICE_OBJECT) {
        queue(allocate(device), None, null_mut());
    }
}

#[test]
fn an_item_has_a_routine() {
    stops::<NoRoutine>(Rule::WorkItem, 0xe4, 7, "IoQueueWorkItem");
}

struct FreedTwice;

impl Body for FreedTwice {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        free(item);
        free(item);
    }
}

#[test]
fn an_item_is_freed_once() {
    let violation = found::<FreedTwice>();
    let first = violation.parameters[0];
    is(&violation, Rule::WorkItem, 0x50, first, "IoFreeWorkItem");
}

struct NotFreed;

impl Body for NotFreed {
    fn run(device: *mut DEVICE_OBJECT) {
        allocate(device);
        delete(device);
    }
}

#[test]
fn an_item_that_is_not_freed_is_a_leak() {
    stops::<NotFreed>(Rule::WorkItem, 0xc4, 0x62, "DriverEntry");
}

struct Raises;

unsafe extern "C" fn raises(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    // SAFETY: the IRQL is PASSIVE_LEVEL.
    let _ = unsafe { nt::KeRaiseIrqlToDpcLevel() };
}

impl Body for Raises {
    fn run(device: *mut DEVICE_OBJECT) {
        queue(allocate(device), Some(raises), null_mut());
    }
}

struct KeepsLock;

unsafe extern "C" fn keeps_lock(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the context is an initialised lock.
    unsafe { nt::KeAcquireSpinLockRaiseToDpc(context.cast()) };
}

impl Body for KeepsLock {
    fn run(device: *mut DEVICE_OBJECT) {
        let mut lock: KSPIN_LOCK = 0;
        // SAFETY: the lock is this function's.
        unsafe { nt::KeInitializeSpinLock(&raw mut lock) };
        queue(allocate(device), Some(keeps_lock), (&raw mut lock).cast());
        // The lock stays where it is: nobody comes back from this.
        wait_for(&mut Shared::new(null_mut()));
    }
}

#[test]
fn the_routine_returns_at_passive_level_with_no_lock() {
    let routine = "a work item's routine";
    stops::<Raises>(Rule::IrqlReturn, 0xc4, 0x2_001d, routine);
    stops::<KeepsLock>(Rule::SpinLock, 0xc4, 0x2_001d, routine);
}

/// An item whose routine takes its time, and writes to the extension of the device object, which was deleted.
struct WaitedFor;

static RETURNED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn takes_its_time(device: *mut DEVICE_OBJECT, item: *mut c_void) {
    assert_eq!(delay(-MILLISECOND), STATUS_SUCCESS);
    // SAFETY: the item keeps the device object, and with it the extension.
    unsafe { extension(device).write(1) };
    free(item.cast());
    RETURNED.fetch_add(1, SeqCst);
}

impl Body for WaitedFor {
    fn run(device: *mut DEVICE_OBJECT) {
        let item = allocate(device);
        queue(item, Some(takes_its_time), item.cast());
        delete(device);
    }
}

fn load_and_look(kernel: &Arc<Kernel>) {
    RETURNED.store(0, SeqCst);
    load_body::<WaitedFor>(kernel);
    let returned = RETURNED.load(SeqCst);
    kernel.verify(returned == 1, || {
        format!("{returned} routines have returned")
    });
}

#[test]
fn the_driver_stays_until_the_routines_have_returned() {
    for clock in [Clock::Host, Clock::Virtual] {
        load_and_look(&Kernel::new(Config {
            clock,
            ..Config::default()
        }));
    }
    let search = Search::every(10_000);
    let explored = explore(search, load_and_look).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}

struct NeverReturns;

unsafe extern "C" fn never_returns(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    wait_for(&mut Shared::new(null_mut()));
}

impl Body for NeverReturns {
    fn run(device: *mut DEVICE_OBJECT) {
        queue(allocate(device), Some(never_returns), null_mut());
    }
}

#[test]
fn a_routine_that_does_not_return_is_a_hang() {
    stops::<NeverReturns>(Rule::Hang, NO_CODE, 0, "DriverEntry");
    stops_in_some_order::<NeverReturns>(Rule::Hang, NO_CODE, 0, "no thread can continue");
}

static FAULTS: LazyLock<Arc<Faults>> = LazyLock::new(Arc::default);

struct Refused;

impl Body for Refused {
    fn run(device: *mut DEVICE_OBJECT) {
        FAULTS.arm();
        let items = [allocate(device), allocate(device)];
        assert!(items[0].is_null());
        assert!(!items[1].is_null());
        free(items[1]);
        delete(device);
    }
}

#[test]
fn an_item_may_be_refused() {
    let kernel = Kernel::new(Config {
        faults: Some(Arc::clone(&FAULTS)),
        ..Config::default()
    });
    load_body::<Refused>(&kernel);
    assert!(FAULTS.disarm());
}
