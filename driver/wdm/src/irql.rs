//! IRQL as a capability: tokens that say at which level, and under which locks, code runs.
//!
//! A token is zero-sized and cannot be made in safe code, sent to another thread, or kept: the routine
//! that the kernel calls lends one for as long as the call lasts. A routine of this crate asks for the
//! token that the kernel's rules demand, by the traits below, so a call at the wrong level does not
//! compile and nothing queries the IRQL at run time.
//!
//! | token | who lends it | [`AtMostDispatch`] | [`Dispatch`] | [`NoSpinLockHeld`] | [`Waitable`] |
//! | --- | --- | --- | --- | --- | --- |
//! | [`PassiveLevel`] | the dispatch routines | yes | | yes | yes |
//! | [`CallerLevel`] | a Cancel routine, after the cancel spin lock | yes | | yes | |
//! | [`SpinLockHeld`] | a held spin lock | yes | yes | | |
//!
//! WDK: "Managing Hardware Priorities".

use core::marker::PhantomData;

/// What keeps a token in the thread, and so on the processor, that it speaks of.
type NotSend = PhantomData<*mut ()>;

mod sealed {
    pub trait Sealed {}
}

/// The IRQL is `DISPATCH_LEVEL` or lower.
pub trait AtMostDispatch: sealed::Sealed {}

/// The IRQL is exactly `DISPATCH_LEVEL`.
pub trait Dispatch: AtMostDispatch {}

/// The IRQL is `DISPATCH_LEVEL` or lower, and the driver holds no spin lock; so IRPs may be completed.
pub trait NoSpinLockHeld: AtMostDispatch {}

/// The IRQL is `PASSIVE_LEVEL`; so the thread may wait.
pub trait Waitable: NoSpinLockHeld {}

/// The token of code that runs at `PASSIVE_LEVEL`.
pub struct PassiveLevel {
    _not_send: NotSend,
}

impl PassiveLevel {
    /// Makes the token that an entry point lends.
    ///
    /// # Safety
    /// The caller runs at `PASSIVE_LEVEL` as long as the token lives, but for spin locks that borrow it.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
        }
    }
}

impl sealed::Sealed for PassiveLevel {}
impl AtMostDispatch for PassiveLevel {}
impl NoSpinLockHeld for PassiveLevel {}
impl Waitable for PassiveLevel {}

/// The token of code that only knows that it runs at `DISPATCH_LEVEL` or lower, under no lock of its
/// own: a Cancel routine stands where the caller of `IoCancelIrp` stood once it has released the cancel
/// spin lock.
pub struct CallerLevel {
    _not_send: NotSend,
}

impl CallerLevel {
    /// Makes the token.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL` or lower, and holds no spin lock, as long as the token lives,
    /// but for spin locks that borrow it.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
        }
    }
}

impl sealed::Sealed for CallerLevel {}
impl AtMostDispatch for CallerLevel {}
impl NoSpinLockHeld for CallerLevel {}

/// The token of code that runs at `DISPATCH_LEVEL` with a spin lock held. It lets another lock be taken
/// without raising; IRPs cannot be completed with it, and nothing can wait.
pub struct SpinLockHeld {
    _not_send: NotSend,
}

impl SpinLockHeld {
    /// Makes the token that a guard lends.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL` and holds a spin lock as long as the token can be reached.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
        }
    }
}

impl sealed::Sealed for SpinLockHeld {}
impl AtMostDispatch for SpinLockHeld {}
impl Dispatch for SpinLockHeld {}
