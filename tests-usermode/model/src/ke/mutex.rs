//! Mutex objects and semaphores.

use std::sync::atomic::Ordering;

use nt::{DISPATCH_LEVEL, KMUTEX, KSEMAPHORE};

use crate::{
    host::{
        Call, footprint,
        layout::{Mutant, Semaphore},
        thread::Thread,
        wait::Wait,
    },
    mutex::locked,
    verifier::{BugCheck, KMODE_EXCEPTION_NOT_HANDLED, Rule},
};

/// `MutantObject` and `SemaphoreObject` of the kernel's object types.
pub(crate) const MUTANT_OBJECT: u8 = 2;
pub(crate) const SEMAPHORE_OBJECT: u8 = 5;

/// The exceptions that the routines raise.
const STATUS_MUTANT_NOT_OWNED: u64 = 0xc000_0046;
const STATUS_SEMAPHORE_LIMIT_EXCEEDED: u64 = 0xc000_0047;

impl Mutant {
    /// Acquires the mutex for a thread, which may already own it.
    pub(crate) fn take(&self, thread: &Thread) -> Option<()> {
        let number = u64::from(thread.number);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let before = self.owner.compare_exchange(0, number, order.0, order.1);
        let owner = before.unwrap_or_else(|owner| owner);
        if owner != 0 && owner != number {
            return None;
        }
        if self.header.signal.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.in_dpc
                .set(thread.in_dpc.load(Ordering::Relaxed).into());
            thread.own((&raw const *self).addr(), "mutex");
        }
        Some(())
    }
}

impl Call {
    /// Stops the system if a driver's routine returns to user mode, or a thread ends, and the thread owns a mutex or a resource.
    pub(crate) fn require_no_mutex(&self, routine: &str) {
        let held = locked(&self.mutexes).last().copied();
        if let Some((object, kind)) = held {
            let what = format!("{routine} has returned and holds the {kind} {object:#x}");
            let bug_check = BugCheck(1, [0, 0, 0xffff, 0]);
            self.stop(bug_check, Rule::Mutex, what);
        }
    }

    fn raises(&self, status: u64, what: String) -> ! {
        let bug_check = BugCheck(KMODE_EXCEPTION_NOT_HANDLED, [status, 0, 0, 0]);
        self.stop(bug_check, Rule::Mutex, what)
    }

    fn mutex<'a>(&self, mutex: *mut KMUTEX) -> &'a Mutant {
        self.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
        // SAFETY: the caller of the routine passes a mutex.
        let object = unsafe { self.view::<Mutant, _>(mutex) };
        let is_mutex = object.header.kind.load(Ordering::Relaxed) == MUTANT_OBJECT;
        self.require(is_mutex, Rule::Mutex, || {
            format!("the mutex {mutex:?} was not initialised")
        });
        object
    }

    fn semaphore<'a>(&self, semaphore: *mut KSEMAPHORE) -> &'a Semaphore {
        // SAFETY: the caller of the routine passes a semaphore.
        let object = unsafe { self.view::<Semaphore, _>(semaphore) };
        let is_semaphore = object.header.kind.load(Ordering::Relaxed) == SEMAPHORE_OBJECT;
        self.require(is_semaphore, Rule::Mutex, || {
            format!("the semaphore {semaphore:?} was not initialised")
        });
        object
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializemutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeMutex(mutex: *mut KMUTEX, _level: u32) {
    let call = Call::enter_noted("KeInitializeMutex");
    footprint::initialise(mutex);
    call.note_initialised(mutex);
    call.require_room(mutex);
    let holds = call.owned().contains(&mutex.addr());
    call.require(!holds, Rule::LockInitialisation, || {
        format!("the mutex {mutex:?} is initialised again while it is held")
    });
    // SAFETY: the caller passes memory for a mutex.
    unsafe { mutex.write(KMUTEX { Reserved: [0; 7] }) };
    // SAFETY: as above, and zero is valid for every field.
    let object = unsafe { call.view::<Mutant, _>(mutex) };
    object.header.kind.store(MUTANT_OBJECT, Ordering::Relaxed);
    object.header.signal.store(1, Ordering::Relaxed);
    object.header.waiters.initialise();
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasemutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseMutex(mutex: *mut KMUTEX, wait: u8) -> i32 {
    let call = Call::enter_visible("KeReleaseMutex", mutex);
    let object = call.mutex(mutex);
    if object.owner.load(Ordering::Acquire) != u64::from(call.number) {
        let what = format!("the mutex {mutex:?} is released by a thread that does not hold it");
        call.raises(STATUS_MUTANT_NOT_OWNED, what);
    }
    let in_dpc = call.in_dpc.load(Ordering::Relaxed);
    if object.in_dpc.get() != u64::from(in_dpc) {
        let what = format!(
            "the mutex {mutex:?} was acquired in a DPC and is released outside of one, or the other way round"
        );
        call.raises(STATUS_MUTANT_NOT_OWNED, what);
    }
    let before = object.header.signal.fetch_add(1, Ordering::AcqRel);
    if before == 0 {
        call.disown(mutex.addr());
        object.owner.store(0, Ordering::Release);
        call.kernel.sleepers.wake(Wait::Object(mutex.addr()));
    }
    call.signalled(mutex, wait);
    before
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereadstatemutex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReadStateMutex(mutex: *mut KMUTEX) -> i32 {
    let call = Call::enter_visible("KeReadStateMutex", mutex);
    call.mutex(mutex).header.signal.load(Ordering::Acquire)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializesemaphore)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeSemaphore(semaphore: *mut KSEMAPHORE, count: i32, limit: i32) {
    let call = Call::enter_noted("KeInitializeSemaphore").at_most(0);
    footprint::initialise(semaphore);
    call.note_initialised(semaphore);
    call.require_room(semaphore);
    let is_valid = limit > 0 && (0..=limit).contains(&count);
    call.require(is_valid, Rule::Mutex, || {
        format!(
            "the semaphore {semaphore:?} is initialised with the count {count} and the limit {limit}, which must be positive"
        )
    });
    // SAFETY: the caller passes memory for a semaphore.
    unsafe { semaphore.write(KSEMAPHORE { Reserved: [0; 4] }) };
    // SAFETY: as above, and zero is valid for every field.
    let object = unsafe { call.view::<Semaphore, _>(semaphore) };
    object
        .header
        .kind
        .store(SEMAPHORE_OBJECT, Ordering::Relaxed);
    object.header.signal.store(count, Ordering::Relaxed);
    object.header.waiters.initialise();
    object.limit.store(limit, Ordering::Relaxed);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasesemaphore)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseSemaphore(
    semaphore: *mut KSEMAPHORE,
    _increment: i32,
    adjustment: i32,
    wait: u8,
) -> i32 {
    let call = Call::enter_visible("KeReleaseSemaphore", semaphore);
    if wait != 0 {
        call.require_at_most(0, Rule::Irql, 0xe5);
    }
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    let object = call.semaphore(semaphore);
    let limit = object.limit.load(Ordering::Relaxed);
    let add = |count: i32| {
        let sum = count.checked_add(adjustment);
        sum.filter(|sum| *sum <= limit && adjustment > 0)
    };
    let order = (Ordering::AcqRel, Ordering::Relaxed);
    match object.header.signal.fetch_update(order.0, order.1, add) {
        Ok(before) => {
            call.kernel.sleepers.wake(Wait::Object(semaphore.addr()));
            call.signalled(semaphore, wait);
            before
        }
        Err(count) => {
            let what = format!(
                "{adjustment} is added to the semaphore {semaphore:?}, whose count is {count} and whose limit is {limit}"
            );
            call.raises(STATUS_SEMAPHORE_LIMIT_EXCEEDED, what)
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereadstatesemaphore)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReadStateSemaphore(semaphore: *mut KSEMAPHORE) -> i32 {
    let call = Call::enter_visible("KeReadStateSemaphore", semaphore);
    call.semaphore(semaphore)
        .header
        .signal
        .load(Ordering::Acquire)
}
