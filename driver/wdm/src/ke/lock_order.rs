//! Lock order as a type: which spin lock may be taken while which other is held.
//!
//! Two processors that take the same two locks in different orders wait for each other for ever. So each
//! [`SpinLock`](crate::SpinLock) has a class, and [`lock_order!`](crate::lock_order!) says of a class while which
//! others its locks may be taken. A lock is taken only if the innermost lock that is held is of one of these classes;
//! anything else does not compile.
//!
//! The classes form a graph without circles: each has a rank, which is larger than the rank of every class that its
//! locks are taken under. The macro computes the ranks, and a circle does not compile.
//!
//! A lock without a class of its own is [`Alone`]: it is taken with no other lock held, and no other is
//! taken under it. Most locks are, and should be.
//!
//! Two locks of one class are taken together by [`SpinLock::with_both`](crate::SpinLock::with_both), in the order of
//! their addresses.
//!
//! # Examples
//!
//! ```
//! use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};
//!
//! struct Device;
//! struct Channel;
//! lock_order!(Unlocked => Device);
//! lock_order!(Unlocked, Device => Channel); // alone, or while a Device is held
//!
//! fn open(device: &SpinLock<u32, Device>, channel: &SpinLock<u32, Channel>, irql: &mut PassiveLevel) {
//!     device.with(irql, |open, held| {
//!         *open += 1;
//!         *channel.lock_at_dpc(held) = *open;
//!     });
//! }
//! ```
//!
//! A lock of this crate's own can be placed too. This driver removes requests from a queue while it holds its lock:
//!
//! ```
//! use wdm::{IrpQueueLock, lock_order, lock_order::Unlocked};
//!
//! struct Device;
//! lock_order!(Unlocked => Device);
//! lock_order!(Device => existing IrpQueueLock);
//! ```
//!
//! WDK: [Preventing Errors and Deadlocks While Using Spin
//! Locks](https://learn.microsoft.com/windows-hardware/drivers/kernel/preventing-errors-and-deadlocks-while-using-spin-locks).

/// A class of spin locks, which [`lock_order!`](crate::lock_order!) makes of a type.
///
/// # Safety
///
/// [`LockClass::RANK`] is larger than that of every class `Held` for which the class is a [`LockAfter<Held>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no class of spin locks",
    note = "`lock_order!(Unlocked => {Self})` makes it one"
)]
pub unsafe trait LockClass {
    /// The class' place in the order.
    const RANK: u32;
}

/// A class of locks that may be taken while the innermost lock held is of the class `Held`.
///
/// # Safety
///
/// The rank of the class is larger than the rank of `Held`. [`lock_order!`](crate::lock_order!) sees to that.
#[diagnostic::on_unimplemented(
    message = "a lock of class `{Self}` must not be taken while a lock of class `{Held}` is held",
    note = "`lock_order!` says which class comes after which; a lock without a class is `Alone`"
)]
pub unsafe trait LockAfter<Held: LockClass>: LockClass {}

/// The class that stands for no lock held at all.
pub struct Unlocked;

// SAFETY: it is no LockAfter.
unsafe impl LockClass for Unlocked {
    const RANK: u32 = 0;
}

/// The class of locks that are taken alone: with no other held, and with no other taken under them.
pub struct Alone;

crate::lock_order!(Unlocked => Alone);

/// The rank of the cancel spin lock: a driver's locks may come before it, and after it.
pub(crate) const CANCEL_SPIN_LOCK_RANK: u32 = 1 << 8;
/// The rank of the locks inside this crate's objects: a driver's locks come before them.
pub(crate) const OBJECT_LOCK_RANK: u32 = 1 << 16;

/// The rank of a class that comes after classes of these ranks.
#[doc(hidden)]
#[must_use]
pub const fn rank_after(ranks: &[u32]) -> u32 {
    let mut highest = 0;
    let mut rest = ranks;
    while let [rank, others @ ..] = rest {
        if *rank > highest {
            highest = *rank;
        }
        rest = others;
    }
    highest + 1
}

/// Fails to compile unless a class of the first rank comes before one of the second.
#[doc(hidden)]
pub const fn require_before(held: u32, class: u32) {
    assert!(
        held < class,
        "lock_order: the class on the left comes after the class on the right already"
    );
}

/// Says while which locks those of a class may be taken; see [`lock_order`](mod@crate::lock_order).
///
/// `lock_order!(A, B => C)` makes the type `C` a class, whose locks may be taken while the innermost lock that is held is
/// of class `A` or `B`. [`Unlocked`] stands for none. Each class is made once, with all that
/// it comes after.
///
/// `lock_order!(A => existing C)` adds to a class that is there: one of this crate's, such as
/// [`IrpQueueLock`](crate::IrpQueueLock) or [`CancelSpinLock`](crate::CancelSpinLock), or one of the driver's.
///
/// Classes that come after each other in a circle do not compile.
#[macro_export]
macro_rules! lock_order {
    ($($held:ty),+ => existing $class:ty) => {
        $(
            // By a function: a driver may have macros of its own by any name, also by the standard library's.
            const _: () = $crate::lock_order::require_before(
                <$held as $crate::lock_order::LockClass>::RANK,
                <$class as $crate::lock_order::LockClass>::RANK,
            );
            // SAFETY: the ranks were just compared.
            unsafe impl $crate::lock_order::LockAfter<$held> for $class {}
        )+
    };
    ($($held:ty),+ => $class:ty) => {
        // SAFETY: the rank is larger than those of the classes below, and `existing` compares it for others.
        unsafe impl $crate::lock_order::LockClass for $class {
            const RANK: u32 = $crate::lock_order::rank_after(&[
                $(<$held as $crate::lock_order::LockClass>::RANK),+
            ]);
        }
        $(
            // Computes the rank, so that a circle is found even if no lock of the class is ever taken.
            const _: u32 = <$class as $crate::lock_order::LockClass>::RANK;
            // SAFETY: the class' rank was computed from this one's.
            unsafe impl $crate::lock_order::LockAfter<$held> for $class {}
        )+
    };
}
