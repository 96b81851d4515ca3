//! The spin locks that a thread holds.

use std::fmt;

use crate::verifier::Rule;

/// By which routines a lock is acquired. They are not mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `KeAcquireSpinLock` and its kin.
    Plain = 1,
    /// `KeAcquireInStackQueuedSpinLock` and its kin.
    Queued = 2,
    /// The `ExInterlocked` routines.
    Interlocked = 3,
    /// `IoAcquireCancelSpinLock`.
    Cancel = 4,
    /// `ExAcquireSpinLockShared`.
    Shared = 5,
    /// `ExAcquireSpinLockExclusive`.
    Exclusive = 6,
}

impl Kind {
    pub(crate) const fn bits(self) -> u64 {
        (self as u64) << 32
    }

    /// The rule of acquisition, and that of release.
    pub(crate) const fn rules(self) -> (Rule, Rule) {
        match self {
            Self::Plain | Self::Shared | Self::Exclusive => (Rule::SpinLock, Rule::SpinlockRelease),
            Self::Queued => (Rule::QueuedSpinLock, Rule::QueuedSpinLockRelease),
            Self::Interlocked => (Rule::InterlockedLock, Rule::InterlockedLock),
            Self::Cancel => (Rule::CancelSpinLock, Rule::CancelSpinLockRelease),
        }
    }
}

/// A lock that a thread holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) lock: usize,
    pub(crate) kind: Kind,
    /// The IRQL to go back to; `None` after an `AtDpc` acquire.
    pub(crate) old_irql: Option<u8>,
    /// Where it was acquired, if that is remembered.
    pub(crate) place: Option<String>,
}

impl Held {
    /// The rule that a thread breaks that leaves it held.
    pub(crate) const fn rule(&self) -> Rule {
        self.kind.rules().0
    }
}

impl fmt::Display for Held {
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
