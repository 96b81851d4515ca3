//! Remove locks and their holders.

use std::{
    collections::BTreeMap,
    ffi::{c_char, c_void},
    ops::Range,
    sync::{Mutex, atomic::Ordering},
};

use nt::{DISPATCH_LEVEL, IO_REMOVE_LOCK, NTSTATUS, STATUS_DELETE_PENDING, STATUS_SUCCESS};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
        layout::RemoveLock,
        wait::Wait,
    },
    io::address_map::AddressMap,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The initialised remove locks by address, each with the number of holds of each tag.
#[derive(Default)]
pub(crate) struct RemoveLocks(Mutex<BTreeMap<usize, AddressMap<i32>>>);

impl RemoveLocks {
    pub(crate) fn holds(&self) -> i32 {
        locked(&self.0).values().flat_map(AddressMap::values).sum()
    }

    /// Returns whether any lock in a device extension still has its own hold, which `IoReleaseRemoveLockAndWait`
    /// releases.
    pub(crate) fn any_unreleased(&self, extension: &Range<usize>) -> bool {
        let locks = locked(&self.0);
        let mut locks = locks.keys().filter(|lock| extension.contains(lock));
        locks.any(|lock| {
            // SAFETY: the lock is in the extension of a device object, whose memory is kept as long as the kernel.
            let lock = unsafe { &*std::ptr::with_exposed_provenance::<RemoveLock>(*lock) };
            lock.removed.load(Ordering::Relaxed) == 0
        })
    }
}

impl Kernel {
    /// Describes a remove lock that a thread waits for, with its holders.
    pub(in crate::io) fn remove_lock_waited_for(&self) -> Option<String> {
        let waits = self.waits();
        waits
            .into_iter()
            .find_map(|wait| self.holders_of_remove_lock(wait))
    }

    /// Describes the holders of the remove lock, the run-down protection or the resource that a thread waits for.
    pub(crate) fn holders_of(&self, wait: Wait) -> Option<String> {
        let remove_lock = self.holders_of_remove_lock(wait);
        let rundown = remove_lock.or_else(|| self.holders_of_rundown(wait));
        rundown.or_else(|| self.holders_of_resource(wait))
    }

    /// Describes the holders of the remove lock that a thread waits for.
    pub(crate) fn holders_of_remove_lock(&self, wait: Wait) -> Option<String> {
        let Wait::Object(event) = wait else {
            return None;
        };
        let lock = event.checked_sub(std::mem::offset_of!(RemoveLock, event))?;
        let holds: Vec<_> = {
            let locks = locked(&self.io().remove_locks.0);
            let holds = locks.get(&lock)?.iter();
            holds.map(|(tag, count)| (tag, *count)).collect()
        };
        let tags = holds.iter().map(|(tag, count)| {
            let tag = match self.io().find(*tag) {
                Some(record) => record.to_string(),
                None => format!("{tag:#x}"),
            };
            format!("{count} times for {tag}")
        });
        let tags: Vec<_> = tags.collect();
        Some(format!(
            "the remove lock {lock:#x}, which is held {}",
            tags.join(", ")
        ))
    }

    /// Returns the number of holds of the driver's remove locks: one for each IRP and each call in progress.
    #[must_use]
    pub fn holds(&self) -> i32 {
        footprint::touch_everything();
        self.io().remove_locks.holds()
    }
}

impl Call {
    fn remove_lock<'a>(&self, lock: *mut IO_REMOVE_LOCK) -> &'a RemoveLock {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        // SAFETY: the caller of the routine passes a lock.
        unsafe { self.view(lock) }
    }

    /// Releases a hold; the last release sets the event.
    fn give_back(&self, lock: &RemoveLock) {
        if lock.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.set_event(&lock.event);
        }
    }

    /// Stops the system if there is no current `IRP_MN_REMOVE_DEVICE` of the owner of the lock. The driver should pass it down
    /// first, but [need not](https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-removelockmnremove). A lock that is in
    /// no device extension need not be a device's: a driver that has one for each file waits for it in `IRP_MJ_CLEANUP`. A
    /// control device, which is in no device stack of a PnP device, gets no such request.
    fn verify_wait_for_release(&self, lock: *mut IO_REMOVE_LOCK) {
        let devices = &self.kernel.io().devices;
        let owner = devices.owner_of_extension(lock.addr());
        let Some(owner) = owner.filter(|owner| devices.pdo_of(*owner).is_some()) else {
            return;
        };
        let is_removed = self.removal_under_way(owner).is_some();
        let rule = Rule::IoReleaseRemoveLockAndWaitOutsideRemoveDevice;
        self.require(is_removed, rule, || {
            format!(
                "the driver waits for the remove lock {lock:?}, but its device gets no IRP_MN_REMOVE_DEVICE"
            )
        });
    }

    /// Stops the system if memory is freed that contains a remove lock that is held.
    pub(in crate::io) fn forget_remove_locks(&self, memory: Range<usize>) {
        let held = {
            let mut locks = locked(&self.kernel.io().remove_locks.0);
            let inside: Vec<_> = locks.range(memory).map(|(lock, _)| *lock).collect();
            let mut forgotten = inside.into_iter().map(|lock| (lock, locks.remove(&lock)));
            forgotten.find_map(|(lock, holds)| {
                let (tag, _) = holds?.iter().next()?;
                Some((lock, tag))
            })
        };
        if let Some((lock, tag)) = held {
            let what = format!(
                "memory is freed that contains the remove lock {lock:#x}, which is held for {tag:#x}: wait for its holders by \
                 IoReleaseRemoveLockAndWait"
            );
            self.stop(BugCheck::NONE, Rule::RemoveLock, what);
        }
    }

    /// Records that a tag was or will be held this many times, without a hold that is added or removed. Only with a first or a last hold
    /// does the order of two routines make a difference: a hold that does not exist cannot be released.
    fn touch_tag(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, others: i32) {
        let access = if others == 0 {
            Access::Exclusive
        } else {
            Access::Commuting
        };
        // Not the address of an object.
        let key = (usize::MAX << 62) | (lock.addr() ^ tag.addr().rotate_left(12));
        footprint::touch(key, access);
    }

    fn forget_tag(&self, lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, subcode: u64) {
        let found = {
            let mut locks = locked(&self.kernel.io().remove_locks.0);
            let holds = locks.get_mut(&lock.addr());
            let count = holds.and_then(|holds| remove_one(holds, tag.addr()));
            Self::touch_tag(lock, tag, count.unwrap_or_default());
            count.is_some()
        };
        self.require(found, Rule::RemoveLock, || {
            let bug_check = BugCheck::verifier(subcode, [lock.addr() as u64, tag.addr() as u64, 0]);
            let what =
                format!("the remove lock is released for {tag:?}, but was not acquired for it");
            (bug_check, what)
        });
    }
}

/// Removes a hold of a tag; returns how many are left, or `None` if there was none.
fn remove_one(holds: &mut AddressMap<i32>, tag: usize) -> Option<i32> {
    let count = holds.get_mut(tag)?;
    *count -= 1;
    let left = *count;
    if left == 0 {
        holds.remove(tag);
    }
    Some(left)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoInitializeRemoveLockEx(
    lock: *mut IO_REMOVE_LOCK,
    _tag: u32,
    _minutes: u32,
    _high_watermark: u32,
    _size: u32,
) {
    let call = Call::enter_noted("IoInitializeRemoveLock").at_most(0);
    footprint::initialise(lock);
    // SAFETY: the caller passes memory for a lock.
    let before = unsafe { call.view_new::<RemoveLock, _>(lock) };
    let known = locked(&call.kernel.io().remove_locks.0).contains_key(&lock.addr());
    // If the memory was used for another object, the lock is new.
    let is_lock = before.event.waiters.is_linked_to_itself();
    // The same applies after the removal of the device that the lock belonged to.
    let devices = &call.kernel.io().devices;
    let owner = devices.owner_of_extension(lock.addr());
    let is_in_use = owner.is_some_and(|device| devices.is_drivers(device));
    let is_over = !is_in_use
        && before.removed.load(Ordering::Relaxed) != 0
        && before.count.load(Ordering::Relaxed) <= 0;
    call.require(!(known && is_lock) || is_over, Rule::RemoveLock, || {
        let bug_check = BugCheck::verifier(0xd7, [0, lock.addr() as u64, 0]);
        let what = format!("the remove lock {lock:?} is initialised again");
        (bug_check, what)
    });
    // SAFETY: the caller passes memory for a lock.
    unsafe { lock.write(IO_REMOVE_LOCK { Common: [0; 4] }) };
    // SAFETY: as above, and zero is valid for every field.
    let object = unsafe { call.view::<RemoveLock, _>(lock) };
    // The lock has one hold of its own until the device is removed.
    object.count.store(1, Ordering::Relaxed);
    object.event.kind.store(1, Ordering::Relaxed);
    object.event.waiters.initialise();
    locked(&call.kernel.io().remove_locks.0)
        .insert(lock.expose_provenance(), AddressMap::default());
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAcquireRemoveLockEx(
    lock: *mut IO_REMOVE_LOCK,
    tag: *mut c_void,
    _file: *const c_char,
    _line: u32,
    _size: u32,
) -> NTSTATUS {
    let call = Call::enter_visible_as("IoAcquireRemoveLock", lock, Access::Commuting);
    let object = call.remove_lock(lock);
    let known = locked(&call.kernel.io().remove_locks.0).contains_key(&lock.addr());
    call.require(known, Rule::RemoveLock, || {
        format!("the remove lock {lock:?} was not initialised")
    });
    object.count.fetch_add(1, Ordering::AcqRel);
    call.switch_point("IoAcquireRemoveLock: removed?", lock.addr());
    footprint::touch(lock.addr(), Access::Commuting);
    if object.removed.load(Ordering::Acquire) != 0 {
        call.give_back(object);
        return STATUS_DELETE_PENDING;
    }
    if let Some(holds) = locked(&call.kernel.io().remove_locks.0).get_mut(&lock.addr()) {
        let count = holds.get(tag.addr()).copied().unwrap_or_default();
        Call::touch_tag(lock, tag, count);
        holds.insert(tag.addr(), count + 1);
    }
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseRemoveLockEx(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, _size: u32) {
    let call = Call::enter_visible_as("IoReleaseRemoveLock", lock, Access::Commuting);
    call.forget_tag(lock, tag, 0xd5);
    let object = call.remove_lock(lock);
    call.give_back(object);
    call.switch_after(call.routine(), lock);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseRemoveLockAndWaitEx(
    lock: *mut IO_REMOVE_LOCK,
    tag: *mut c_void,
    _size: u32,
) {
    let call = Call::enter_visible("IoReleaseRemoveLockAndWait", lock).at_most(0);
    call.forget_tag(lock, tag, 0xd6);
    call.verify_wait_for_release(lock);
    let object = call.remove_lock(lock);
    object.removed.store(1, Ordering::Release);
    call.give_back(object);
    if object.count.fetch_sub(1, Ordering::AcqRel) > 1 {
        call.wait_for_object(&object.event);
    }
}
