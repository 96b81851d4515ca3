//! Waiting for a kernel object or for a time interval.

use core::{ffi::c_void, ptr::null_mut, time::Duration};

use crate::ke::irql::Waitable;

/// Waits until an object is signaled (`KeWaitForSingleObject`).
///
/// The wait is in kernel mode, not alertable, and has no timeout, so it returns `STATUS_SUCCESS`. Callers reuse
/// memory after the wait, so any other status stops the system.
///
/// # Safety
/// `object` is an initialised dispatcher object and stays valid until the wait ends.
pub(crate) unsafe fn for_object<L: Waitable>(object: *mut c_void, _irql: &mut L) {
    // SAFETY: guaranteed by the caller; the token says that the thread may wait.
    let status = unsafe {
        nt::KeWaitForSingleObject(
            object,
            nt::_KWAIT_REASON::Executive,
            nt::KERNEL_MODE,
            0,
            null_mut(),
        )
    };
    require_success(status);
}

/// Waits until an object is signaled, at most for a time interval, and returns whether it was signaled. Any status but
/// `STATUS_SUCCESS` and `STATUS_TIMEOUT` stops the system.
///
/// # Safety
/// As for [`for_object`].
pub(crate) unsafe fn for_object_until<L: Waitable>(
    object: *mut c_void,
    time: Duration,
    _irql: &mut L,
) -> bool {
    let mut timeout = relative(time);
    // SAFETY: guaranteed by the caller; the token says that the thread may wait.
    let status = unsafe {
        nt::KeWaitForSingleObject(
            object,
            nt::_KWAIT_REASON::Executive,
            nt::KERNEL_MODE,
            0,
            (&raw mut timeout).cast(),
        )
    };
    if status == nt::STATUS_TIMEOUT {
        return false;
    }
    require_success(status);
    true
}

/// Waits until a thread has ended (`ZwWaitForSingleObject`). Any status but `STATUS_SUCCESS` stops the system.
///
/// # Safety
/// `handle` is an open handle to a thread, with the right to wait for it.
pub(crate) unsafe fn for_thread<L: Waitable>(handle: nt::HANDLE, _irql: &mut L) {
    // SAFETY: guaranteed by the caller; the token says that the thread may wait.
    let status = unsafe { nt::ZwWaitForSingleObject(handle, 0, null_mut()) };
    require_success(status);
}

/// Waits for a time interval (`KeDelayExecutionThread`).
pub(crate) fn delay<L: Waitable>(time: Duration, _irql: &mut L) {
    let mut interval = relative(time);
    // The callers do not depend on the length of the wait, so the status does not matter.
    // SAFETY: the token says that the thread may wait; a negative interval is relative.
    let _ = unsafe { nt::KeDelayExecutionThread(nt::KERNEL_MODE, 0, &raw mut interval) };
}

/// Converts a time interval to a relative due time: negative, in units of 100 nanoseconds.
pub(crate) fn relative(time: Duration) -> i64 {
    // In 64 bits, since the compiler has a large routine for the division of 128.
    let units = time.as_secs().saturating_mul(10_000_000);
    let units = units.saturating_add(u64::from(time.subsec_nanos() / 100));
    // Half of the range, 14,000 years, so that the sum of it and the current time does not overflow in the kernel.
    -units.min(u64::MAX / 4).cast_signed()
}

fn require_success(status: i32) {
    if status != nt::STATUS_SUCCESS {
        // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
        unsafe {
            nt::KeBugCheckEx(
                nt::DRIVER_VIOLATION,
                WAIT_FAILED,
                u64::from(status.cast_unsigned()),
                0,
                0,
            )
        }
    }
}

/// The first parameter of the bug check: a wait on which memory safety depends has failed.
const WAIT_FAILED: u64 = 1;
