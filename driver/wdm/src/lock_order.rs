//! Lock order as a type: which spin lock may be taken while which other is held.
//!
//! Two processors that take the same two locks in different orders wait for each other for ever. So each
//! [`SpinLock`](crate::SpinLock) has a class, and a class comes after one other class, or after
//! [`Unlocked`]. A lock is taken only while the innermost lock held is of a class that comes before its own,
//! directly or over others; anything else does not compile. Since each class has one place, all of them
//! form a tree, and no two can come after each other.
//!
//! A lock without a class of its own is [`Alone`]: it is taken with no other lock held, and no other is
//! taken under it. Most locks are, and should be.
//!
//! # Examples
//!
//! ```
//! use wdm::{PassiveLevel, SpinLock, lock_order};
//!
//! struct Device;
//! struct Channel;
//! lock_order!(Unlocked => Device);
//! lock_order!(Device => Channel);
//!
//! fn open(device: &SpinLock<u32, Device>, channel: &SpinLock<u32, Channel>, irql: &mut PassiveLevel) {
//!     device.with(irql, |open, held| {
//!         *open += 1;
//!         *channel.lock_at_dpc(held) = *open;
//!     });
//! }
//! ```
//!
//! WDK: "Preventing Errors and Deadlocks While Using Spin Locks".

/// A class of locks that may be taken while the innermost lock held is of the class `Held`.
///
/// [`lock_order!`](crate::lock_order!) implements it, for the class that comes directly before and for all
/// those before that one. Who implements it by hand answers for the order.
#[diagnostic::on_unimplemented(
    message = "a lock of class `{Self}` must not be taken while a lock of class `{Held}` is held",
    note = "`lock_order!` says which class comes after which; a lock without a class is `Alone`"
)]
pub trait LockAfter<Held> {}

/// The class that stands for no lock held at all.
pub struct Unlocked;

/// The class of locks that are taken alone: with no other held, and with no other taken under them.
pub struct Alone;

crate::lock_order!(Unlocked => Alone);

/// Says that locks of one class are taken after those of another; see [`lock_order`](mod@crate::lock_order).
///
/// The class on the left is [`Unlocked`], [`CancelSpinLock`](crate::CancelSpinLock), by just these names, or one
/// of the same crate. A class is named on the right once; to name it again, or to name classes in a circle,
/// does not compile.
#[macro_export]
macro_rules! lock_order {
    (Unlocked => $class:ty) => {
        impl $crate::lock_order::LockAfter<$crate::lock_order::Unlocked> for $class {}
    };
    (CancelSpinLock => $class:ty) => {
        $crate::lock_order!(Unlocked => $class);
        impl $crate::lock_order::LockAfter<$crate::CancelSpinLock> for $class {}
    };
    ($before:ty => $class:ty) => {
        impl $crate::lock_order::LockAfter<$before> for $class {}
        // Whatever comes before the one that comes before. Were that the class itself, the two
        // implementations would be in conflict.
        impl<Held> $crate::lock_order::LockAfter<Held> for $class where
            $before: $crate::lock_order::LockAfter<Held>
        {
        }
    };
}
