//! Interlocked variables: the intrinsics, and the routines that use a spin lock.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicI32, AtomicI64, Ordering},
};

use nt::interlocked::{
    InterlockedAnd, InterlockedAnd64, InterlockedCompareExchange, InterlockedCompareExchange64,
    InterlockedDecrement, InterlockedDecrement64, InterlockedExchange, InterlockedExchange64,
    InterlockedExchangeAdd, InterlockedExchangeAdd64, InterlockedIncrement, InterlockedIncrement64,
    InterlockedOr, InterlockedOr64, InterlockedXor, InterlockedXor64,
};
use pinned_init::{PinInit, pin_data, pin_init};

use crate::ke::spin_lock::RawSpinLock;

macro_rules! interlocked {
    ($(#[$doc:meta])* $name:ident, $atomic:ty, $number:ty, $increment:ident, $decrement:ident,
     $exchange:ident, $exchange_add:ident, $compare_exchange:ident, $and:ident, $or:ident, $xor:ident) => {
        $(#[$doc])*
        pub struct $name($atomic);

        impl $name {
            /// Makes a variable with an initial value.
            ///
            /// # IRQL
            /// Any.
            #[must_use]
            pub const fn new(value: $number) -> Self {
                Self(<$atomic>::new(value))
            }

            /// Adds one and returns the new value (`InterlockedIncrement`). It wraps.
            ///
            /// WDK: [InterlockedIncrement](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedincrement).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedIncrement")]
            pub fn increment(&self) -> $number {
                $increment(&self.0)
            }

            /// Subtracts one and returns the new value (`InterlockedDecrement`). It wraps.
            ///
            /// WDK: [InterlockedDecrement](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockeddecrement).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedDecrement")]
            pub fn decrement(&self) -> $number {
                $decrement(&self.0)
            }

            /// Stores a value and returns the old one (`InterlockedExchange`).
            ///
            /// WDK: [InterlockedExchange](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedexchange).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedExchange")]
            pub fn exchange(&self, value: $number) -> $number {
                $exchange(&self.0, value)
            }

            /// Adds a number and returns the old value (`InterlockedExchangeAdd`). It wraps.
            ///
            /// WDK: [InterlockedExchangeAdd](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedexchangeadd).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedExchangeAdd")]
            pub fn exchange_add(&self, number: $number) -> $number {
                $exchange_add(&self.0, number)
            }

            /// Stores a value if the variable equals `comparand`, and returns the old value
            /// (`InterlockedCompareExchange`).
            ///
            /// WDK: [InterlockedCompareExchange](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedcompareexchange).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedCompareExchange")]
            pub fn compare_exchange(&self, value: $number, comparand: $number) -> $number {
                $compare_exchange(&self.0, value, comparand)
            }

            /// Clears the bits that are not set in a mask, and returns the old value (`InterlockedAnd`).
            ///
            /// WDK: [InterlockedAnd](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedand).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedAnd")]
            pub fn and(&self, mask: $number) -> $number {
                $and(&self.0, mask)
            }

            /// Sets the bits of a mask and returns the old value (`InterlockedOr`).
            ///
            /// WDK: [InterlockedOr](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedor).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedOr")]
            pub fn or(&self, mask: $number) -> $number {
                $or(&self.0, mask)
            }

            /// Inverts the bits of a mask and returns the old value (`InterlockedXor`).
            ///
            /// WDK: [InterlockedXor](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-interlockedxor).
            ///
            /// # IRQL
            /// Any.
            #[doc(alias = "InterlockedXor")]
            pub fn xor(&self, mask: $number) -> $number {
                $xor(&self.0, mask)
            }

            /// Returns the current value.
            ///
            /// # IRQL
            /// Any.
            #[must_use]
            pub fn read(&self) -> $number {
                nt::atomic::observed(&self.0).load(Ordering::SeqCst)
            }
        }
    };
}

interlocked!(
    /// A `LONG` that only the Interlocked routines change, each of which is sequentially consistent.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::InterlockedLong;
    ///
    /// static OUTSTANDING: InterlockedLong = InterlockedLong::new(0);
    ///
    /// assert_eq!(OUTSTANDING.increment(), 1);
    /// assert_eq!(OUTSTANDING.exchange(7), 1);
    /// assert_eq!(OUTSTANDING.decrement(), 6);
    /// assert_eq!(OUTSTANDING.and(0b100), 6);
    /// assert_eq!(OUTSTANDING.or(0b001), 0b100);
    /// assert_eq!(OUTSTANDING.xor(0b111), 0b101);
    /// assert_eq!(OUTSTANDING.read(), 0b010);
    /// ```
    ///
    /// # What goes wrong in C
    ///
    /// A driver also reads and writes the variable directly, so the accesses are not interlocked. Here direct
    /// access is not possible.
    #[doc(alias = "LONG")]
    InterlockedLong,
    AtomicI32,
    i32,
    InterlockedIncrement,
    InterlockedDecrement,
    InterlockedExchange,
    InterlockedExchangeAdd,
    InterlockedCompareExchange,
    InterlockedAnd,
    InterlockedOr,
    InterlockedXor
);

interlocked!(
    /// A `LONG64` that only the Interlocked routines change; a 64-bit [`InterlockedLong`].
    #[doc(alias = "InterlockedIncrement64")]
    #[doc(alias = "InterlockedDecrement64")]
    #[doc(alias = "InterlockedExchange64")]
    #[doc(alias = "InterlockedExchangeAdd64")]
    #[doc(alias = "InterlockedCompareExchange64")]
    InterlockedLong64,
    AtomicI64,
    i64,
    InterlockedIncrement64,
    InterlockedDecrement64,
    InterlockedExchange64,
    InterlockedExchangeAdd64,
    InterlockedCompareExchange64,
    InterlockedAnd64,
    InterlockedOr64,
    InterlockedXor64
);

/// A `ULONG` with its own spin lock, to which numbers are added (`ExInterlockedAddUlong`).
///
/// WDK: [ExInterlockedAddUlong](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedaddulong).
///
/// # Examples
///
/// ```
/// use wdm::ExInterlockedUlong;
///
/// fn next_sequence_number(sequence: &ExInterlockedUlong) -> u32 {
///     sequence.add(1)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver also acquires the lock with `KeAcquireSpinLock`, which deadlocks, since the routine disables interrupts
/// and can be called at any IRQL; or writes the variable without the lock. Here nothing else uses the lock.
#[doc(alias = "ULONG")]
#[doc(alias = "ExInterlockedAddUlong")]
#[pin_data]
pub struct ExInterlockedUlong {
    #[pin]
    lock: RawSpinLock,
    value: UnsafeCell<u32>,
}

// SAFETY: only the routine accesses the value, under the lock.
unsafe impl Sync for ExInterlockedUlong {}

impl ExInterlockedUlong {
    /// Makes a variable with an initial value, and its lock (`KeInitializeSpinLock`).
    ///
    /// WDK: [KeInitializeSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializespinlock).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInitializeSpinLock")]
    pub fn new(value: u32) -> impl PinInit<Self> {
        pin_init!(Self { lock <- RawSpinLock::new(), value: UnsafeCell::new(value) })
    }

    /// Adds a number and returns the original value (`ExInterlockedAddUlong`). It wraps.
    ///
    /// WDK: [ExInterlockedAddUlong](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedaddulong).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedAddUlong")]
    pub fn add(&self, number: u32) -> u32 {
        // SAFETY: both were initialised in place, the lock is used for this variable only, and no other code
        // accesses either.
        unsafe { nt::ExInterlockedAddUlong(self.value.get(), number, self.lock.raw()) }
    }
}

/// A `LARGE_INTEGER` with its own spin lock, to which numbers are added (`ExInterlockedAddLargeInteger`).
///
/// A signed, 64-bit [`ExInterlockedUlong`].
///
/// WDK: [ExInterlockedAddLargeInteger](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedaddlargeinteger).
///
/// # Examples
///
/// ```
/// use wdm::ExInterlockedLargeInteger;
///
/// fn account(total: &ExInterlockedLargeInteger, microseconds: i64) {
///     total.add(microseconds);
/// }
/// ```
#[doc(alias = "LARGE_INTEGER")]
#[doc(alias = "ExInterlockedAddLargeInteger")]
#[pin_data]
pub struct ExInterlockedLargeInteger {
    #[pin]
    lock: RawSpinLock,
    value: UnsafeCell<i64>,
}

// SAFETY: only the routine accesses the value, under the lock.
unsafe impl Sync for ExInterlockedLargeInteger {}

impl ExInterlockedLargeInteger {
    /// Makes a variable with an initial value, and its lock (`KeInitializeSpinLock`).
    ///
    /// WDK: [KeInitializeSpinLock](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializespinlock).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInitializeSpinLock")]
    pub fn new(value: i64) -> impl PinInit<Self> {
        pin_init!(Self { lock <- RawSpinLock::new(), value: UnsafeCell::new(value) })
    }

    /// Adds a number and returns the original value (`ExInterlockedAddLargeInteger`). It wraps.
    ///
    /// WDK: [ExInterlockedAddLargeInteger](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedaddlargeinteger).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "ExInterlockedAddLargeInteger")]
    pub fn add(&self, number: i64) -> i64 {
        // SAFETY: both were initialised in place, the lock is used for this variable only, and no other code
        // accesses either.
        unsafe { nt::ExInterlockedAddLargeInteger(self.value.get(), number, self.lock.raw()) }
    }
}
