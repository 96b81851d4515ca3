//! Spin locks. Each records whether it was initialised, the kind of routines that acquire it, and its owner.
//!
//! All of this is in the lock's word, so the model has nothing to free when the memory of a lock is freed:
//!
//! ```text
//!   63          48 47    40 39    32 31            0
//!  ┌──────────────┬────────┬────────┬───────────────┐
//!  │ initialised  │   0    │  kind  │ owner or zero │
//!  └──────────────┴────────┴────────┴───────────────┘
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use nt::{DISPATCH_LEVEL, KSPIN_LOCK};

use crate::{
    host::{Call, footprint, wait::Wait},
    mutex::locked,
    verifier::{
        BugCheck, Rule, callers,
        held::{HeldLock, Kind},
    },
};

/// An initialised lock that is free and was never acquired.
pub(crate) const FREE: u64 = nt::SPIN_LOCK_FREE;

const INITIALISED: u64 = 0xffff << 48;
const KIND: u64 = 0xff << 32;
const OWNER: u64 = 0xffff_ffff;

impl Call {
    /// Returns the word of a lock.
    ///
    /// # Safety
    /// `lock` is NULL, or valid while the reference is used, as the documentation of every routine requires.
    pub(crate) unsafe fn lock_word<'a>(&self, lock: *mut KSPIN_LOCK) -> &'a AtomicU64 {
        // SAFETY: guaranteed by the caller. Only the kernel's routines access a KSPIN_LOCK.
        unsafe { self.view(lock) }
    }

    /// Stops the system if a lock is acquired under a lock that comes after it in the order.
    #[inline]
    pub(crate) fn check_order(&self, lock: usize) {
        if !self.held.is_empty() {
            let held: Vec<usize> = self.held.all().iter().map(|held| held.lock).collect();
            self.check_order_under(&held, lock, "spin lock");
        }
    }

    /// Stops the system if a lock is acquired under others, one of which comes after it in the order.
    pub(crate) fn check_order_under(&self, held: &[usize], lock: usize, kind: &str) {
        if held.is_empty() {
            return;
        }
        let order = &self.kernel.ke().lock_order;
        let circle = order.check(&mut locked(&self.known_order), held, lock);
        if let Some((outer, places)) = circle {
            let what = format!(
                "the {kind} {lock:#x} is acquired under {outer:#x}; the opposite order was {}",
                places.join(", then ")
            );
            let bug_check = BugCheck::verifier(0x1001, [lock as u64, 0, 0]);
            self.stop(bug_check, Rule::LockOrder, what);
        }
    }

    /// Removes a lock from the order, when it is initialised.
    pub(crate) fn forget_order(&self, lock: usize) {
        self.kernel.ke().lock_order.forget(lock);
    }

    /// Acquires a lock, and records that the thread holds it.
    pub(crate) fn acquire(&self, word: &AtomicU64, kind: Kind, old_irql: Option<u8>) {
        let lock = (&raw const *word).addr();
        self.check_order(lock);
        self.wait_for(Wait::SpinLock(lock), || {
            self.try_take(word, kind, true).then_some(())
        });
        self.note_held(lock, kind, old_irql);
    }

    /// Acquires a lock if it is free.
    pub(crate) fn try_acquire(&self, word: &AtomicU64, kind: Kind) -> bool {
        let taken = self.try_take(word, kind, false);
        if taken {
            self.note_held((&raw const *word).addr(), kind, None);
            if let Some(held) = self.held.all().last_mut() {
                held.may_stay = true;
            }
        }
        taken
    }

    pub(crate) fn note_held(&self, lock: usize, kind: Kind, old_irql: Option<u8>) {
        let place = self
            .kernel
            .config
            .locations
            .then(|| callers(1).pop())
            .flatten()
            .map(String::into_boxed_str);
        let held = HeldLock {
            lock,
            kind,
            old_irql,
            may_stay: false,
            place,
            since: self.kernel.ke().hold_times.now(),
        };
        self.held.push(held);
    }

    /// Acquires a lock if it is free. If the thread already holds it, an acquisition is a deadlock, and an attempt fails.
    fn try_take(&self, word: &AtomicU64, kind: Kind, waits: bool) -> bool {
        let mut now = word.load(Ordering::Relaxed);
        loop {
            let is_free = now == FREE || now == FREE | kind.bits();
            if !is_free && !self.verify_free((&raw const *word).addr(), now, kind, waits) {
                return false;
            }
            let taken = FREE | kind.bits() | u64::from(self.number);
            let order = (Ordering::Acquire, Ordering::Relaxed);
            match word.compare_exchange_weak(now, taken, order.0, order.1) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Stops the system if a thread may not acquire a lock, whose word is given. Returns whether no thread holds it.
    #[cold]
    #[inline(never)]
    fn verify_free(&self, lock: usize, word: u64, kind: Kind, waits: bool) -> bool {
        let is_zero = word == 0 && self.kernel.ke().has_inline_locks.load(Ordering::Relaxed);
        if word & INITIALISED != FREE && !is_zero {
            let bug_check = BugCheck::verifier(0x1002, [lock as u64, 0, 0]);
            let what = format!("the spin lock {lock:#x} was not initialised");
            self.stop(bug_check, Rule::LockInitialisation, what);
        }
        let used = word & KIND;
        if used != 0 && used != kind.bits() {
            self.mixed(lock, kind, used);
        }
        let owner = word & OWNER;
        if waits && owner == u64::from(self.number) {
            let bug_check = BugCheck::verifier(0x1000, [lock as u64, 0, 0]);
            let what = "the thread acquires a spin lock that it already holds, which is a deadlock";
            self.stop(bug_check, kind.rules().0, what);
        }
        owner == 0
    }

    fn mixed(&self, lock: usize, kind: Kind, used: u64) -> ! {
        let is_any = |one: Kind| kind == one || used == one.bits();
        let rule = if is_any(Kind::Interrupt) {
            Rule::Interrupt
        } else if is_any(Kind::Interlocked) {
            Rule::InterlockedLock
        } else {
            Rule::QueuedSpinLock
        };
        let what = format!("the spin lock {lock:#x} is acquired by routines of two kinds");
        let bug_check = BugCheck::verifier(0x1008, [lock as u64, 0, 0]);
        self.stop(bug_check, rule, what)
    }

    /// Releases a lock; returns its record.
    pub(crate) fn release(&self, word: &AtomicU64, kind: Kind) -> HeldLock {
        let lock = (&raw const *word).addr();
        let now = word.load(Ordering::Relaxed);
        if now != FREE | kind.bits() | u64::from(self.number) {
            self.verify_owner(lock, now, kind);
        }
        let held = self.held.pop_if(|last| last.lock == lock);
        let held = held.unwrap_or_else(|| {
            self.require_no_inner_lock(lock, kind);
            HeldLock {
                lock,
                kind,
                old_irql: None,
                may_stay: false,
                place: None,
                since: None,
            }
        });
        self.kernel.ke().hold_times.note(&held);
        word.store(now & !OWNER, Ordering::Release);
        self.kernel.sleepers.wake(Wait::SpinLock(lock));
        held
    }

    /// Stops the system if a thread may not release a lock, whose word is given.
    #[cold]
    #[inline(never)]
    fn verify_owner(&self, lock: usize, now: u64, kind: Kind) {
        let owner = now & OWNER;
        let (_, rule) = kind.rules();
        if now & INITIALISED != FREE || owner == 0 {
            let bug_check = BugCheck::verifier(0x1007, [lock as u64, 0, 0]);
            let what = "the spin lock is released, but no thread holds it";
            self.stop(bug_check, rule, what);
        }
        if owner != u64::from(self.number) {
            let thread = u32::try_from(owner)
                .ok()
                .and_then(|owner| self.kernel.thread(owner));
            let name = thread.map_or_else(
                || "another thread".into(),
                |thread| thread.name().to_owned(),
            );
            let bug_check = BugCheck::verifier(0x1004, [lock as u64, owner, self.number.into()]);
            let what = format!("the spin lock is released, but {name} holds it");
            self.stop(bug_check, rule, what);
        }
        if now & KIND != kind.bits() {
            let bug_check = BugCheck::verifier(0x1009, [lock as u64, 0, 0]);
            let what =
                "the spin lock is released by another kind of routine than it was acquired by";
            self.stop(bug_check, rule, what);
        }
    }

    /// Stops the system if the thread holds a lock that it has to release before this one.
    #[cold]
    fn require_no_inner_lock(&self, lock: usize, kind: Kind) {
        let describe = |last: &HeldLock| (last.lock, last.to_string());
        if let Some((last, described)) = self.held.innermost(describe) {
            let bug_check = BugCheck::verifier(0x1003, [lock as u64, last as u64, 0]);
            let what = format!("the thread has to release {described} first");
            self.stop(bug_check, kind.rules().1, what);
        }
    }

    /// Stops the system if a lock's release restores an IRQL other than that of its acquisition.
    pub(crate) fn require_saved_irql(&self, held: &HeldLock, new_irql: u8) {
        let (_, rule) = held.kind.rules();
        let irql = u64::from(self.irql());
        match held.old_irql {
            Some(old) if old == new_irql => {}
            _ if held.may_stay && new_irql == DISPATCH_LEVEL => {}
            Some(old) => {
                let what =
                    format!("the lock is released to IRQL {new_irql}, but was acquired at {old}");
                let (code, rule) = match held.kind {
                    Kind::Plain => (0x2_0015, Rule::IrqlKeReleaseSpinLock),
                    _ => (0x31, rule),
                };
                let bug_check = BugCheck::verifier(code, [irql, new_irql.into(), 0]);
                self.stop(bug_check, rule, what);
            }
            None => {
                let what = "the lock was acquired by an AtDpc routine, which is paired with another release";
                let bug_check = BugCheck::verifier(0x1009, [held.lock as u64, 0, 0]);
                self.stop(bug_check, rule, what);
            }
        }
    }

    fn require_at_least_dispatch(&self, lock: *mut KSPIN_LOCK, subcode: u64) {
        let irql = self.irql();
        self.require(irql >= DISPATCH_LEVEL, Rule::SpinLockDpc, || {
            let bug_check = BugCheck::verifier(subcode, [irql.into(), lock.addr() as u64, 0]);
            let what = format!("the IRQL is {irql}, below DISPATCH_LEVEL");
            (bug_check, what)
        });
    }

    /// Acquires a lock that only the `ExInterlocked` routines use, at any IRQL and for one step.
    pub(crate) fn interlocked<R>(&self, lock: *mut KSPIN_LOCK, step: impl FnOnce() -> R) -> R {
        // SAFETY: the caller of the routine passes a lock.
        let word = unsafe { self.lock_word(lock) };
        self.wait_for(Wait::SpinLock(lock.addr()), || {
            self.try_take(word, Kind::Interlocked, true).then_some(())
        });
        self.acquire_from(lock.addr());
        let result = step();
        word.store(FREE | Kind::Interlocked.bits(), Ordering::Release);
        self.synchronise(lock.addr());
        result
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeSpinLock(lock: *mut KSPIN_LOCK) {
    let call = Call::enter_noted("KeInitializeSpinLock");
    footprint::initialise(lock);
    call.note_initialised(lock);
    // SAFETY: the caller passes memory for a lock.
    let word = unsafe { call.view_new::<AtomicU64, _>(lock) };
    let holds = call.held.all().iter().any(|held| held.lock == lock.addr());
    call.require(!holds, Rule::LockInitialisation, || {
        let bug_check = BugCheck::verifier(0x1005, [lock.addr() as u64, 0, 0]);
        let what = "the spin lock is initialised again while it is held";
        (bug_check, what)
    });
    let now = word.load(Ordering::Relaxed);
    let owner = u32::try_from(now & OWNER).unwrap_or_default();
    let owner = (now & INITIALISED == FREE && owner != 0).then(|| call.kernel.thread(owner));
    if let Some(owner) = owner.flatten() {
        // The memory can have any content, so the thread's record decides whether it holds the lock.
        let holds = owner.held.all().iter().any(|held| held.lock == lock.addr());
        call.require(!holds, Rule::LockInitialisation, || {
            let bug_check = BugCheck::verifier(0x1005, [lock.addr() as u64, 0, 0]);
            let what = format!(
                "the spin lock is initialised again while {} holds it",
                owner.name()
            );
            (bug_check, what)
        });
    }
    call.forget_order(lock.addr());
    word.store(FREE, Ordering::Relaxed);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireSpinLockRaiseToDpc(lock: *mut KSPIN_LOCK) -> u8 {
    let call = Call::enter_to_wait("KeAcquireSpinLock", lock);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x42);
    // SAFETY: the caller passes a lock.
    let word = unsafe { call.lock_word(lock) };
    let old_irql = call.raise_irql(DISPATCH_LEVEL);
    call.acquire(word, Kind::Plain, Some(old_irql));
    old_irql
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseSpinLock(lock: *mut KSPIN_LOCK, new_irql: u8) {
    let call = Call::enter_noted("KeReleaseSpinLock");
    let irql = call.irql();
    call.require(irql == DISPATCH_LEVEL, Rule::IrqlKeReleaseSpinLock, || {
        let bug_check = BugCheck::verifier(0x32, [irql.into(), lock.addr() as u64, 0]);
        let what =
            format!("the IRQL is {irql}, not DISPATCH_LEVEL: probably a lock is released twice");
        (bug_check, what)
    });
    // SAFETY: the caller passes a lock.
    let held = call.release(unsafe { call.lock_word(lock) }, Kind::Plain);
    call.require_saved_irql(&held, new_irql);
    call.lower_irql(new_irql);
    call.switch_after("KeReleaseSpinLock", lock);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) {
    let call = Call::enter_to_wait("KeAcquireSpinLockAtDpcLevel", lock);
    call.require_at_least_dispatch(lock, 0x40);
    call.require_no_threaded_dpc(lock);
    // SAFETY: the caller passes a lock.
    call.acquire(unsafe { call.lock_word(lock) }, Kind::Plain, None);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeTryToAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK) -> u8 {
    let call = Call::enter_visible("KeTryToAcquireSpinLockAtDpcLevel", lock);
    call.require_at_least_dispatch(lock, 0x40);
    call.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
    // SAFETY: the caller passes a lock.
    let acquired = call.try_acquire(unsafe { call.lock_word(lock) }, Kind::Plain);
    // The attempt of another thread can fail before this one calls another routine.
    call.switch_after("KeTryToAcquireSpinLockAtDpcLevel", lock);
    u8::from(acquired)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReleaseSpinLockFromDpcLevel(lock: *mut KSPIN_LOCK) {
    let call = Call::enter_noted("KeReleaseSpinLockFromDpcLevel");
    call.require_at_least_dispatch(lock, 0x41);
    call.require_dispatch();
    // SAFETY: the caller passes a lock.
    let held = call.release(unsafe { call.lock_word(lock) }, Kind::Plain);
    call.require(held.old_irql.is_none(), Rule::SpinlockRelease, || {
        let bug_check = BugCheck::verifier(0x1009, [held.lock as u64, 0, 0]);
        let what = "the lock was acquired by KeAcquireSpinLock, whose release restores the IRQL";
        (bug_check, what)
    });
    call.switch_after("KeReleaseSpinLockFromDpcLevel", lock);
}
