//! A small NT kernel in plain Rust, which Miri can interpret: each thread is a processor.
//!
//! Written from the WDK's documentation of each routine. It schedules nothing itself: the threads of a test run at once,
//! and Miri decides in which order.

mod device_queue;
mod dpc;
mod ex;
pub mod io;
mod irp;
pub mod irql;
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

/// Takes a mutex, whether or not a test has failed with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pointer that another thread may have.
struct Sent<T>(*mut T);

// SAFETY: whoever takes the pointer out says why the thread may follow it.
unsafe impl<T> Send for Sent<T> {}

impl<T> Sent<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// How many device objects, IRPs, file objects, work items and names the kernel has given out.
static OBJECTS: AtomicUsize = AtomicUsize::new(0);

/// Makes something that is counted until [`free`] frees it.
fn make<T>(value: T) -> *mut T {
    OBJECTS.fetch_add(1, Ordering::Relaxed);
    Box::into_raw(Box::new(value))
}

/// Frees something.
///
/// # Safety
/// `object` is from [`make`], and used no more.
unsafe fn free<T>(object: *mut T) {
    OBJECTS.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: guaranteed by the caller.
    drop(unsafe { Box::from_raw(object) });
}

/// The kernel, of which a test has the only one.
pub struct Kernel(#[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

impl Kernel {
    /// Starts the kernel, once the other tests are done with it.
    pub fn start() -> Self {
        static RUNNING: Mutex<()> = Mutex::new(());
        Self(lock(&RUNNING))
    }
}

impl Drop for Kernel {
    /// Waits for the worker threads; nothing may be left then.
    fn drop(&mut self) {
        wait::join_workers();
        if !std::thread::panicking() {
            assert_eq!(OBJECTS.load(Ordering::Relaxed), 0, "objects are left");
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
            // SAFETY: the caller gives room for a number, or NULL.
            unsafe { frequency.write(10_000_000) };
        }
        i64::try_from(NOW.fetch_add(1, Ordering::Relaxed)).unwrap_or(i64::MAX)
    }
}

/// Compilers that can define a variadic function are nightly ones, as Miri is; and Miri alone insists on it.
#[cfg(miri)]
// SAFETY: no other function of this program has the name.
#[unsafe(no_mangle)]
unsafe extern "C" fn DbgPrintEx(_: u32, _: u32, _: *const core::ffi::c_char, _: ...) -> u32 {
    0
}

/// As it is called by this program, with one further argument.
#[cfg(not(miri))]
// SAFETY: no other function of this program has the name.
#[unsafe(no_mangle)]
extern "C" fn DbgPrintEx(_: u32, _: u32, _: *const core::ffi::c_char, _: *const u8) -> u32 {
    0
}
