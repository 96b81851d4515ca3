//! Device queues. An insertion into an idle queue makes it busy and does not queue the entry. A removal from a busy queue
//! without entries makes it idle.

use std::ptr::null_mut;

use nt::{KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY};

use crate::{
    host::{
        Call, footprint,
        layout::{DeviceQueue, DeviceQueueEntry, ListEntry},
    },
    ke::{lists::alive, spin_lock},
    verifier::{BugCheck, Rule},
};

/// `IO_TYPE_DEVICE_QUEUE`
const IO_TYPE_DEVICE_QUEUE: i16 = 0x14;

/// Returns the entry that contains a link, which is its first field.
fn entry_of(link: &ListEntry) -> *mut DeviceQueueEntry {
    (&raw const *link).cast_mut().cast()
}

fn key_of(link: &ListEntry) -> u32 {
    // SAFETY: every link of a device queue except the head is in an entry, which is valid while it is queued.
    unsafe { (*entry_of(link)).key.get() }
}

impl Call {
    fn set_inserted(&self, entry: *mut DeviceQueueEntry, inserted: bool) {
        // SAFETY: the caller passes an entry, and holds the queue's lock.
        unsafe { (*entry).inserted = u8::from(inserted) };
        (self.kernel.upcalls.device_queue_entry)(self, entry.cast(), inserted);
    }

    /// Runs a step on a queue with its lock held.
    fn on_queue<R>(&self, queue: *mut KDEVICE_QUEUE, step: impl FnOnce(&DeviceQueue) -> R) -> R {
        // SAFETY: the caller passes a queue.
        let object = unsafe { self.view::<DeviceQueue, _>(queue) };
        self.require(
            object.kind.get() == IO_TYPE_DEVICE_QUEUE,
            Rule::LockInitialisation,
            || {
                let bug_check = BugCheck::verifier(0x1002, [queue.addr() as u64, 0, 0]);
                let what = format!("the device queue {queue:?} was not initialised");
                (bug_check, what)
            },
        );
        self.interlocked(object.lock.as_ptr(), || step(object))
    }

    /// Inserts an entry, by a key or at the end; returns zero if the queue was idle, and the entry is not queued.
    pub(crate) fn insert_device_queue(
        &self,
        queue: *mut KDEVICE_QUEUE,
        entry: *mut KDEVICE_QUEUE_ENTRY,
        key: Option<u32>,
    ) -> u8 {
        self.require_dispatch();
        self.on_queue(queue, |queue| {
            // SAFETY: the caller passes an entry.
            let object = unsafe { self.view_new::<DeviceQueueEntry, _>(entry) };
            if let Some(key) = key {
                object.key.set(key);
            }
            let busy = queue.busy.replace(1) != 0;
            self.set_inserted(entry.cast(), busy);
            if busy {
                // SAFETY: the queue's lock is held.
                let mut links = unsafe { queue.head.iter() };
                let after = key.and_then(|key| links.find(|link| key_of(link) > key));
                let after = after.unwrap_or(&queue.head);
                // SAFETY: the neighbours of a link are valid.
                let before = unsafe { alive(after.previous.get()) }.unwrap_or(&queue.head);
                // SAFETY: the queue's lock is held.
                unsafe { self.link_after(before, &object.link) };
            }
            u8::from(busy)
        })
    }

    /// Removes the first entry whose key is not smaller; if there is none, the first entry.
    fn remove(&self, queue: &DeviceQueue, key: u32) -> *mut KDEVICE_QUEUE_ENTRY {
        // SAFETY: the queue's lock is held.
        let first = unsafe { queue.head.iter() }.next();
        // SAFETY: as above.
        let from = unsafe { queue.head.iter() }.find(|link| key_of(link) >= key);
        let Some(link) = from.or(first) else {
            queue.busy.set(0);
            return null_mut();
        };
        // SAFETY: as above.
        unsafe { self.unlink(link) };
        let entry = entry_of(link);
        self.set_inserted(entry, false);
        entry.cast()
    }

    /// Removes the first entry, or the first one whose key is not smaller, from a queue that is busy.
    pub(crate) fn remove_device_queue(
        &self,
        queue: *mut KDEVICE_QUEUE,
        key: Option<u32>,
    ) -> *mut KDEVICE_QUEUE_ENTRY {
        self.require_dispatch();
        self.on_queue(queue, |queue| {
            self.require_busy(queue);
            self.remove(queue, key.unwrap_or_default())
        })
    }

    /// Returns whether a queue is busy.
    pub(crate) fn is_device_queue_busy(&self, queue: *mut KDEVICE_QUEUE) -> bool {
        self.on_queue(queue, |queue| queue.busy.get() != 0)
    }

    fn require_busy(&self, queue: &DeviceQueue) {
        self.require(queue.busy.get() != 0, Rule::DeviceQueueBusy, || {
            let address = (&raw const *queue).addr() as u64;
            let what = "an entry is removed from a device queue that is not busy";
            (BugCheck::verifier(0x1007, [address, 0, 0]), what)
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeDeviceQueue(queue: *mut KDEVICE_QUEUE) {
    let call = Call::enter_noted("KeInitializeDeviceQueue");
    footprint::initialise(queue);
    let is_on_stack = call.note_initialised(queue);
    call.require_at_most(nt::DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    // SAFETY: as below; the queue can be in use.
    let before = unsafe { call.view_new::<DeviceQueue, _>(queue) };
    // The memory can have any content. A queue is recognised by its list, whose links are consistent. On a stack it can be
    // a queue of a function that has returned.
    let is_queue =
        !is_on_stack && before.kind.get() == IO_TYPE_DEVICE_QUEUE && before.head.is_linked();
    let in_use = is_queue && (before.busy.get() != 0 || !before.head.is_empty());
    call.require(!in_use, Rule::DeviceQueueBusy, || {
        let bug_check = BugCheck::verifier(0x1005, [queue.addr() as u64, 0, 0]);
        let what = format!("the device queue {queue:?} is initialised again while it is in use");
        (bug_check, what)
    });
    // SAFETY: the caller passes memory for a queue.
    unsafe { initialise(queue) };
}

/// Makes an idle queue.
///
/// # Safety
/// There is room for a queue, which no other thread uses.
pub(crate) unsafe fn initialise(queue: *mut KDEVICE_QUEUE) {
    // SAFETY: guaranteed by the caller.
    unsafe { queue.write(KDEVICE_QUEUE { Reserved: [0; 5] }) };
    // SAFETY: as above, and zero is valid for every field.
    let object = unsafe { &*queue.cast::<DeviceQueue>() };
    object.kind.set(IO_TYPE_DEVICE_QUEUE);
    object.size.set(0x28);
    object.head.initialise();
    object
        .lock
        .store(spin_lock::FREE, std::sync::atomic::Ordering::Relaxed);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInsertDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
) -> u8 {
    let call = Call::enter_visible("KeInsertDeviceQueue", queue);
    let inserted = call.insert_device_queue(queue, entry, None);
    call.switch_after(call.routine(), queue);
    inserted
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInsertByKeyDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
    key: u32,
) -> u8 {
    let call = Call::enter_visible("KeInsertByKeyDeviceQueue", queue);
    let inserted = call.insert_device_queue(queue, entry, Some(key));
    call.switch_after(call.routine(), queue);
    inserted
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveDeviceQueue(queue: *mut KDEVICE_QUEUE) -> *mut KDEVICE_QUEUE_ENTRY {
    let call = Call::enter_visible("KeRemoveDeviceQueue", queue);
    let removed = call.remove_device_queue(queue, None);
    call.switch_after(call.routine(), queue);
    removed
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveByKeyDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    key: u32,
) -> *mut KDEVICE_QUEUE_ENTRY {
    let call = Call::enter_visible("KeRemoveByKeyDeviceQueue", queue);
    let removed = call.remove_device_queue(queue, Some(key));
    call.switch_after(call.routine(), queue);
    removed
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveByKeyDeviceQueueIfBusy(
    queue: *mut KDEVICE_QUEUE,
    key: u32,
) -> *mut KDEVICE_QUEUE_ENTRY {
    let call = Call::enter_visible("KeRemoveByKeyDeviceQueueIfBusy", queue);
    call.require_dispatch();
    let removed = call.on_queue(queue, |queue| {
        if queue.busy.get() == 0 {
            return null_mut();
        }
        call.remove(queue, key)
    });
    call.switch_after(call.routine(), queue);
    removed
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveEntryDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
) -> u8 {
    let call = Call::enter_visible("KeRemoveEntryDeviceQueue", queue);
    // The other routines require exactly DISPATCH_LEVEL. A Cancel routine calls this one at its own IRQL.
    call.require_at_most(nt::DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    let removed = call.on_queue(queue, |_| {
        // SAFETY: the caller passes an entry.
        let object = unsafe { call.view::<DeviceQueueEntry, _>(entry) };
        let inserted = object.inserted != 0;
        if inserted {
            // SAFETY: the queue's lock is held.
            unsafe { call.unlink(&object.link) };
            call.set_inserted(entry.cast(), false);
        }
        u8::from(inserted)
    });
    call.switch_after(call.routine(), queue);
    removed
}
