//! The work items of `ExQueueWorkItem`, which older drivers use. Each runs in a separate thread, like those of the I/O manager.
//!
//! The driver owns the memory of an item, and its image does not stay loaded for the routine: the driver must wait for the
//! routine before it is unloaded. A violation is [bug check
//! 0xE4](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xe4--worker-invalid).

use std::{
    collections::BTreeSet,
    ops::Range,
    ptr::null,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use nt::{DISPATCH_LEVEL, WORK_QUEUE_ITEM};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
        layout::WorkQueueItem,
        thread::Thread,
        wait::Wait,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `WORKER_INVALID`, and its first parameters.
const WORKER_INVALID: u32 = 0xe4;
const ACTIVE_IS_FREED: u64 = 0;
const ACTIVE_IS_QUEUED: u64 = 1;
const NO_QUEUE: u64 = 6;
const NO_ROUTINE: u64 = 7;

/// The queues, up to `MaximumWorkQueue`, and the custom priorities from `CustomPriorityWorkQueue` on.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ne-wdm-_work_queue_type)
const QUEUES: Range<i32> = 0..7;
const CUSTOM_PRIORITIES: Range<i32> = 32..64;

/// Returns whether there is a work queue of a `WORK_QUEUE_TYPE`.
pub(crate) fn is_queue(queue: i32) -> bool {
    QUEUES.contains(&queue) || CUSTOM_PRIORITIES.contains(&queue)
}

/// The work items.
#[derive(Default)]
pub(super) struct WorkItems {
    /// The addresses of the items that are queued.
    queued: Mutex<BTreeSet<usize>>,
    /// The number of routines that an unload waits for, also of the I/O manager's work items.
    active: AtomicUsize,
}

impl WorkItems {
    fn key(&self) -> usize {
        (&raw const self.active).addr()
    }

    fn queued_in(&self, memory: Range<usize>) -> Option<usize> {
        locked(&self.queued).range(memory).next().copied()
    }
}

impl Kernel {
    /// Counts a routine that an unload waits for.
    pub(crate) fn work_began(&self) {
        let items = &self.ex().work_items;
        footprint::touch(items.key(), Access::Commuting);
        items.active.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts the end of such a routine.
    pub(crate) fn work_ended(&self) {
        let items = &self.ex().work_items;
        items.active.fetch_sub(1, Ordering::SeqCst);
        self.sleepers.wake(Wait::WorkItems(items.key()));
    }
}

/// A queued item, for its thread.
struct QueuedItem(*mut WORK_QUEUE_ITEM);

// SAFETY: the driver keeps the item until its routine runs, and passed it for use by another thread.
unsafe impl Send for QueuedItem {}

impl QueuedItem {
    fn run(self, kernel: &Kernel) {
        const ROUTINE: &str = "a work item's routine";
        let (call, item) = (Call::enter_noted(ROUTINE), self.0);
        kernel.work_began();
        footprint::touch(item.addr(), Access::Exclusive);
        // SAFETY: the driver keeps the item until its routine runs.
        let object = unsafe { call.view::<WorkQueueItem, _>(item) };
        let (routine, parameter) = (object.routine.get(), object.parameter.get());
        // From here on the driver can queue the item again, or free it.
        object.link.next.set(null());
        locked(&kernel.ex().work_items.queued).remove(&item.addr());
        if let Some(routine) = routine {
            // SAFETY: the routine is called as the kernel calls it: at PASSIVE_LEVEL, with its parameter.
            unsafe { Call::in_driver(routine, (parameter,)) };
        }
        call.require_returned(ROUTINE, 0);
        call.require_regions(0, ROUTINE);
        call.require_no_mutex(ROUTINE);
        call.require_not_attached(ROUTINE);
        kernel.work_ended();
    }
}

impl Call {
    fn bad_work_item(&self, code: u64, item: usize, third: u64, what: String) -> ! {
        let bug_check = BugCheck(WORKER_INVALID, [code, item as u64, third, 0]);
        self.stop(bug_check, Rule::WorkItem, what)
    }

    /// Stops the system if memory is freed that contains a queued item.
    pub(crate) fn require_no_queued_item_in(&self, memory: Range<usize>) {
        if let Some(item) = self.kernel.ex().work_items.queued_in(memory) {
            let what =
                format!("memory is freed that contains the work item {item:#x}, which is queued");
            self.bad_work_item(ACTIVE_IS_FREED, item, 0, what);
        }
    }

    /// Stops the system if a driver is unloaded while an item of `ExQueueWorkItem` is queued. Waits until no routine of such an item runs,
    /// no item of the I/O manager is queued or runs, and no power request of a driver is in progress. The image of the driver stays
    /// loaded for the latter two. It does not stay loaded for an item of `ExQueueWorkItem`, whose routine may have notified the driver of
    /// its end, and may only have to return.
    pub(crate) fn wait_for_work_items(&self) {
        let items = &self.kernel.ex().work_items;
        if let Some(item) = items.queued_in(0..usize::MAX) {
            let what = format!(
                "the driver is unloaded while its work item {item:#x} is queued: wait for the routine, or use IoQueueWorkItem"
            );
            self.stop(BugCheck(0xce, [0; 4]), Rule::WorkItem, what);
        }
        let ready = || (items.active.load(Ordering::SeqCst) == 0).then_some(());
        let wait = Wait::WorkItems(items.key());
        let deadline = Instant::now() + self.kernel.config.hang_after;
        let over = self.wait_until(wait, deadline, ready);
        if over.is_none() && !self.kernel.is_halted() {
            let what =
                "the driver is unloaded, but the routine of one of its work items does not return";
            self.stop(BugCheck::NONE, Rule::Hang, what);
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exqueueworkitem)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExQueueWorkItem(item: *mut WORK_QUEUE_ITEM, queue: i32) {
    let call = Call::enter_visible("ExQueueWorkItem", item).at_most(DISPATCH_LEVEL);
    call.require_nonpaged(item);
    let queue_type = queue.cast_unsigned().into();
    if !is_queue(queue) {
        let what = format!("there is no work queue {queue}: use DelayedWorkQueue");
        call.bad_work_item(NO_QUEUE, item.addr(), queue_type, what);
    }
    // SAFETY: the caller passes an item that was initialised.
    let object = unsafe { call.view::<WorkQueueItem, _>(item) };
    if object.routine.get().is_none() {
        let what = format!("the work item {item:?} is queued without a routine");
        call.bad_work_item(NO_ROUTINE, item.addr(), queue_type, what);
    }
    if !locked(&call.kernel.ex().work_items.queued).insert(item.expose_provenance()) {
        let what = format!("the work item {item:?} is queued, but is already queued");
        call.bad_work_item(ACTIVE_IS_QUEUED, item.addr(), queue_type, what);
    }
    object.link.next.set(&raw const object.link);
    let queued = QueuedItem(item);
    let thread = Thread::new_system(&call.kernel, "system worker thread");
    thread.start(|kernel| queued.run(kernel));
    call.switch_after(call.routine(), item);
}
