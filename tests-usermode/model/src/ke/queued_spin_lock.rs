//! In-stack queued spin locks: spin locks that are acquired with a handle.

use nt::{DISPATCH_LEVEL, KLOCK_QUEUE_HANDLE, KSPIN_LOCK};

use crate::{
    host::{Call, layout::LockQueueHandle},
    verifier::{
        BugCheck, Rule,
        held::{HeldLock, Kind},
    },
};

impl Call {
    fn acquire_queued(
        &self,
        lock: *mut KSPIN_LOCK,
        handle: *mut KLOCK_QUEUE_HANDLE,
        old_irql: Option<u8>,
    ) {
        // SAFETY: the caller of the routine passes a lock.
        let word = unsafe { self.lock_word(lock) };
        // The handle is the waiter's entry in the lock's queue, so it is written before the wait. Using a handle with which
        // another thread holds a lock corrupts the queue.
        self.require_room(handle);
        // SAFETY: the caller passes memory for a handle.
        unsafe { handle.write(KLOCK_QUEUE_HANDLE { Reserved: [0; 3] }) };
        // SAFETY: as above, and zero is valid for every field.
        let handle = unsafe { &*handle.cast::<LockQueueHandle>() };
        handle.lock.set(word);
        handle.old_irql.set(old_irql.unwrap_or(DISPATCH_LEVEL));
        self.acquire(word, Kind::Queued, old_irql);
    }

    fn require_queued_lock_at_dpc(&self) {
        let irql = self.irql();
        self.require(irql >= DISPATCH_LEVEL, Rule::Irql, || {
            let what = format!("the IRQL is {irql}, and must be at least DISPATCH_LEVEL");
            (BugCheck::verifier(0xe5, [irql.into(), 0, 0]), what)
        });
    }

    fn require_queued_lock_irql(&self) {
        let irql = self.irql();
        self.require(irql == DISPATCH_LEVEL, Rule::Irql, || {
            let what = format!("the IRQL is {irql}, and must be DISPATCH_LEVEL");
            (BugCheck::verifier(0xe5, [irql.into(), 0, 0]), what)
        });
    }

    /// Releases the lock of a handle, which then has no lock.
    fn release_queued(&self, handle: *mut KLOCK_QUEUE_HANDLE) -> HeldLock {
        // SAFETY: the caller passes a handle with which a lock was acquired.
        let handle = unsafe { self.view::<LockQueueHandle, _>(handle) };
        let lock = handle.lock.replace(std::ptr::null());
        self.require(!lock.is_null(), Rule::QueuedSpinLockRelease, || {
            let bug_check = BugCheck::verifier(0x1007, [0; 3]);
            (bug_check, "no lock is held with this handle")
        });
        // SAFETY: the handle contains the lock that was acquired with it.
        self.release(unsafe { &*lock }, Kind::Queued)
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireInStackQueuedSpinLock(
    lock: *mut KSPIN_LOCK,
    handle: *mut KLOCK_QUEUE_HANDLE,
) {
    let call = Call::enter_visible("KeAcquireInStackQueuedSpinLock", lock).at_most(DISPATCH_LEVEL);
    let old_irql = call.raise_irql(DISPATCH_LEVEL);
    call.acquire_queued(lock, handle, Some(old_irql));
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseInStackQueuedSpinLock(handle: *mut KLOCK_QUEUE_HANDLE) {
    let call = Call::enter_noted("KeReleaseInStackQueuedSpinLock");
    call.require_queued_lock_irql();
    let held = call.release_queued(handle);
    if let Some(old_irql) = held.old_irql {
        call.lower_irql(old_irql);
        call.switch_after("KeReleaseInStackQueuedSpinLock", handle);
        return;
    }
    let bug_check = BugCheck::verifier(0x1009, [held.lock as u64, 0, 0]);
    let what = "the lock was acquired by the AtDpc routine, which is paired with another release";
    call.stop(bug_check, Rule::QueuedSpinLockRelease, what)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireInStackQueuedSpinLockAtDpcLevel(
    lock: *mut KSPIN_LOCK,
    handle: *mut KLOCK_QUEUE_HANDLE,
) {
    let call = Call::enter_visible("KeAcquireInStackQueuedSpinLockAtDpcLevel", lock);
    call.require_queued_lock_at_dpc();
    call.acquire_queued(lock, handle, None);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseInStackQueuedSpinLockFromDpcLevel(handle: *mut KLOCK_QUEUE_HANDLE) {
    let call = Call::enter_noted("KeReleaseInStackQueuedSpinLockFromDpcLevel");
    call.require_queued_lock_at_dpc();
    let held = call.release_queued(handle);
    call.require(held.old_irql.is_none(), Rule::QueuedSpinLockRelease, || {
        let bug_check = BugCheck::verifier(0x1009, [held.lock as u64, 0, 0]);
        let what = "the lock was acquired by the routine whose release restores the IRQL";
        (bug_check, what)
    });
    call.switch_after("KeReleaseInStackQueuedSpinLockFromDpcLevel", handle);
}
