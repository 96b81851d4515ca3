//! Fast mutexes, whose owner is at `APC_LEVEL`.

use std::{
    ptr::{null_mut, without_provenance_mut},
    sync::atomic::{AtomicPtr, AtomicU32, Ordering},
};

use nt::FAST_MUTEX;

use crate::{
    host::{Call, wait::Wait},
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

impl Call {
    /// Returns the owner field of a fast mutex: the number of a thread, or NULL.
    pub(in crate::ex) fn owner<'a>(
        &self,
        mutex: *mut FAST_MUTEX,
    ) -> &'a AtomicPtr<std::ffi::c_void> {
        self.require_nonpaged(mutex);
        // SAFETY: the caller of the routine passes a mutex.
        let object = unsafe { self.view::<FAST_MUTEX, _>(mutex) };
        self.require(object.Count == 1, Rule::FastMutex, || {
            format!("the fast mutex {mutex:?} was not initialised")
        });
        // SAFETY: only the address is computed, inside the mutex.
        let owner = unsafe { &raw mut (*mutex).Owner };
        // SAFETY: the field is a pointer, and is accessed only by atomics.
        unsafe { AtomicPtr::from_ptr(owner) }
    }

    /// Stops the system if a fast mutex is acquired under a mutex that comes after it in the order. The inline
    /// initialisation of a fast mutex clears the field that marks a mutex whose order is checked.
    fn check_fast_order(&self, mutex: *mut FAST_MUTEX) {
        // SAFETY: only the address is computed, inside the mutex.
        let mark = unsafe { &raw mut (*mutex).Contention };
        // SAFETY: the field is a number, and is accessed only by atomics.
        let mark = unsafe { AtomicU32::from_ptr(mark) };
        if mark.swap(1, Ordering::Relaxed) == 0 {
            self.forget_order(mutex.addr());
        }
        let held = self.owned();
        self.check_order_under(&held, mutex.addr(), "fast mutex");
    }

    fn number_as_pointer(&self) -> *mut std::ffi::c_void {
        without_provenance_mut(self.number as usize)
    }

    /// Acquires a fast mutex if it is free, at `APC_LEVEL`.
    pub(in crate::ex) fn try_take_fast(&self, owner: &AtomicPtr<std::ffi::c_void>) -> bool {
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let number = self.number_as_pointer();
        owner
            .compare_exchange(null_mut(), number, order.0, order.1)
            .is_ok()
    }

    /// Stops the system if the thread would wait for itself, or in the wrong order.
    pub(in crate::ex) fn check_fast(&self, mutex: *mut FAST_MUTEX) {
        let owner = self.owner(mutex);
        let again = owner.load(Ordering::Acquire) == self.number_as_pointer();
        self.require(!again, Rule::FastMutex, || {
            let bug_check = BugCheck::verifier(0x1000, [mutex.addr() as u64, 0, 0]);
            let what = "the thread acquires a fast mutex that it already owns, which is a deadlock";
            (bug_check, what)
        });
        self.check_fast_order(mutex);
    }

    /// Acquires a fast mutex, at the IRQL that its owner is at.
    pub(in crate::ex) fn acquire_fast(&self, mutex: *mut FAST_MUTEX, kind: &'static str) {
        let owner = self.owner(mutex);
        self.wait_for(Wait::Object(mutex.addr()), || {
            self.try_take_fast(owner).then_some(())
        });
        self.own(mutex.addr(), kind);
    }

    pub(in crate::ex) fn release_fast(&self, mutex: *mut FAST_MUTEX) {
        let owner = self.owner(mutex);
        self.disown(mutex.addr());
        owner.store(null_mut(), Ordering::Release);
        self.kernel.sleepers.wake(Wait::Object(mutex.addr()));
    }

    pub(in crate::ex) fn require_fast_owner(&self, mutex: *mut FAST_MUTEX) {
        let mine = self.owner(mutex).load(Ordering::Acquire) == self.number_as_pointer();
        self.require(mine, Rule::FastMutex, || {
            let bug_check = BugCheck::verifier(0x1004, [mutex.addr() as u64, 0, 0]);
            let what = "the thread releases a fast mutex that it does not own";
            (bug_check, what)
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirefastmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireFastMutex(mutex: *mut FAST_MUTEX) {
    let call = Call::enter_visible("ExAcquireFastMutex", mutex);
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte1, 0x2_0005);
    call.check_fast(mutex);
    let old_irql = call.raise_irql(APC_LEVEL);
    call.acquire_fast(mutex, "fast mutex");
    // SAFETY: this thread owns the mutex.
    unsafe { (*mutex).OldIrql = old_irql.into() };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-extrytoacquirefastmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExTryToAcquireFastMutex(mutex: *mut FAST_MUTEX) -> u8 {
    let call = Call::enter_visible("ExTryToAcquireFastMutex", mutex);
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte1, 0x2_0005);
    let owner = call.owner(mutex);
    let old_irql = call.irql();
    let taken = call.try_take_fast(owner);
    if taken {
        call.raise_irql(APC_LEVEL);
        call.own(mutex.addr(), "fast mutex");
        // SAFETY: this thread owns the mutex.
        unsafe { (*mutex).OldIrql = old_irql.into() };
    }
    u8::from(taken)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleasefastmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseFastMutex(mutex: *mut FAST_MUTEX) {
    let call = Call::enter_visible("ExReleaseFastMutex", mutex);
    call.require_fast_owner(mutex);
    let irql = call.irql();
    call.require(irql == APC_LEVEL, Rule::Irql, || {
        let what = format!("the IRQL is {irql}, and must be APC_LEVEL");
        (BugCheck::verifier(0xe6, [0, irql.into(), 0]), what)
    });
    // SAFETY: this thread owns the mutex.
    let old_irql = unsafe { (*mutex).OldIrql };
    call.release_fast(mutex);
    call.lower_irql(u8::try_from(old_irql).unwrap_or_default());
    call.switch_after(call.routine(), mutex);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirefastmutexunsafe)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireFastMutexUnsafe(mutex: *mut FAST_MUTEX) {
    let call = Call::enter_visible("ExAcquireFastMutexUnsafe", mutex).at_most(APC_LEVEL);
    call.require_no_apcs(Rule::FastMutex, mutex.addr());
    call.check_fast(mutex);
    call.acquire_fast(mutex, "fast mutex");
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleasefastmutexunsafe)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseFastMutexUnsafe(mutex: *mut FAST_MUTEX) {
    let call = Call::enter_visible("ExReleaseFastMutexUnsafe", mutex).at_most(APC_LEVEL);
    call.require_fast_owner(mutex);
    call.require_no_apcs(Rule::FastMutex, mutex.addr());
    call.release_fast(mutex);
    call.switch_after(call.routine(), mutex);
}
