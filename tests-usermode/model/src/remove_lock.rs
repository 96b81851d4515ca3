//! Remove locks, and who holds them.

use std::{
    collections::HashMap,
    ffi::{c_char, c_void},
    sync::{Mutex, atomic::Ordering},
};

use nt::{DISPATCH_LEVEL, IO_REMOVE_LOCK, NTSTATUS, STATUS_DELETE_PENDING, STATUS_SUCCESS};

use crate::{Rule, bug_check::BugCheck, call::Call, layout::RemoveLock, wait::locked};

/// The remove locks that were initialised, by their addresses, with the tags that they are held by.
#[derive(Default)]
pub(crate) struct RemoveLocks(Mutex<HashMap<usize, Vec<usize>>>);

impl RemoveLocks {
    pub(crate) fn holds(&self) -> i32 {
        let locks = locked(&self.0);
        let holds: usize = locks.values().map(Vec::len).sum();
        i32::try_from(holds).unwrap_or(i32::MAX)
    }
}

impl Call {
    fn remove_lock<'a>(&self, lock: *mut IO_REMOVE_LOCK) -> &'a RemoveLock {
        self.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
        // SAFETY: the caller of the routine gives a lock.
        unsafe { self.view(lock) }
    }

    /// Gives a hold back, and sets the event with the last one.
    fn give_back(&self, lock: &RemoveLock) {
        if lock.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.set_event(&lock.event);
        }
    }

    fn forget_tag(&self, lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, subcode: u64) {
        let found = {
            let mut locks = locked(&self.kernel.remove_locks.0);
            let tags = locks.get_mut(&lock.addr());
            tags.and_then(|tags| {
                let place = tags.iter().position(|other| *other == tag.addr())?;
                Some(tags.swap_remove(place))
            })
        };
        self.require(found.is_some(), Rule::RemoveLock, || {
            let bug_check = BugCheck::verifier(subcode, [lock.addr() as u64, tag.addr() as u64, 0]);
            let what =
                format!("the remove lock is released for {tag:?}, and was not acquired for it");
            (bug_check, what)
        });
    }
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
    let call = Call::enter("IoInitializeRemoveLock");
    // SAFETY: the caller gives room for a lock.
    unsafe { lock.write(IO_REMOVE_LOCK { Common: [0; 4] }) };
    // SAFETY: as above, and it is zeroed, as every field may be.
    let object = unsafe { call.view::<RemoveLock, _>(lock) };
    // One hold is the lock's own, until the device is removed.
    object.count.store(1, Ordering::Relaxed);
    object.event.kind.store(1, Ordering::Relaxed);
    locked(&call.kernel.remove_locks.0).insert(lock.addr(), Vec::new());
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
    let call = Call::enter_visible("IoAcquireRemoveLock", lock);
    let object = call.remove_lock(lock);
    object.count.fetch_add(1, Ordering::AcqRel);
    call.switch_point("IoAcquireRemoveLock: removed?", lock.addr());
    if object.removed.load(Ordering::Acquire) != 0 {
        call.give_back(object);
        return STATUS_DELETE_PENDING;
    }
    if let Some(tags) = locked(&call.kernel.remove_locks.0).get_mut(&lock.addr()) {
        tags.push(tag.addr());
    }
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseRemoveLockEx(lock: *mut IO_REMOVE_LOCK, tag: *mut c_void, _size: u32) {
    let call = Call::enter_visible("IoReleaseRemoveLock", lock);
    call.forget_tag(lock, tag, 0xd5);
    let object = call.remove_lock(lock);
    call.give_back(object);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoReleaseRemoveLockAndWaitEx(
    lock: *mut IO_REMOVE_LOCK,
    tag: *mut c_void,
    _size: u32,
) {
    let call = Call::enter_visible("IoReleaseRemoveLockAndWait", lock);
    call.require_at_most(0, Rule::IrqlIoApcLte, 0x2_0009);
    call.forget_tag(lock, tag, 0xd6);
    let object = call.remove_lock(lock);
    object.removed.store(1, Ordering::Release);
    call.give_back(object);
    if object.count.fetch_sub(1, Ordering::AcqRel) > 1 {
        call.wait_for_object(&object.event);
    }
}
