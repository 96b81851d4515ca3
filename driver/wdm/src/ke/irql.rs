//! IRQL as a capability: tokens that say at which level, and under which locks, code runs.
//!
//! A token is zero-sized and cannot be made in safe code, sent to another thread, or kept: the routine
//! that the kernel calls lends one for as long as the call lasts. A routine of this crate asks for the
//! token that the kernel's rules demand, by the traits below, so a call at the wrong level does not
//! compile. The IRQL is queried in one case only: a `Drop` has no token, so one that has to wait finds out
//! first whether it may.
//!
//! | token | who lends it | [`AtMostDispatch`] | [`Dispatch`] | [`NoSpinLockHeld`] | [`Waitable`] |
//! | --- | --- | --- | --- | --- | --- |
//! | [`PassiveLevel`] | the dispatch routines, system threads | yes | | yes | yes |
//! | [`CallerLevel`] | a Cancel routine, after the cancel spin lock | yes | | yes | |
//! | [`DispatchLevel`] | a DPC, and [`raise_to_dispatch`] | yes | yes | yes | |
//! | [`SpinLockHeld`] | a held spin lock | yes | yes | | |
//!
//! WDK: "Managing Hardware Priorities".

use core::{marker::PhantomData, panic::Location};

use crate::ke::lock_order::{LockClass, Unlocked};
use crate::log;

/// What keeps a token in the thread, and so on the processor, that it speaks of.
type NotSend = PhantomData<*mut ()>;

mod sealed {
    pub trait Sealed {}
}

/// The IRQL is `DISPATCH_LEVEL` or lower.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no IRQL token",
    note = "pass on the token that the routine was called with, or the one that a held lock lends"
)]
pub trait AtMostDispatch: sealed::Sealed {
    /// The class of the innermost spin lock that is held; [`Unlocked`] if none is.
    type Held: LockClass;
}

/// The IRQL is exactly `DISPATCH_LEVEL`; so the code stays on its processor.
#[diagnostic::on_unimplemented(
    message = "the IRQL is not known to be `DISPATCH_LEVEL` here",
    note = "a DPC's token, a held spin lock's token, or `irql::raise_to_dispatch` says so"
)]
pub trait Dispatch: AtMostDispatch {}

/// The IRQL is `DISPATCH_LEVEL` or lower, and the driver holds no spin lock; so IRPs may be completed.
#[diagnostic::on_unimplemented(
    message = "a spin lock is held here: an IRP cannot be completed until it is released",
    note = "take what is needed out of the lock, release it, then complete the IRP"
)]
pub trait NoSpinLockHeld: AtMostDispatch<Held = Unlocked> {}

/// The IRQL is `PASSIVE_LEVEL`; so the thread may wait.
#[diagnostic::on_unimplemented(
    message = "the IRQL is not `PASSIVE_LEVEL` here: the thread may not wait",
    note = "only the token of a dispatch routine or a system thread lets the thread wait"
)]
pub trait Waitable: NoSpinLockHeld {}

/// The token of code that runs at `PASSIVE_LEVEL`.
pub struct PassiveLevel {
    _not_send: NotSend,
}

impl PassiveLevel {
    /// Makes the token that an entry point lends.
    ///
    /// # Safety
    /// The caller runs at `PASSIVE_LEVEL` as long as the token lives, but for what borrows it to raise the
    /// IRQL meanwhile.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
        }
    }
}

impl sealed::Sealed for PassiveLevel {}
impl AtMostDispatch for PassiveLevel {
    type Held = Unlocked;
}
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
    /// but for what borrows it to raise the IRQL meanwhile.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
        }
    }
}

impl sealed::Sealed for CallerLevel {}
impl AtMostDispatch for CallerLevel {
    type Held = Unlocked;
}
impl NoSpinLockHeld for CallerLevel {}

/// The token of code that runs at `DISPATCH_LEVEL` with no spin lock held: a DPC's, mostly.
pub struct DispatchLevel {
    _not_send: NotSend,
}

impl DispatchLevel {
    /// Makes the token.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL`, and holds no spin lock, as long as the token lives, but for spin
    /// locks that borrow it.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
        }
    }
}

impl sealed::Sealed for DispatchLevel {}
impl AtMostDispatch for DispatchLevel {
    type Held = Unlocked;
}
impl Dispatch for DispatchLevel {}
impl NoSpinLockHeld for DispatchLevel {}

/// The token of code that runs at `DISPATCH_LEVEL` with a spin lock of the class `C` held. It lets a lock
/// that [comes after](mod@crate::lock_order) be taken without raising; IRPs cannot be completed with it, and
/// nothing can wait.
pub struct SpinLockHeld<C> {
    _not_send: NotSend,
    // Invariant: a class is a class of its own, whatever its subtypes are.
    _class: PhantomData<fn(C) -> C>,
}

impl<C> SpinLockHeld<C> {
    /// Makes the token that a guard lends.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL` and holds a spin lock of the class, taken after every other that
    /// it holds, as long as the token can be reached.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
            _class: PhantomData,
        }
    }
}

impl<C> sealed::Sealed for SpinLockHeld<C> {}
impl<C: LockClass> AtMostDispatch for SpinLockHeld<C> {
    type Held = C;
}
impl<C: LockClass> Dispatch for SpinLockHeld<C> {}

/// Runs a closure at `DISPATCH_LEVEL` (`KeRaiseIrqlToDpcLevel`, `KeLowerIrql`).
///
/// For what must stay on its processor, or what is called at exactly `DISPATCH_LEVEL`, such as a device
/// queue. Keep it as short as a spin lock. In C the IRQL is a number to be kept and given back in the right
/// order; here it comes back when the closure returns, and the caller's own token is out of reach until then.
///
/// WDK: "`KeRaiseIrqlToDpcLevel` function", "`KeLowerIrql` function".
///
/// # IRQL
/// At most `DISPATCH_LEVEL`, and no spin lock held.
///
/// ```
/// use wdm::{PassiveLevel, irql::raise_to_dispatch, processor};
///
/// fn where_am_i(irql: &mut PassiveLevel) -> u32 {
///     raise_to_dispatch(irql, |irql| processor::current(irql))
/// }
/// ```
pub fn raise_to_dispatch<L: NoSpinLockHeld, R>(
    _irql: &mut L,
    f: impl FnOnce(&mut DispatchLevel) -> R,
) -> R {
    // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
    let old_irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
    // SAFETY: the IRQL is DISPATCH_LEVEL until it is lowered below, and the caller holds no spin lock. The
    // closure's locks borrow the token, so they are released by then.
    let result = f(&mut unsafe { DispatchLevel::assume() });
    // SAFETY: the IRQL is the one that was raised to above, and this is what it was before.
    unsafe { nt::KeLowerIrql(old_irql) };
    result
}

/// Whether the IRQL is `PASSIVE_LEVEL`, and so no spin lock is held: for a `Drop`, which has no token.
pub(crate) fn is_passive() -> bool {
    current() == PASSIVE_LEVEL
}

const PASSIVE_LEVEL: u8 = 0;

/// The IRQL, found out by raising and lowering it: `KeGetCurrentIrql` is an inline on some systems and an export
/// on others.
pub(crate) fn current() -> u8 {
    // SAFETY: no code of a driver runs above DISPATCH_LEVEL with this crate.
    let irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
    // SAFETY: this is what the IRQL was before it was raised.
    unsafe { nt::KeLowerIrql(irql) };
    irql
}

/// Stops the system because a value that has to wait was dropped above `PASSIVE_LEVEL`: to wait would hang the
/// processor, and to go on would free memory in use.
///
/// The debugger shows the type, where the value was made, and the IRQL.
pub(crate) fn dropped_above_passive(what: &str, made_at: &Location<'_>) -> ! {
    let irql = current();
    log::dropped_above_passive(what, made_at, irql);
    // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
    unsafe { nt::KeBugCheckEx(nt::IRQL_NOT_LESS_OR_EQUAL, 0, irql.into(), 0, 0) }
}
