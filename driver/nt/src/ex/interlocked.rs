//! The Interlocked intrinsics, and `YieldProcessor`.
//!
//! Each is one sequentially consistent atomic operation: all threads observe such operations, and reads of the same kind, in one order. On
//! x64 each is also a full memory barrier, as on Windows; on ARM64 it does not order later plain accesses of other variables.

#![warn(missing_docs)]

use core::{
    ptr::{from_ref, null},
    sync::atomic::{AtomicI32, AtomicI64, AtomicPtr, Ordering::SeqCst},
};

use crate::model::{Inline, before};

/// Runs an operation on a variable. On a host, another thread can run before and after it.
#[inline]
fn step<A, R>(variable: &A, operation: impl FnOnce() -> R) -> R {
    let address = from_ref(variable).cast();
    before(Inline::Interlocked, address);
    let result = operation();
    before(Inline::AfterInterlocked, address);
    result
}

macro_rules! intrinsics {
    ($atomic:ty, $number:ty, $increment:ident, $decrement:ident, $exchange:ident, $exchange_add:ident,
     $compare_exchange:ident, $and:ident, $or:ident, $xor:ident) => {
        /// Adds one and returns the new value. It wraps.
        pub fn $increment(variable: &$atomic) -> $number {
            step(variable, || variable.fetch_add(1, SeqCst).wrapping_add(1))
        }

        /// Subtracts one and returns the new value. It wraps.
        pub fn $decrement(variable: &$atomic) -> $number {
            step(variable, || variable.fetch_sub(1, SeqCst).wrapping_sub(1))
        }

        /// Stores a value and returns the old one.
        pub fn $exchange(variable: &$atomic, value: $number) -> $number {
            step(variable, || variable.swap(value, SeqCst))
        }

        /// Adds a number and returns the old value. It wraps.
        pub fn $exchange_add(variable: &$atomic, number: $number) -> $number {
            step(variable, || variable.fetch_add(number, SeqCst))
        }

        /// Stores a value if the variable equals `comparand`, and returns the old value.
        pub fn $compare_exchange(
            variable: &$atomic,
            value: $number,
            comparand: $number,
        ) -> $number {
            step(variable, || {
                match variable.compare_exchange(comparand, value, SeqCst, SeqCst) {
                    Ok(old) | Err(old) => old,
                }
            })
        }

        /// Clears the bits that are not set in a mask, and returns the old value.
        pub fn $and(variable: &$atomic, mask: $number) -> $number {
            step(variable, || variable.fetch_and(mask, SeqCst))
        }

        /// Sets the bits of a mask and returns the old value.
        pub fn $or(variable: &$atomic, mask: $number) -> $number {
            step(variable, || variable.fetch_or(mask, SeqCst))
        }

        /// Inverts the bits of a mask and returns the old value.
        pub fn $xor(variable: &$atomic, mask: $number) -> $number {
            step(variable, || variable.fetch_xor(mask, SeqCst))
        }
    };
}

intrinsics!(
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

intrinsics!(
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

/// Stores a pointer and returns the old one.
pub fn InterlockedExchangePointer<T>(variable: &AtomicPtr<T>, value: *mut T) -> *mut T {
    step(variable, || variable.swap(value, SeqCst))
}

/// Stores a pointer if the variable equals `comparand`, and returns the old one.
pub fn InterlockedCompareExchangePointer<T>(
    variable: &AtomicPtr<T>,
    value: *mut T,
    comparand: *mut T,
) -> *mut T {
    step(variable, || {
        match variable.compare_exchange(comparand, value, SeqCst, SeqCst) {
            Ok(old) | Err(old) => old,
        }
    })
}

/// Tells the processor that the thread is in a spin-wait loop.
pub fn YieldProcessor() {
    before(Inline::YieldProcessor, null());
    core::hint::spin_loop();
}
