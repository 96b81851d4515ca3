//! The spin locks that a thread holds.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{mutex::locked, verifier::Rule};

/// The routines with which a lock is acquired. A lock is always acquired with those of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `KeAcquireSpinLock` and the related routines.
    Plain = 1,
    /// `KeAcquireInStackQueuedSpinLock` and the related routines.
    Queued = 2,
    /// The `ExInterlocked` routines.
    Interlocked = 3,
    /// `IoAcquireCancelSpinLock`.
    Cancel = 4,
    /// `ExAcquireSpinLockShared`.
    Shared = 5,
    /// `ExAcquireSpinLockExclusive`.
    Exclusive = 6,
    /// The routines of an interrupt object, and its service routine.
    Interrupt = 7,
}

impl Kind {
    pub(crate) const fn bits(self) -> u64 {
        (self as u64) << 32
    }

    /// Returns the rules for acquisition and release.
    pub(crate) const fn rules(self) -> (Rule, Rule) {
        match self {
            Self::Plain | Self::Shared | Self::Exclusive => (Rule::SpinLock, Rule::SpinlockRelease),
            Self::Queued => (Rule::QueuedSpinLock, Rule::QueuedSpinLockRelease),
            Self::Interrupt => (Rule::Interrupt, Rule::Interrupt),
            Self::Interlocked => (Rule::InterlockedLock, Rule::InterlockedLock),
            Self::Cancel => (Rule::CancelSpinLock, Rule::CancelSpinLockRelease),
        }
    }
}

/// A lock that a thread holds.
#[derive(Clone, Debug)]
pub(crate) struct HeldLock {
    pub(crate) lock: usize,
    pub(crate) kind: Kind,
    /// The IRQL that the release restores; `None` for a lock that was acquired by an `AtDpcLevel` routine.
    pub(crate) old_irql: Option<u8>,
    /// Whether the thread may stay at `DISPATCH_LEVEL` when it releases the lock: it was acquired by an attempt, or for a Cancel
    /// routine.
    pub(crate) may_stay: bool,
    /// The source line that acquired it, if the kernel records it.
    pub(crate) place: Option<Box<str>>,
    /// The time of the acquisition, if hold times are measured.
    pub(crate) since: Option<Duration>,
}

impl HeldLock {
    /// Returns the rule that a thread breaks if it does not release the lock.
    pub(crate) const fn rule(&self) -> Rule {
        self.kind.rules().0
    }
}

impl fmt::Display for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Cancel => write!(f, "the cancel spin lock")?,
            _ => write!(f, "the spin lock {:#x}", self.lock)?,
        }
        if let Some(place) = &self.place {
            write!(f, " acquired by {place}")?;
        }
        Ok(())
    }
}

/// The spin locks that a thread holds, the innermost last. Only the thread itself acquires and releases them.
#[derive(Default)]
pub(crate) struct HeldLocks {
    locks: Mutex<Vec<HeldLock>>,
    /// The number of locks, which the thread itself reads without the mutex.
    count: AtomicUsize,
}

impl HeldLocks {
    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<HeldLock>> {
        locked(&self.locks)
    }

    /// Returns whether there are none. Called by the thread itself.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Returns what `read` returns for the innermost lock, if there is one. Called by the thread itself.
    #[inline]
    pub(crate) fn innermost<R>(&self, read: impl FnOnce(&HeldLock) -> R) -> Option<R> {
        if self.is_empty() {
            None
        } else {
            self.read_innermost(read)
        }
    }

    #[cold]
    fn read_innermost<R>(&self, read: impl FnOnce(&HeldLock) -> R) -> Option<R> {
        self.all().last().map(read)
    }

    pub(crate) fn push(&self, held: HeldLock) {
        let mut all = self.all();
        all.push(held);
        self.count.store(all.len(), Relaxed);
    }

    /// Removes the innermost lock if it meets a condition.
    pub(crate) fn pop_if(&self, is_meant: impl FnOnce(&HeldLock) -> bool) -> Option<HeldLock> {
        let mut all = self.all();
        let last = all.pop_if(|last| is_meant(last));
        self.count.store(all.len(), Relaxed);
        last
    }
}
