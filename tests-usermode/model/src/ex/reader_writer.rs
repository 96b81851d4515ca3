//! Reader/writer spin locks. The variable is zero if the lock is free; else it is the number of threads that hold the
//! lock shared, or `EXCLUSIVE`.

use std::sync::atomic::{AtomicI32, Ordering};

use nt::{DISPATCH_LEVEL, EX_SPIN_LOCK};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        wait::Wait,
    },
    verifier::{
        BugCheck, Rule,
        held::{HeldLock, Kind},
    },
};

/// The value while a thread holds the lock exclusively.
const EXCLUSIVE: i32 = i32::MIN;

/// The two objects that order the exclusive holders and the shared holders. A shared holder precedes the next exclusive
/// holder, but not another shared holder.
fn orders(lock: *mut EX_SPIN_LOCK) -> [usize; 2] {
    [lock.addr(), lock.addr() + 1]
}

/// Acquires a lock if it is free for this kind of access.
fn take(word: &AtomicI32, kind: Kind) -> Option<()> {
    let take = |state: i32| match (kind, state) {
        (Kind::Shared, 0..) => Some(state + 1),
        (_, 0) => Some(EXCLUSIVE),
        _ => None,
    };
    let taken = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
    taken.ok().map(drop)
}

impl Call {
    fn acquire_reader_writer(&self, lock: *mut EX_SPIN_LOCK, kind: Kind) -> u8 {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        let word = self.reader_writer(lock);
        self.check_order(lock.addr());
        let old_irql = self.raise_irql(DISPATCH_LEVEL);
        self.wait_for(Wait::ReaderWriter(lock.addr()), || take(word, kind));
        self.note_reader_writer(lock, kind, Some(old_irql));
        old_irql
    }

    fn acquire_reader_writer_at_dpc(&self, lock: *mut EX_SPIN_LOCK, kind: Kind) {
        self.require_dpc_level();
        let word = self.reader_writer(lock);
        self.check_order(lock.addr());
        self.wait_for(Wait::ReaderWriter(lock.addr()), || take(word, kind));
        self.note_reader_writer(lock, kind, None);
    }

    fn try_to_acquire_reader_writer(&self, lock: *mut EX_SPIN_LOCK, kind: Kind) -> u8 {
        self.require_dpc_level();
        let word = self.reader_writer(lock);
        footprint::touch(lock.addr(), Access::Exclusive);
        if take(word, kind).is_none() {
            return 0;
        }
        self.note_reader_writer(lock, kind, None);
        1
    }

    /// Converts a lock that the thread holds shared to exclusive, if no other thread holds it.
    fn convert_reader_writer(&self, lock: *mut EX_SPIN_LOCK) -> u8 {
        self.require_dpc_level();
        // SAFETY: as below.
        let word = unsafe { self.view::<AtomicI32, _>(lock) };
        footprint::touch(lock.addr(), Access::Exclusive);
        let is_shared = |held: &HeldLock| held.lock == lock.addr() && held.kind == Kind::Shared;
        let place = self.held.all().iter().position(is_shared);
        let Some(place) = place else {
            let bug_check = BugCheck::verifier(0x1007, [lock.addr() as u64, 0, 0]);
            let what = format!(
                "the thread converts the reader/writer spin lock {lock:?}, which it does not hold shared"
            );
            self.stop(bug_check, Rule::SpinLock, what)
        };
        let converted = word
            .compare_exchange(1, EXCLUSIVE, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if converted {
            self.held.all()[place].kind = Kind::Exclusive;
            self.acquire_from(orders(lock)[1]);
        }
        // Another thread can try the same before this one releases the lock.
        self.switch_after(self.routine(), lock);
        u8::from(converted)
    }

    fn require_dpc_level(&self) {
        let irql = self.irql();
        self.require(irql >= DISPATCH_LEVEL, Rule::SpinLockDpc, || {
            let bug_check = BugCheck::verifier(0x40, [irql.into(), 0, 0]);
            let what = format!("the IRQL is {irql}, below DISPATCH_LEVEL");
            (bug_check, what)
        });
    }

    /// Returns the word of a lock that the thread does not hold.
    fn reader_writer<'a>(&self, lock: *mut EX_SPIN_LOCK) -> &'a AtomicI32 {
        self.require_nonpaged(lock);
        // SAFETY: the caller of the routine passes a lock, which only these routines access.
        let word = unsafe { self.view::<AtomicI32, _>(lock) };
        let again = self.held.all().iter().any(|held| held.lock == lock.addr());
        self.require(!again, Rule::SpinLock, || {
            let bug_check = BugCheck::verifier(0x1000, [lock.addr() as u64, 0, 0]);
            let what = "the thread acquires a reader/writer spin lock that it already holds, which is a deadlock";
            (bug_check, what)
        });
        word
    }

    fn note_reader_writer(&self, lock: *mut EX_SPIN_LOCK, kind: Kind, old_irql: Option<u8>) {
        let [by_one, by_several] = orders(lock);
        self.acquire_from(by_one);
        if kind == Kind::Exclusive {
            self.acquire_from(by_several);
        }
        self.note_held(lock.addr(), kind, old_irql);
    }

    /// Releases a lock, and restores an IRQL or keeps the current one.
    fn release_reader_writer(&self, lock: *mut EX_SPIN_LOCK, kind: Kind, new_irql: Option<u8>) {
        let irql = self.irql();
        self.require(irql >= DISPATCH_LEVEL, Rule::Irql, || {
            let bug_check = BugCheck::verifier(0x32, [irql.into(), lock.addr() as u64, 0]);
            let what = format!("the IRQL is {irql}, and must be DISPATCH_LEVEL");
            (bug_check, what)
        });
        // SAFETY: as above.
        let word = unsafe { self.view::<AtomicI32, _>(lock) };
        let is_this = |held: &HeldLock| held.lock == lock.addr() && held.kind == kind;
        let Some(held) = self.held.pop_if(is_this) else {
            let bug_check = BugCheck::verifier(0x1007, [lock.addr() as u64, 0, 0]);
            let what = format!(
                "the reader/writer spin lock {lock:?} is released, and is not the one that the thread has acquired last, \
                 in this way"
            );
            self.stop(bug_check, Rule::SpinlockRelease, what);
        };
        match new_irql {
            Some(irql) => self.require_saved_irql(&held, irql),
            None => self.require(held.old_irql.is_none(), Rule::SpinlockRelease, || {
                let bug_check = BugCheck::verifier(0x1009, [held.lock as u64, 0, 0]);
                let what = "the lock was acquired by a routine that raises the IRQL, and is paired with a release that restores it";
                (bug_check, what)
            }),
        }
        let [by_one, by_several] = orders(lock);
        if kind == Kind::Exclusive {
            word.store(0, Ordering::Release);
            self.release_to(by_one);
        } else {
            word.fetch_sub(1, Ordering::Release);
            self.release_to(by_several);
        }
        self.kernel.sleepers.wake(Wait::ReaderWriter(lock.addr()));
        if let Some(irql) = new_irql {
            self.lower_irql(irql);
        }
        self.switch_after(self.routine(), lock);
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirespinlockshared)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireSpinLockShared(lock: *mut EX_SPIN_LOCK) -> u8 {
    let call = Call::enter_noted("ExAcquireSpinLockShared");
    call.switch_point(call.routine(), lock.addr());
    call.acquire_reader_writer(lock, Kind::Shared)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleasespinlockshared)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseSpinLockShared(lock: *mut EX_SPIN_LOCK, irql: u8) {
    Call::enter_noted("ExReleaseSpinLockShared").release_reader_writer(
        lock,
        Kind::Shared,
        Some(irql),
    );
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirespinlockexclusive)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireSpinLockExclusive(lock: *mut EX_SPIN_LOCK) -> u8 {
    let call = Call::enter_noted("ExAcquireSpinLockExclusive");
    call.switch_point(call.routine(), lock.addr());
    call.acquire_reader_writer(lock, Kind::Exclusive)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleasespinlockexclusive)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseSpinLockExclusive(lock: *mut EX_SPIN_LOCK, irql: u8) {
    Call::enter_noted("ExReleaseSpinLockExclusive").release_reader_writer(
        lock,
        Kind::Exclusive,
        Some(irql),
    );
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirespinlocksharedatdpclevel)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireSpinLockSharedAtDpcLevel(lock: *mut EX_SPIN_LOCK) {
    let call = Call::enter_noted("ExAcquireSpinLockSharedAtDpcLevel");
    call.switch_point(call.routine(), lock.addr());
    call.acquire_reader_writer_at_dpc(lock, Kind::Shared);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleasespinlocksharedfromdpclevel)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseSpinLockSharedFromDpcLevel(lock: *mut EX_SPIN_LOCK) {
    let call = Call::enter_noted("ExReleaseSpinLockSharedFromDpcLevel");
    call.release_reader_writer(lock, Kind::Shared, None);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-extryacquirespinlocksharedatdpclevel)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExTryAcquireSpinLockSharedAtDpcLevel(lock: *mut EX_SPIN_LOCK) -> u8 {
    let call = Call::enter_noted("ExTryAcquireSpinLockSharedAtDpcLevel");
    call.switch_point(call.routine(), lock.addr());
    let acquired = call.try_to_acquire_reader_writer(lock, Kind::Shared);
    call.switch_after(call.routine(), lock);
    acquired
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirespinlockexclusiveatdpclevel)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireSpinLockExclusiveAtDpcLevel(lock: *mut EX_SPIN_LOCK) {
    let call = Call::enter_noted("ExAcquireSpinLockExclusiveAtDpcLevel");
    call.switch_point(call.routine(), lock.addr());
    call.acquire_reader_writer_at_dpc(lock, Kind::Exclusive);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleasespinlockexclusivefromdpclevel)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseSpinLockExclusiveFromDpcLevel(lock: *mut EX_SPIN_LOCK) {
    let call = Call::enter_noted("ExReleaseSpinLockExclusiveFromDpcLevel");
    call.release_reader_writer(lock, Kind::Exclusive, None);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-extryacquirespinlockexclusiveatdpclevel)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExTryAcquireSpinLockExclusiveAtDpcLevel(lock: *mut EX_SPIN_LOCK) -> u8 {
    let call = Call::enter_noted("ExTryAcquireSpinLockExclusiveAtDpcLevel");
    call.switch_point(call.routine(), lock.addr());
    let acquired = call.try_to_acquire_reader_writer(lock, Kind::Exclusive);
    call.switch_after(call.routine(), lock);
    acquired
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-extryconvertsharedspinlockexclusive)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExTryConvertSharedSpinLockExclusive(lock: *mut EX_SPIN_LOCK) -> u8 {
    let call = Call::enter_noted("ExTryConvertSharedSpinLockExclusive");
    call.switch_point(call.routine(), lock.addr());
    let converted = call.convert_reader_writer(lock);
    call.switch_after(call.routine(), lock);
    converted
}
