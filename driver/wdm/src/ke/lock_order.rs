//! Lock order in the type system: which spin lock may be acquired while another is held.
//!
//! Two processors that acquire the same two locks in different orders deadlock. So each
//! [`SpinLock`](crate::SpinLock) has a class, and [`lock_order!`](crate::lock_order!) lists the classes under which
//! the locks of a class may be acquired. A lock can be acquired only if the innermost lock that is held belongs to
//! one of these classes; anything else does not compile.
//!
//! The classes form an acyclic graph: the rank of a class is larger than the rank of every class under which its
//! locks are acquired. The macro computes the ranks, and a cycle does not compile.
//!
//! The default class is [`Alone`]: such a lock is acquired while no other lock is held. No lock is acquired under it, unless
//! `lock_order!(Alone => ..)` declares one. Most locks should have this class.
//!
//! [`SpinLock::with_both`](crate::SpinLock::with_both) acquires two locks of one class, in the order of their
//! addresses.
//!
//! # Examples
//!
//! ```
//! use wdm::{PassiveLevel, SpinLock, lock_order, lock_order::Unlocked};
//!
//! struct Device;
//! struct Channel;
//! lock_order!(Unlocked => Device);
//! lock_order!(Unlocked, Device => Channel); // with no lock held, or under a Device
//!
//! fn open(device: &SpinLock<u32, Device>, channel: &SpinLock<u32, Channel>, irql: &mut PassiveLevel) {
//!     device.with(irql, |open, held| {
//!         *open += 1;
//!         *channel.lock_at_dpc(held) = *open;
//!     });
//! }
//! ```
//!
//! The locks inside this crate's objects can be ordered too. This driver removes requests from a queue while it
//! holds its own lock:
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

/// A class of spin locks. [`lock_order!`](crate::lock_order!) implements this trait for a type.
///
/// # Safety
/// [`LockClass::RANK`] is larger than the rank of every class `Held` for which the class is a [`LockAfter<Held>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a class of spin locks",
    note = "`lock_order!(Unlocked => {Self})` makes it a class"
)]
pub unsafe trait LockClass {
    /// The position of the class in the lock order.
    const RANK: u32;
}

/// A class of locks that may be acquired while the innermost held lock is of class `Held`.
///
/// # Safety
/// The rank of the class is larger than the rank of `Held`. [`lock_order!`](crate::lock_order!) guarantees it.
#[diagnostic::on_unimplemented(
    message = "a lock of class `{Self}` must not be acquired while a lock of class `{Held}` is held",
    note = "`lock_order!` declares which class comes after which; a lock without a class is `Alone`, which is acquired with no other lock held"
)]
pub unsafe trait LockAfter<Held: LockClass>: LockClass {}

/// The class that stands for "no spin lock is held".
pub struct Unlocked;

// SAFETY: `Unlocked` does not implement LockAfter.
unsafe impl LockClass for Unlocked {
    const RANK: u32 = 0;
}

/// The class of locks that are acquired while no other lock is held, and under which only locks of the driver's classes are acquired, if
/// [`lock_order!`](crate::lock_order!) declares that they come after this one.
pub struct Alone;

crate::lock_order!(Unlocked => Alone);

/// The rank of the cancel spin lock. A driver's locks may come before or after it.
pub(crate) const CANCEL_SPIN_LOCK_RANK: u32 = 1 << 8;
/// The rank of the locks inside this crate's objects. A driver's locks come before them.
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

/// Declares under which locks the locks of a class may be acquired; see [`lock_order`](mod@crate::lock_order).
///
/// `lock_order!(A, B => C)` makes the type `C` a class whose locks may be acquired while the innermost held lock is
/// of class `A` or `B`. [`Unlocked`] stands for "no lock is held". Declare each class once, with all the classes
/// that it comes after.
///
/// `lock_order!(A => existing C)` adds to an existing class: one of this crate's, such as
/// [`IrpQueueLock`](crate::IrpQueueLock) or [`CancelSpinLock`](crate::CancelSpinLock), or one of the driver's.
///
/// A cycle of classes does not compile.
#[macro_export]
macro_rules! lock_order {
    ($($held:ty),+ => existing $class:ty) => {
        $(
            // A function, not `assert!`: the driver may define a macro of any name, including those of the standard
            // library.
            const _: () = $crate::lock_order::require_before(
                <$held as $crate::lock_order::LockClass>::RANK,
                <$class as $crate::lock_order::LockClass>::RANK,
            );
            // SAFETY: the ranks were compared above.
            unsafe impl $crate::lock_order::LockAfter<$held> for $class {}
        )+
    };
    ($($held:ty),+ => $class:ty) => {
        // SAFETY: the rank is larger than the ranks of the classes below; the `existing` rule compares the ranks of
        // others.
        unsafe impl $crate::lock_order::LockClass for $class {
            const RANK: u32 = $crate::lock_order::rank_after(&[
                $(<$held as $crate::lock_order::LockClass>::RANK),+
            ]);
        }
        $(
            // Computes the rank, so that a cycle is found even if no lock of the class is ever acquired.
            const _: u32 = <$class as $crate::lock_order::LockClass>::RANK;
            // SAFETY: the class' rank was computed from this one's.
            unsafe impl $crate::lock_order::LockAfter<$held> for $class {}
        )+
    };
}
