//! Guarded mutexes: fast mutexes whose owner is in a guarded region, and not at `APC_LEVEL`.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/fast-mutexes-and-guarded-mutexes)

use nt::{FAST_MUTEX, KEVENT};

use crate::{host::Call, verifier::Rule};

const APC_LEVEL: u8 = 1;

fn enter(routine: &'static str, mutex: *mut FAST_MUTEX) -> Call {
    Call::enter_visible(routine, mutex).at_most(APC_LEVEL)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializeguardedmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeGuardedMutex(mutex: *mut FAST_MUTEX) {
    let call = enter("KeInitializeGuardedMutex", mutex);
    call.require_room(mutex);
    call.require_nonpaged(mutex);
    let free = FAST_MUTEX {
        Count: 1,
        Owner: std::ptr::null_mut(),
        Contention: 0,
        Event: KEVENT { Header: [0; 3] },
        OldIrql: 0,
    };
    // SAFETY: the caller passes memory for a mutex.
    unsafe { mutex.write(free) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquireguardedmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireGuardedMutex(mutex: *mut FAST_MUTEX) {
    let call = enter("KeAcquireGuardedMutex", mutex);
    call.check_fast(mutex);
    call.enter_guarded();
    call.acquire_fast(mutex, "guarded mutex");
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ketrytoacquireguardedmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeTryToAcquireGuardedMutex(mutex: *mut FAST_MUTEX) -> u8 {
    let call = enter("KeTryToAcquireGuardedMutex", mutex);
    let is_taken = call.try_take_fast(call.owner(mutex));
    if is_taken {
        call.enter_guarded();
        call.own(mutex.addr(), "guarded mutex");
    }
    u8::from(is_taken)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleaseguardedmutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseGuardedMutex(mutex: *mut FAST_MUTEX) {
    let call = enter("KeReleaseGuardedMutex", mutex);
    call.require_fast_owner(mutex);
    call.release_fast(mutex);
    call.leave_guarded();
    call.switch_after(call.routine(), mutex);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keacquireguardedmutexunsafe)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireGuardedMutexUnsafe(mutex: *mut FAST_MUTEX) {
    let call = enter("KeAcquireGuardedMutexUnsafe", mutex);
    call.require_no_apcs(Rule::FastMutex, mutex.addr());
    call.check_fast(mutex);
    call.acquire_fast(mutex, "guarded mutex");
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleaseguardedmutexunsafe)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseGuardedMutexUnsafe(mutex: *mut FAST_MUTEX) {
    let call = enter("KeReleaseGuardedMutexUnsafe", mutex);
    call.require_fast_owner(mutex);
    call.require_no_apcs(Rule::FastMutex, mutex.addr());
    call.release_fast(mutex);
    call.switch_after(call.routine(), mutex);
}
