//! IRQL as a capability: tokens that state the IRQL at which code runs, and the locks that it holds.
//!
//! A token is zero-sized. Safe code cannot make one, send it to another thread or keep it: `wdm` lends a token to
//! the routine that the kernel calls, for the duration of the call. Each routine of this crate requires, by the
//! traits below, the token that the kernel's rules ask for, so a call at the wrong IRQL does not compile. The IRQL
//! is queried at run time in one case only: a `Drop` has no token, so a `Drop` that has to wait first checks
//! whether it may.
//!
//! | token | lent by | [`AtMostDispatch`] | [`Dispatch`] | [`NoSpinLockHeld`] | [`NotRaised`] | [`Waitable`] |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | [`PassiveLevel`] | the dispatch routines, system threads | yes | | yes | yes | yes |
//! | [`CallerLevel`] | a Cancel routine after the cancel spin lock, a completion routine, the dispatch routine of a filter | yes | | yes | yes | |
//! | [`DispatchLevel`] | a DPC, and [`raise_to_dispatch`] | yes | yes | yes | | |
//! | [`SpinLockHeld`] | a held spin lock | yes | yes | | | |
//! | [`ObjectHeld`] | a held [`Mutex`](crate::Mutex), an access to a [`Rundown`](crate::Rundown) value, a queue that is about to complete an IRP | yes | | | | |
//!
//! WDK: [Managing Hardware Priorities](https://learn.microsoft.com/windows-hardware/drivers/kernel/managing-hardware-priorities).
//!
//! # Examples
//!
//! ```
//! use wdm::{Handled, Irp, NtStatus, PassiveLevel, SpinLock};
//!
//! fn count<'irp>(irp: Irp<'irp>, served: &SpinLock<u32>, irql: &mut PassiveLevel) -> Handled<'irp> {
//!     served.with(irql, |served, _held| *served += 1); // `_held` cannot complete the request
//!     irp.complete(NtStatus::SUCCESS, irql)
//! }
//! ```

use core::{marker::PhantomData, panic::Location};

use crate::ke::{
    lock_order::{LockClass, Unlocked},
    on_drop::OnDrop,
};
use crate::log;

/// Keeps a token on the thread that it was lent to.
type NotSend = PhantomData<*mut ()>;

mod sealed {
    pub trait Sealed {}
}

/// The IRQL is `DISPATCH_LEVEL` or lower.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an IRQL token",
    note = "pass the token that the routine was called with, or the token that a held lock lends"
)]
pub trait AtMostDispatch: sealed::Sealed {
    /// The class of the innermost spin lock that is held; [`Unlocked`] if none is.
    type Held: LockClass;
}

/// The IRQL is exactly `DISPATCH_LEVEL`, so the code stays on its processor.
#[diagnostic::on_unimplemented(
    message = "the IRQL is not known to be `DISPATCH_LEVEL` here",
    note = "use the token of a DPC or of a held spin lock, or raise the IRQL with `irql::raise_to_dispatch`"
)]
pub trait Dispatch: AtMostDispatch {}

/// The IRQL is `DISPATCH_LEVEL` or lower and the driver holds no lock, so it may complete IRPs.
#[diagnostic::on_unimplemented(
    message = "a spin lock is held here, or a mutex, a `Rundown` value or an IRP of a queue: no IRP can be completed until it is released",
    note = "copy what is needed out of the closure, then complete the IRP after it; a queue's callback leaves that to a DPC or a work item"
)]
pub trait NoSpinLockHeld: AtMostDispatch<Held = Unlocked> {}

/// The IRQL is `PASSIVE_LEVEL`, so the thread may wait.
#[diagnostic::on_unimplemented(
    message = "the IRQL is not `PASSIVE_LEVEL` here: the thread may not wait",
    note = "only code that has the `PassiveLevel` token of a dispatch routine or a system thread may wait"
)]
pub trait Waitable: NoSpinLockHeld {}

/// The IRQL is the one at which the kernel called the routine, and the driver holds no spin lock, so it may forward IRPs.
#[diagnostic::on_unimplemented(
    message = "the IRQL was raised here: an IRP is forwarded at the IRQL at which it was sent",
    note = "forward it with the token of the dispatch routine, after the spin lock was released and the IRQL lowered"
)]
pub trait NotRaised: NoSpinLockHeld {}

/// The token of code that runs at `PASSIVE_LEVEL`.
#[doc(alias = "KIRQL")]
#[doc(alias = "PASSIVE_LEVEL")]
pub struct PassiveLevel {
    _not_send: NotSend,
}

impl PassiveLevel {
    /// Makes the token that an entry point lends.
    ///
    /// # Safety
    /// The caller runs at `PASSIVE_LEVEL` as long as the token lives, except while code that borrows the token has
    /// raised the IRQL.
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
impl NotRaised for PassiveLevel {}

/// The token of code that runs at `DISPATCH_LEVEL` or lower and holds no spin lock.
///
/// A completion routine, and a dispatch routine that other drivers call, run at the IRQL of their caller. A Cancel routine that has
/// released the cancel spin lock runs at the IRQL of the caller of `IoCancelIrp`. The driver knows only that it is at most
/// `DISPATCH_LEVEL`.
pub struct CallerLevel {
    _not_send: NotSend,
}

impl CallerLevel {
    /// Makes the token.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL` or lower, and holds no spin lock, as long as the token lives, except
    /// while code that borrows the token has raised the IRQL.
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
impl NotRaised for CallerLevel {}

/// The token of code that runs at `DISPATCH_LEVEL` and holds no spin lock, such as a DPC.
#[doc(alias = "KIRQL")]
#[doc(alias = "DISPATCH_LEVEL")]
pub struct DispatchLevel {
    _not_send: NotSend,
}

impl DispatchLevel {
    /// Makes the token.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL`, and holds no spin lock, as long as the token lives, except for spin
    /// locks that borrow the token.
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

/// The token of code that runs at `DISPATCH_LEVEL` and holds a spin lock of the class `C`.
///
/// With it, code can acquire a lock that [comes after](mod@crate::lock_order) `C` without raising the IRQL. It
/// cannot complete an IRP or wait.
///
/// # Examples
///
/// ```
/// use wdm::{SpinLock, irql::SpinLockHeld, lock_order, lock_order::Unlocked};
///
/// struct Device;
/// struct Errors;
/// lock_order!(Unlocked => Device);
/// lock_order!(Device => Errors);
///
/// /// Counts an error; called with the lock of the device held.
/// fn count(errors: &SpinLock<u32, Errors>, held: &mut SpinLockHeld<Device>) {
///     *errors.lock_at_dpc(held) += 1;
/// }
/// ```
pub struct SpinLockHeld<C> {
    _not_send: NotSend,
    // Invariant: a subtype of a class is another class.
    _class: PhantomData<fn(C) -> C>,
}

impl<C> SpinLockHeld<C> {
    /// Makes the token that a guard lends.
    ///
    /// # Safety
    /// The caller runs at `DISPATCH_LEVEL` and holds a spin lock of the class, acquired after every other lock that
    /// it holds, as long as the token can be used.
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

/// The token of code that holds a [`Mutex`](crate::Mutex), that accesses the value of a [`Rundown`](crate::Rundown), or that a queue
/// [calls before it completes an IRP](crate::QueueCallbacks::before_completion).
///
/// With it, code can acquire a spin lock. It cannot wait, since two threads that each hold an object could wait for each other. It
/// cannot complete or forward an IRP either: the completion routine of another driver would run, and could call this driver
/// again in the same thread, where it would wait for the object that the thread holds. In a callback of a queue, the queue would
/// complete another IRP and call the callback again, and so on for each IRP, until the stack overflows.
///
/// `C` is the class of the innermost spin lock that is held.
pub struct ObjectHeld<C = Unlocked> {
    _not_send: NotSend,
    // Invariant, as in `SpinLockHeld`.
    _class: PhantomData<fn(C) -> C>,
}

impl<C> ObjectHeld<C> {
    /// Makes the token that is lent while the object is held.
    ///
    /// # Safety
    /// As long as the token lives, the caller runs at `DISPATCH_LEVEL` or lower, and `C` is the class of the innermost spin lock
    /// that it holds, except while code that borrows the token has acquired a lock.
    pub(crate) const unsafe fn assume() -> Self {
        Self {
            _not_send: PhantomData,
            _class: PhantomData,
        }
    }
}

impl<C> sealed::Sealed for ObjectHeld<C> {}
impl<C: LockClass> AtMostDispatch for ObjectHeld<C> {
    type Held = C;
}

/// Runs a closure at `DISPATCH_LEVEL` (`KeRaiseIrqlToDpcLevel`, `KeLowerIrql`).
///
/// Use it for code that must stay on its processor, or that calls routines which require exactly `DISPATCH_LEVEL`,
/// such as those of a device queue. Keep the closure as short as a section under a spin lock. In C the driver saves
/// the old IRQL and restores it in the right order. Here the IRQL is restored when the closure returns, and the
/// caller's token is borrowed while the closure runs.
///
/// WDK: [KeRaiseIrqlToDpcLevel](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keraiseirqltodpclevel),
/// [KeLowerIrql](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kelowerirql).
///
/// # IRQL
/// At most `DISPATCH_LEVEL`, and no spin lock held.
///
/// # Examples
///
/// ```
/// use wdm::{PassiveLevel, irql::raise_to_dispatch, processor};
///
/// fn current_processor(irql: &mut PassiveLevel) -> u32 {
///     raise_to_dispatch(irql, |irql| processor::current(irql))
/// }
/// ```
#[doc(alias = "KeRaiseIrql")]
#[doc(alias = "KeRaiseIrqlToDpcLevel")]
#[doc(alias = "KeLowerIrql")]
pub fn raise_to_dispatch<L: NoSpinLockHeld, R>(
    _irql: &mut L,
    f: impl FnOnce(&mut DispatchLevel) -> R,
) -> R {
    // SAFETY: the token says that the IRQL is at most DISPATCH_LEVEL.
    let old_irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
    // SAFETY: the IRQL is DISPATCH_LEVEL, and `old_irql` is the value that it was raised from.
    let _lower = OnDrop(|| unsafe { nt::KeLowerIrql(old_irql) });
    // SAFETY: the IRQL is DISPATCH_LEVEL until `_lower` is dropped, and the caller holds no spin lock. The closure's
    // locks borrow the token, so they are released before that.
    f(&mut unsafe { DispatchLevel::assume() })
}

/// Returns whether the IRQL is `PASSIVE_LEVEL`, so that no spin lock is held. For a `Drop`, which has no token.
pub(crate) fn is_passive() -> bool {
    current() == PASSIVE_LEVEL
}

const PASSIVE_LEVEL: u8 = 0;
pub(crate) const DISPATCH_LEVEL: u8 = 2;

/// Returns the current IRQL.
///
/// To read the IRQL, the function raises and lowers it, since `KeGetCurrentIrql` is inline on some systems and an export on others.
pub(crate) fn current() -> u8 {
    // SAFETY: a driver on this crate runs no code above DISPATCH_LEVEL.
    let irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
    // SAFETY: `irql` is the value that the IRQL was raised from.
    unsafe { nt::KeLowerIrql(irql) };
    irql
}

/// Stops the system because a value whose `Drop` has to wait was dropped above `PASSIVE_LEVEL`. If the drop waited, the
/// processor would hang; if it did not wait, it would free memory that is in use.
///
/// The debugger shows the type, the source line that made the value, and the IRQL.
pub(crate) fn dropped_above_passive(what: &str, made_at: &Location<'_>) -> ! {
    let irql = current();
    log::dropped_above_passive(what, made_at, irql);
    // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
    unsafe { nt::KeBugCheckEx(nt::IRQL_NOT_LESS_OR_EQUAL, 0, irql.into(), 0, 0) }
}
