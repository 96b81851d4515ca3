//! The end of a system thread in the middle of its routine (`PsTerminateSystemThread`).
//!
//! The frames of the driver are dropped, not unwound: a driver's image has no unwind tables of the host, and Windows does not
//! unwind them either.

use std::{arch::naked_asm, ffi::c_void, ptr::null_mut, sync::atomic::Ordering};

use crate::host::{driver_routine::DriverRoutine, thread};

/// The routine of a system thread and its context.
pub(crate) struct Start {
    pub(crate) routine: unsafe extern "C" fn(*mut c_void),
    pub(crate) context: *mut c_void,
}

// SAFETY: the driver passed the context for use by another thread.
unsafe impl Send for Start {}

/// Calls the routine of the current thread; returns when the routine returns, or when it ends the thread.
///
/// # Safety
/// The start is valid, and its routine may be called with its context.
pub(crate) unsafe extern "C" fn run(start: *mut Start) {
    let Some(thread) = thread::try_current() else {
        return;
    };
    // SAFETY: `call` gets the start; the field is the thread's, which only this host thread writes.
    unsafe { enter(call, start.cast(), thread.exit.as_ptr()) };
    thread.exit.store(null_mut(), Ordering::Relaxed);
}

macro_rules! with_convention {
    ($convention:literal: $enter:tt $leave:tt) => {
        unsafe extern $convention fn call(start: *mut c_void) {
            // SAFETY: `run` passes the start.
            let start = unsafe { &*start.cast::<Start>() };
            // SAFETY: guaranteed by the caller of `run`.
            unsafe { start.routine.call((start.context,)) };
        }

        /// Calls a function, and first writes where [`leave`] continues.
        #[unsafe(naked)]
        unsafe extern $convention fn enter(
            function: unsafe extern $convention fn(*mut c_void),
            argument: *mut c_void,
            exit: *mut *mut c_void,
        ) {
            naked_asm! $enter
        }

        /// Returns from the call of [`enter`] that has written `exit`.
        ///
        /// # Safety
        /// The current thread is in that call, and all frames above it are the driver's or have nothing to drop.
        #[unsafe(naked)]
        pub(crate) unsafe extern $convention fn leave(exit: *mut c_void) -> ! {
            naked_asm! $leave
        }
    };
}

// The same convention on each host.
#[cfg(target_arch = "x86_64")]
with_convention!("sysv64": (
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov [rdx], rsp",
    "mov rax, rdi",
    "mov rdi, rsi",
    "call rax",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
) (
    "mov rsp, rdi",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
));

#[cfg(target_arch = "aarch64")]
with_convention!("C": (
    "stp x29, x30, [sp, #-160]!",
    "stp x19, x20, [sp, #16]",
    "stp x21, x22, [sp, #32]",
    "stp x23, x24, [sp, #48]",
    "stp x25, x26, [sp, #64]",
    "stp x27, x28, [sp, #80]",
    "stp d8, d9, [sp, #96]",
    "stp d10, d11, [sp, #112]",
    "stp d12, d13, [sp, #128]",
    "stp d14, d15, [sp, #144]",
    "mov x9, sp",
    "str x9, [x2]",
    "mov x9, x0",
    "mov x0, x1",
    "blr x9",
    "mov x0, sp",
    "b {leave}",
    leave = sym leave,
) (
    "mov sp, x0",
    "ldp x19, x20, [sp, #16]",
    "ldp x21, x22, [sp, #32]",
    "ldp x23, x24, [sp, #48]",
    "ldp x25, x26, [sp, #64]",
    "ldp x27, x28, [sp, #80]",
    "ldp d8, d9, [sp, #96]",
    "ldp d10, d11, [sp, #112]",
    "ldp d12, d13, [sp, #128]",
    "ldp d14, d15, [sp, #144]",
    "ldp x29, x30, [sp], #160",
    "ret",
));
