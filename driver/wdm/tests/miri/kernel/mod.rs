//! A small NT kernel in Rust that Miri can interpret: each thread is a processor.
//!
//! It follows the WDK's documentation of each routine. It does not schedule: the threads of a test run at the same
//! time, in an order that Miri chooses.

mod device_queue;
mod dpc;
mod ex;
pub mod io;
mod irp;
pub mod irql;
mod lookaside;
mod own_irp;
mod rundown;
mod wait;

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

pub use dpc::expire_timers;

/// Defines routines of NT, each with the signature that `nt` declares.
macro_rules! routines {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
        $(
            $(#[$attribute])*
            // SAFETY: no other function of this program has the name.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? $body

            const _: unsafe extern "C" fn($($type),*) $(-> $result)? = nt::$name;
        )*
    };
}
pub(crate) use routines;

/// Locks a mutex, even if it is poisoned by a failed test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pointer that can be sent to another thread.
struct Sent<T>(*mut T);

// SAFETY: the code that uses the pointer justifies that the thread may dereference it.
unsafe impl<T> Send for Sent<T> {}

impl<T> Sent<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// The number of device objects, IRPs, file objects, work items and names that exist.
static OBJECTS: AtomicUsize = AtomicUsize::new(0);

/// Allocates an object, which is counted until [`free`] frees it.
fn make<T>(value: T) -> *mut T {
    OBJECTS.fetch_add(1, Ordering::Relaxed);
    Box::into_raw(Box::new(value))
}

/// Frees an object.
///
/// # Safety
/// `object` is from [`make`], and is no longer used.
unsafe fn free<T>(object: *mut T) {
    OBJECTS.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: guaranteed by the caller.
    drop(unsafe { Box::from_raw(object) });
}

/// The kernel; one test at a time has it.
pub struct Kernel(#[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

impl Kernel {
    /// Starts the kernel, after the other tests have released it.
    pub fn start() -> Self {
        static RUNNING: Mutex<()> = Mutex::new(());
        Self(lock(&RUNNING))
    }
}

impl Drop for Kernel {
    /// Waits for the worker threads, then checks that no object is left.
    fn drop(&mut self) {
        wait::join_workers();
        if !std::thread::panicking() {
            assert_eq!(OBJECTS.load(Ordering::Relaxed), 0, "objects were not freed");
            assert!(dpc::is_idle(), "a DPC is queued or a timer set");
        }
    }
}

routines! {
    fn KeBugCheckEx(code: u32, first: u64, second: u64, third: u64, fourth: u64) -> ! {
        panic!("bug check {code:#x} ({first:#x}, {second:#x}, {third:#x}, {fourth:#x})");
    }

    fn KeQueryPerformanceCounter(frequency: *mut i64) -> i64 {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        if !frequency.is_null() {
            // SAFETY: the caller passes valid memory for a number, or NULL.
            unsafe { frequency.write(10_000_000) };
        }
        i64::try_from(NOW.fetch_add(1, Ordering::Relaxed)).unwrap_or(i64::MAX)
    }
}

/// Only nightly compilers can define a variadic function. Only Miri, which is nightly, requires that this one is
/// variadic.
#[cfg(miri)]
// SAFETY: no other function of this program has the name.
#[unsafe(no_mangle)]
unsafe extern "C" fn DbgPrintEx(_: u32, _: u32, _: *const core::ffi::c_char, _: ...) -> u32 {
    0
}

/// For other compilers: with the one further argument that this program passes.
#[cfg(not(miri))]
// SAFETY: no other function of this program has the name.
#[unsafe(no_mangle)]
extern "C" fn DbgPrintEx(_: u32, _: u32, _: *const core::ffi::c_char, _: *const u8) -> u32 {
    0
}
