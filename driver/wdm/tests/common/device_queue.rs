//! Device queues, kept beside the kernel's structures and known by their addresses.

use std::{cell::RefCell, collections::HashMap, ptr::null_mut};

use nt::{KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY};

use super::{DISPATCH_LEVEL, IRQL, require};

#[derive(Default)]
struct Queue {
    busy: bool,
    entries: Vec<(u32, *mut KDEVICE_QUEUE_ENTRY)>,
}

thread_local! {
    static QUEUES: RefCell<HashMap<usize, Queue>> = RefCell::default();
}

fn with<R>(queue: *mut KDEVICE_QUEUE, f: impl FnOnce(&mut Queue) -> R) -> R {
    require(
        IRQL.get() == DISPATCH_LEVEL,
        "a device queue is used below DISPATCH_LEVEL",
    );
    QUEUES.with_borrow_mut(|queues| {
        let queue = queues.get_mut(&queue.addr());
        require(queue.is_some(), "a device queue was not initialised");
        f(queue.expect("just looked at"))
    })
}

fn insert(queue: *mut KDEVICE_QUEUE, entry: *mut KDEVICE_QUEUE_ENTRY, key: Option<u32>) -> u8 {
    with(queue, |queue| {
        require(
            queue.entries.iter().all(|(_, other)| *other != entry),
            "an entry is queued twice",
        );
        if !queue.busy {
            queue.busy = true;
            return 0;
        }
        let place = key.map_or(queue.entries.len(), |key| {
            queue.entries.partition_point(|(other, _)| *other <= key)
        });
        queue.entries.insert(place, (key.unwrap_or(0), entry));
        1
    })
}

fn remove(queue: &mut Queue, key: u32) -> *mut KDEVICE_QUEUE_ENTRY {
    if queue.entries.is_empty() {
        queue.busy = false;
        return null_mut();
    }
    let place = queue.entries.iter().position(|(other, _)| *other >= key);
    queue.entries.remove(place.unwrap_or(0)).1
}

/// Stops the test if an entry is on any queue: what it is in is about to be freed.
pub fn require_not_queued(entry: *mut KDEVICE_QUEUE_ENTRY) {
    QUEUES.with_borrow(|queues| {
        let mut queued = queues.values().flat_map(|queue| &queue.entries);
        require(
            !queued.any(|(_, other)| *other == entry),
            "an IRP is completed that is on a device queue",
        );
    });
}

// SAFETY: no other function of this program has the name; so for every routine below.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeDeviceQueue(queue: *mut KDEVICE_QUEUE) {
    QUEUES.with_borrow_mut(|queues| queues.insert(queue.addr(), Queue::default()));
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeInsertDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
) -> u8 {
    insert(queue, entry, None)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeInsertByKeyDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
    key: u32,
) -> u8 {
    insert(queue, entry, Some(key))
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveDeviceQueue(queue: *mut KDEVICE_QUEUE) -> *mut KDEVICE_QUEUE_ENTRY {
    KeRemoveByKeyDeviceQueue(queue, 0)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveByKeyDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    key: u32,
) -> *mut KDEVICE_QUEUE_ENTRY {
    with(queue, |queue| {
        require(queue.busy, "an entry is removed from an idle device queue");
        remove(queue, key)
    })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveByKeyDeviceQueueIfBusy(
    queue: *mut KDEVICE_QUEUE,
    key: u32,
) -> *mut KDEVICE_QUEUE_ENTRY {
    with(queue, |queue| {
        if queue.busy {
            remove(queue, key)
        } else {
            null_mut()
        }
    })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn KeRemoveEntryDeviceQueue(
    queue: *mut KDEVICE_QUEUE,
    entry: *mut KDEVICE_QUEUE_ENTRY,
) -> u8 {
    with(queue, |queue| {
        let place = queue.entries.iter().position(|(_, other)| *other == entry);
        if let Some(place) = place {
            queue.entries.remove(place);
        }
        u8::from(place.is_some())
    })
}
