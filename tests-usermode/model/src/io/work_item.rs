//! Work items, whose routines run in system worker threads.
//!
//! Each queued item has a thread of its own. Windows has a pool of worker threads, so the routines of two items can run in
//! parallel. The rules are on Microsoft's page about [system worker
//! threads](https://learn.microsoft.com/windows-hardware/drivers/kernel/system-worker-threads). A violation is [bug check
//! 0xE4](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xe4--worker-invalid).

use std::{ffi::c_void, ops::Range, ptr::null_mut, sync::Mutex};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_WORKITEM, PIO_WORKITEM_ROUTINE, PIO_WORKITEM_ROUTINE_EX,
};
use rustc_hash::FxHashMap;

use crate::{
    ex::is_queue,
    host::{
        Call, Kernel,
        footprint::{self, Access},
        thread::Thread,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `WORKER_INVALID`
const WORKER_INVALID: u32 = 0xe4;

/// The first parameter of `WORKER_INVALID` for each mistake.
const QUEUED_IS_QUEUED: u64 = 1;
const QUEUED_IS_FREED: u64 = 2;
const NO_OBJECT: u64 = 3;
const NO_QUEUE: u64 = 6;
const NO_ROUTINE: u64 = 7;

/// The allocated work items, by address.
#[derive(Default)]
pub(crate) struct WorkItems {
    items: Mutex<FxHashMap<usize, WorkItem>>,
}

struct WorkItem {
    /// The memory whose address is that of the item, and which is not accessed; `None` if the item is in memory of the driver.
    _memory: Option<Box<u128>>,
    /// The address of the device object.
    device: usize,
    is_queued: bool,
}

impl WorkItems {
    /// Allocates an item.
    fn add(&self, device: usize) -> *mut IO_WORKITEM {
        let mut memory = Box::new(0_u128);
        let item = (&raw mut *memory).cast::<IO_WORKITEM>();
        let new = WorkItem {
            _memory: Some(memory),
            device,
            is_queued: false,
        };
        locked(&self.items).insert(item.addr(), new);
        item
    }

    /// Records an item in memory of the driver; returns whether there was none at this address.
    fn initialise(&self, item: usize, device: usize) -> bool {
        let new = WorkItem {
            _memory: None,
            device,
            is_queued: false,
        };
        locked(&self.items).insert(item, new).is_none()
    }

    fn dequeue(&self, item: usize) {
        if let Some(item) = locked(&self.items).get_mut(&item) {
            item.is_queued = false;
        }
    }
}

/// The size of a work item, which drivers get from `IoSizeofWorkItem`.
const SIZE: usize = 0x58;

/// The routine of `IoQueueWorkItem`, or that of `IoQueueWorkItemEx`.
#[derive(Clone, Copy)]
enum Routine {
    Plain(unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut c_void)),
    WithItem(unsafe extern "C" fn(*mut c_void, *mut c_void, *mut IO_WORKITEM)),
}

/// The routine and the context for a worker thread.
struct QueuedItem {
    item: usize,
    device: *mut DEVICE_OBJECT,
    routine: Routine,
    context: *mut c_void,
}

// SAFETY: the driver passed the context for use by another thread, and the device object is referenced.
unsafe impl Send for QueuedItem {}

impl QueuedItem {
    fn run(self, kernel: &Kernel) {
        let call = Call::enter_noted("a work item's routine");
        footprint::touch(self.item, Access::Exclusive);
        // From here on the driver can queue the item again, or free it.
        kernel.io().work_items.dequeue(self.item);
        let (device, routine, context) = (self.device, self.routine, self.context);
        match routine {
            // SAFETY: the routine is called as the kernel calls it: at PASSIVE_LEVEL, with what it was queued with.
            Routine::Plain(routine) => unsafe { Call::in_driver(routine, (device, context)) },
            Routine::WithItem(routine) => {
                let item = std::ptr::with_exposed_provenance_mut(self.item);
                // SAFETY: as above.
                unsafe { Call::in_driver(routine, (device.cast(), context, item)) };
            }
        }
        call.require_returned("a work item's routine", 0);
        call.require_regions(0, "a work item's routine");
        call.require_no_mutex("a work item's routine");
        call.require_not_attached("a work item's routine");
        kernel.io().devices.io_dereference(device.addr());
        kernel.work_ended();
    }
}

impl Call {
    fn bad_item(&self, code: u64, item: *mut IO_WORKITEM, third: u64, what: String) -> ! {
        let bug_check = BugCheck(WORKER_INVALID, [code, item.addr() as u64, third, 0]);
        self.stop(bug_check, Rule::WorkItem, what)
    }

    /// Stops the system if a work item is made for what is neither a driver object nor a device object of a driver.
    fn require_object(&self, object: *mut c_void, item: *mut IO_WORKITEM) {
        let io = self.kernel.io();
        if !io.is_driver(object.addr()) && !io.devices.is_drivers(object.addr()) {
            let what =
                format!("{object:?} is neither a driver object nor a device object of a driver");
            self.bad_item(NO_OBJECT, item, object.addr() as u64, what);
        }
    }

    fn no_item(&self, item: *mut IO_WORKITEM) -> ! {
        let bug_check = BugCheck(0x50, [item.addr() as u64, 0, 0, 0]);
        let what = format!("{item:?} is not a work item, or was freed");
        self.stop(bug_check, Rule::WorkItem, what)
    }

    /// Stops the system if the driver that is unloaded has a work item.
    pub(in crate::io) fn require_no_work_item(&self) {
        let count = locked(&self.kernel.io().work_items.items).len();
        self.require(count == 0, Rule::WorkItem, || {
            let what = format!("the driver is unloaded with {count} work items not freed");
            (BugCheck::verifier(0x62, [0, 0, count as u64]), what)
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAllocateWorkItem(device: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM {
    let call = Call::enter_noted("IoAllocateWorkItem").at_most(DISPATCH_LEVEL);
    call.require_object(device.cast(), null_mut());
    if call.kernel.fails() {
        return null_mut();
    }
    let item = call.kernel.io().work_items.add(device.expose_provenance());
    footprint::make(item.addr()..item.addr() + 1);
    item
}

impl Call {
    /// Removes an item; stops the system if there is none, or if it is queued.
    fn end_item(&self, item: *mut IO_WORKITEM) {
        let ended = locked(&self.kernel.io().work_items.items).remove(&item.addr());
        match ended {
            None => self.no_item(item),
            Some(WorkItem {
                is_queued: true, ..
            }) => {
                let what = format!("the work item {item:?} is freed while it is queued");
                self.bad_item(QUEUED_IS_FREED, item, 0, what);
            }
            Some(_) => {}
        }
    }

    /// Stops the system if memory is freed that contains a work item of `IoInitializeWorkItem`.
    pub(in crate::io) fn require_no_work_item_in(&self, memory: &Range<usize>) {
        let left = {
            let items = locked(&self.kernel.io().work_items.items);
            let mut items = items.keys();
            items.find(|item| memory.contains(item)).copied()
        };
        if let Some(item) = left {
            let what = format!(
                "memory is freed that contains the work item {item:#x}, for which IoUninitializeWorkItem was not called"
            );
            let bug_check = BugCheck(WORKER_INVALID, [0, item as u64, 0, 0]);
            self.stop(bug_check, Rule::WorkItem, what);
        }
    }

    fn queue_item(
        &self,
        item: *mut IO_WORKITEM,
        routine: Option<Routine>,
        queue: i32,
        context: *mut c_void,
    ) {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        let queue_type = queue.cast_unsigned().into();
        if !is_queue(queue) {
            let what = format!("there is no work queue {queue}: use DelayedWorkQueue");
            self.bad_item(NO_QUEUE, item, queue_type, what);
        }
        let Some(routine) = routine else {
            let what = format!("the work item {item:?} is queued without a routine");
            self.bad_item(NO_ROUTINE, item, queue_type, what);
        };
        let kernel = &self.kernel;
        let found = locked(&kernel.io().work_items.items)
            .get_mut(&item.addr())
            .map(|item| (item.device, std::mem::replace(&mut item.is_queued, true)));
        let Some((device, was_queued)) = found else {
            self.no_item(item)
        };
        if was_queued {
            let what = format!("the work item {item:?} is queued, but is already queued");
            self.bad_item(QUEUED_IS_QUEUED, item, queue_type, what);
        }
        if !kernel.io().is_driver(device) && !kernel.io().devices.io_reference(device) {
            let what = format!("the device object {device:#x} of the work item {item:?} was freed");
            self.bad_item(NO_OBJECT, item, device as u64, what);
        }
        kernel.work_began();
        let queued = QueuedItem {
            item: item.expose_provenance(),
            device: std::ptr::with_exposed_provenance_mut(device),
            routine,
            context,
        };
        Thread::new_system(kernel, "system worker thread").start(|kernel| queued.run(kernel));
        self.switch_after(self.routine(), item);
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iofreeworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoFreeWorkItem(item: *mut IO_WORKITEM) {
    let call = Call::enter_visible("IoFreeWorkItem", item).at_most(DISPATCH_LEVEL);
    call.end_item(item);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosizeofworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoSizeofWorkItem() -> u32 {
    u32::try_from(SIZE).unwrap_or(u32::MAX)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinitializeworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoInitializeWorkItem(object: *mut c_void, item: *mut IO_WORKITEM) {
    let call = Call::enter_visible("IoInitializeWorkItem", item);
    call.require_room(item.cast::<[u64; SIZE / 8]>());
    call.require_nonpaged(item);
    call.require_object(object, item);
    let items = &call.kernel.io().work_items;
    let is_new = items.initialise(item.expose_provenance(), object.expose_provenance());
    call.require(is_new, Rule::WorkItem, || {
        let what = format!("the work item {item:?} is initialised again");
        (
            BugCheck(WORKER_INVALID, [0, item.addr() as u64, 0, 0]),
            what,
        )
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iouninitializeworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoUninitializeWorkItem(item: *mut IO_WORKITEM) {
    Call::enter_visible("IoUninitializeWorkItem", item).end_item(item);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioqueueworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoQueueWorkItem(
    item: *mut IO_WORKITEM,
    routine: PIO_WORKITEM_ROUTINE,
    queue: i32,
    context: *mut c_void,
) {
    let call = Call::enter_visible("IoQueueWorkItem", item);
    call.queue_item(item, routine.map(Routine::Plain), queue, context);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioqueueworkitemex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoQueueWorkItemEx(
    item: *mut IO_WORKITEM,
    routine: PIO_WORKITEM_ROUTINE_EX,
    queue: i32,
    context: *mut c_void,
) {
    let call = Call::enter_visible("IoQueueWorkItemEx", item);
    call.queue_item(item, routine.map(Routine::WithItem), queue, context);
}
