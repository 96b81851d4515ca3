//! Reader/writer spin locks. The variable is zero if the lock is free; else it is the number of threads that hold the
//! lock shared, or `EXCLUSIVE`.

use std::sync::atomic::{AtomicI32, Ordering};

use nt::{DISPATCH_LEVEL, EX_SPIN_LOCK};

use crate::{
    host::{Call, wait::Wait},
    mutex::locked,
    verifier::{BugCheck, Rule, held::Kind},
};

/// The value while a thread holds the lock exclusively.
const EXCLUSIVE: i32 = i32::MIN;

/// The two objects that order the threads that held the lock exclusively, and those that held it shared. The latter
/// come before the next exclusive holder, but not before each other.
fn orders(lock: *mut EX_SPIN_LOCK) -> [usize; 2] {
    [lock.addr(), lock.addr() + 1]
}

impl Call {
    fn acquire_reader_writer(&self, lock: *mut EX_SPIN_LOCK, kind: Kind) -> u8 {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        // SAFETY: the caller of the routine passes a lock, which only these routines access.
        let word = unsafe { self.view::<AtomicI32, _>(lock) };
        let again = locked(&self.held)
            .iter()
            .any(|held| held.lock == lock.addr());
        self.require(!again, Rule::SpinLock, || {
            let bug_check = BugCheck::verifier(0x1000, [lock.addr() as u64, 0, 0]);
            let what = "the thread acquires a reader/writer spin lock that it already holds, which is a deadlock";
            (bug_check, what.into())
        });
        self.check_order(lock.addr());
        let old_irql = self.raise_irql(DISPATCH_LEVEL);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        self.wait_for(Wait::ReaderWriter(lock.addr()), || {
            let take = |state: i32| match (kind, state) {
                (Kind::Shared, 0..) => Some(state + 1),
                (_, 0) => Some(EXCLUSIVE),
                _ => None,
            };
            word.fetch_update(order.0, order.1, take).ok()
        });
        let [by_one, by_several] = orders(lock);
        self.acquire_from(by_one);
        if kind == Kind::Exclusive {
            self.acquire_from(by_several);
        }
        self.note_held(lock.addr(), kind, Some(old_irql));
        old_irql
    }

    fn release_reader_writer(&self, lock: *mut EX_SPIN_LOCK, kind: Kind, new_irql: u8) {
        let irql = self.irql();
        self.require(irql == DISPATCH_LEVEL, Rule::Irql, || {
            let bug_check = BugCheck::verifier(0x32, [irql.into(), lock.addr() as u64, 0]);
            (
                bug_check,
                format!("the IRQL is {irql}, and must be DISPATCH_LEVEL"),
            )
        });
        // SAFETY: as above.
        let word = unsafe { self.view::<AtomicI32, _>(lock) };
        let last = locked(&self.held).pop();
        let Some(held) = last.filter(|held| held.lock == lock.addr() && held.kind == kind) else {
            let bug_check = BugCheck::verifier(0x1007, [lock.addr() as u64, 0, 0]);
            let what = format!(
                "the reader/writer spin lock {lock:?} is released, and is not the one that the thread has acquired last, \
                 in this way"
            );
            self.stop(bug_check, Rule::SpinlockRelease, what);
        };
        self.require_saved_irql(&held, new_irql);
        let [by_one, by_several] = orders(lock);
        if kind == Kind::Exclusive {
            word.store(0, Ordering::Release);
            self.release_to(by_one);
        } else {
            word.fetch_sub(1, Ordering::Release);
            self.release_to(by_several);
        }
        self.kernel.sleepers.wake(Wait::ReaderWriter(lock.addr()));
        self.lower_irql(new_irql);
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
    Call::enter_noted("ExReleaseSpinLockShared").release_reader_writer(lock, Kind::Shared, irql);
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
        irql,
    );
}
