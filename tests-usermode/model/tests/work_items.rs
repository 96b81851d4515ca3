//! Work items: finds the mistakes of a driver, and supports the documented uses.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI32, AtomicU32, Ordering::SeqCst},
    },
};

use call::wait;
use common::{
    MILLISECOND, NO_CODE, delay, delete, event, extension, found, initialise, is, passes, scenario,
    set, stops, stops_in_some_order,
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
    nt!(IoAllocateWorkItem(device))
}

fn queue(item: *mut IO_WORKITEM, routine: PIO_WORKITEM_ROUTINE, context: *mut c_void) {
    nt!(IoQueueWorkItem(item, routine, DelayedWorkQueue, context));
}

fn free(item: *mut IO_WORKITEM) {
    nt!(IoFreeWorkItem(item));
}

/// The context of a routine.
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
        // SAFETY: the context is a `Shared` that its owner does not access until the event is set.
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
fn works(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    let mut shared = Shared::new(item);
    queue(item, Some(sets), (&raw mut *shared).cast());
    wait_for(&mut shared);
    free(item);
    delete(device);
}

#[test]
fn the_routine_runs_and_can_be_waited_for() {
    passes(works);
}

unsafe extern "C" fn queues_itself(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    let shared = Shared::of(context);
    if shared.runs.fetch_add(1, SeqCst) == 0 {
        return queue(shared.item, Some(queues_itself), context);
    }
    free(shared.item);
    set(&raw mut shared.done);
}

/// An item that its own routine queues again once, and then frees.
fn item_queues_itself(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    let mut shared = Shared::new(item);
    queue(item, Some(queues_itself), (&raw mut *shared).cast());
    wait_for(&mut shared);
    assert_eq!(shared.runs.load(SeqCst), 2);
    delete(device);
}

#[test]
fn an_item_may_be_queued_again_and_freed_by_its_own_routine() {
    passes(item_queues_itself);
}

/// The context of the first item's routine: the event that it sets, and the event that it waits for.
struct Events {
    first: *mut KEVENT,
    second: *mut KEVENT,
}

unsafe extern "C" fn waits_for_second(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the owner of the context does not change it until the first event is set.
    let Events { first, second } = unsafe { context.cast::<Events>().read() };
    wait(second);
    set(first);
}

/// Queues two items. The routine of one waits for the routine of the other.
fn two_items_wait(device: *mut DEVICE_OBJECT) {
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

#[test]
fn the_routines_of_two_items_run_in_parallel() {
    passes(two_items_wait);
}

fn queued_twice(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    for _ in 0..2 {
        queue(item, Some(does_nothing), null_mut());
    }
}

#[test]
fn a_queued_item_is_queued_again() {
    stops_in_some_order(queued_twice, Rule::WorkItem, 0xe4, 1, "IoQueueWorkItem");
}

fn freed_queued(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    queue(item, Some(does_nothing), null_mut());
    free(item);
    delete(device);
}

#[test]
fn a_queued_item_is_freed() {
    stops_in_some_order(freed_queued, Rule::WorkItem, 0xe4, 2, "IoFreeWorkItem");
}

fn no_device(_: *mut DEVICE_OBJECT) {
    allocate(without_provenance_mut(0x1000));
}

fn of_deleted_device(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    delete(device);
    queue(item, Some(does_nothing), null_mut());
}

#[test]
fn an_item_has_a_device_object() {
    stops(no_device, Rule::WorkItem, 0xe4, 3, "IoAllocateWorkItem");
    let routine = "IoQueueWorkItem";
    stops(of_deleted_device, Rule::WorkItem, 0xe4, 3, routine);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ne-wdm-_work_queue_type>: the types of queues, and custom priorities
/// from `CustomPriorityWorkQueue` on.
#[test]
fn item_is_queued_for_each_existing_queue() {
    let any_queue = scenario(|device| {
        for queue in (0..7).chain([32 + 8, 32 + 31]) {
            let item = allocate(device);
            nt!(IoQueueWorkItem(item, Some(frees), queue, item.cast()));
        }
        delete(device);
    });
    any_queue(&Kernel::new(Config::default()));
    for queue in WRONG_QUEUES {
        QUEUE.store(queue, SeqCst);
        stops(wrong_queue, Rule::WorkItem, 0xe4, 6, "IoQueueWorkItem");
    }
}

/// `MaximumWorkQueue`, and values around the custom priorities.
const WRONG_QUEUES: [i32; 4] = [-1, 7, 31, 64];

static QUEUE: AtomicI32 = AtomicI32::new(0);

unsafe extern "C" fn frees(_: *mut DEVICE_OBJECT, item: *mut c_void) {
    free(item.cast());
}

fn wrong_queue(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    let queue = QUEUE.load(SeqCst);
    nt!(IoQueueWorkItem(item, Some(does_nothing), queue, null_mut()));
}

fn no_routine(device: *mut DEVICE_OBJECT) {
    queue(allocate(device), None, null_mut());
}

#[test]
fn an_item_has_a_routine() {
    stops(no_routine, Rule::WorkItem, 0xe4, 7, "IoQueueWorkItem");
}

fn freed_twice(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    free(item);
    free(item);
}

#[test]
fn an_item_is_freed_once() {
    let violation = found(freed_twice);
    let first = violation.parameters[0];
    is(&violation, Rule::WorkItem, 0x50, first, "IoFreeWorkItem");
}

fn not_freed(device: *mut DEVICE_OBJECT) {
    allocate(device);
    delete(device);
}

#[test]
fn an_item_that_is_not_freed_is_a_leak() {
    stops(not_freed, Rule::WorkItem, 0xc4, 0x62, "DriverEntry");
}

unsafe extern "C" fn raises(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    let _ = nt!(KeRaiseIrqlToDpcLevel());
}

fn item_raises(device: *mut DEVICE_OBJECT) {
    queue(allocate(device), Some(raises), null_mut());
}

unsafe extern "C" fn keeps_lock(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    nt!(KeAcquireSpinLockRaiseToDpc(context.cast()));
}

fn item_keeps_lock(device: *mut DEVICE_OBJECT) {
    let mut lock: KSPIN_LOCK = 0;
    nt!(KeInitializeSpinLock(&raw mut lock));
    queue(allocate(device), Some(keeps_lock), (&raw mut lock).cast());
    // The lock does not move, since this call never returns.
    wait_for(&mut Shared::new(null_mut()));
}

#[test]
fn the_routine_returns_at_passive_level_with_no_lock() {
    let routine = "a work item's routine";
    stops(item_raises, Rule::IrqlReturn, 0xc4, 0x2_001d, routine);
    stops(item_keeps_lock, Rule::SpinLock, 0xc4, 0x2_001d, routine);
}

static RETURNED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn runs_for_long(device: *mut DEVICE_OBJECT, item: *mut c_void) {
    assert_eq!(delay(-MILLISECOND), STATUS_SUCCESS);
    // SAFETY: the item keeps the device object, and with it the extension.
    unsafe { extension(device).write(1) };
    free(item.cast());
    RETURNED.fetch_add(1, SeqCst);
}

/// An item whose routine runs for a long time, and writes to the extension of the device object, which was deleted.
fn waited_for(device: *mut DEVICE_OBJECT) {
    let item = allocate(device);
    queue(item, Some(runs_for_long), item.cast());
    delete(device);
}

fn unload_and_check(kernel: &Arc<Kernel>) {
    RETURNED.store(0, SeqCst);
    scenario(waited_for)(kernel);
    let returned = RETURNED.load(SeqCst);
    kernel.verify(returned == 1, || {
        format!("{returned} routines have returned")
    });
}

#[test]
fn the_driver_stays_until_the_routines_have_returned() {
    for clock in [Clock::Host, Clock::Virtual] {
        unload_and_check(&Kernel::new(Config {
            clock,
            ..Config::default()
        }));
    }
    let search = Search::every(10_000);
    let explored = explore(search, unload_and_check).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}

unsafe extern "C" fn never_returns(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    wait_for(&mut Shared::new(null_mut()));
}

fn item_never_returns(device: *mut DEVICE_OBJECT) {
    queue(allocate(device), Some(never_returns), null_mut());
}

#[test]
fn a_routine_that_does_not_return_is_a_hang() {
    stops(item_never_returns, Rule::Hang, NO_CODE, 0, "DriverEntry");
    let routine = "no thread can continue";
    stops_in_some_order(item_never_returns, Rule::Hang, NO_CODE, 0, routine);
}

static FAULTS: LazyLock<Arc<Faults>> = LazyLock::new(Arc::default);

fn refused(device: *mut DEVICE_OBJECT) {
    FAULTS.arm();
    let items = [allocate(device), allocate(device)];
    assert!(items[0].is_null());
    assert!(!items[1].is_null());
    free(items[1]);
    delete(device);
}

#[test]
fn an_item_may_be_refused() {
    let kernel = Kernel::new(Config {
        faults: Some(Arc::clone(&FAULTS)),
        ..Config::default()
    });
    scenario(refused)(&kernel);
    assert!(FAULTS.disarm());
}

unsafe extern "C" fn with_item(
    object: *mut c_void,
    context: *mut c_void,
    item: *mut nt::IO_WORKITEM,
) {
    assert_eq!(context, object);
    nt!(IoUninitializeWorkItem(item));
    nt!(ExFreePool(item.cast()));
}

/// Returns an item in a block of the pool.
fn item_of_driver(device: *mut DEVICE_OBJECT) -> *mut nt::IO_WORKITEM {
    let size = nt!(IoSizeofWorkItem()) as usize;
    let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, size, 1));
    nt!(IoInitializeWorkItem(device.cast(), block.cast()));
    block.cast()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinitializeworkitem)
#[test]
fn item_in_memory_of_the_driver_is_passed_to_its_routine() {
    common::passes(|device| {
        let item = item_of_driver(device);
        let (queue, context) = (nt::DelayedWorkQueue, device.cast());
        nt!(IoQueueWorkItemEx(item, Some(with_item), queue, context));
        common::delete(device);
    });
    let freed = |device| nt!(ExFreePool(item_of_driver(device).cast()));
    let found = common::found(freed);
    assert_eq!((found.rule, found.code), (Rule::WorkItem, 0xe4), "{found}");
}
