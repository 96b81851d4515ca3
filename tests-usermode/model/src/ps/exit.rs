//! The end of a thread in the middle of its routine: the frames of the driver are left as they are, as on Windows.

use std::{arch::naked_asm, ffi::c_void};

/// Calls a function. It returns, or the thread leaves it by [`leave`], for which `place` is filled in.
///
/// # Safety
/// The function can be called with the context, and `place` is valid for writes.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn call(
    place: *mut usize,
    function: unsafe extern "sysv64" fn(*mut c_void),
    context: *mut c_void,
) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdi], rsp",
        "mov rdi, rdx",
        "call rsi",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Returns from [`call`] in place of the function that it has called.
///
/// # Safety
/// `place` is that of a call of this thread that has not returned. Nothing is needed of the frames that are left: no value in them is
/// borrowed or has to be dropped.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn leave(place: usize) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}
