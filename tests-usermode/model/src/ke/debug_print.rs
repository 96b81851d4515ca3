//! The driver's messages to the kernel debugger.

use std::ffi::{CStr, c_char};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The format that a driver on `wdm` uses: a string and a new line. Other formats are printed without their arguments.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn DbgPrintEx(
    _component: u32,
    _level: u32,
    format: *const c_char,
    argument: *const c_char,
) -> u32 {
    let call = Call::enter_noted("DbgPrintEx");
    // SAFETY: the caller gives a format that ends with a zero byte.
    let format = unsafe { CStr::from_ptr(format) };
    let text = if format == c"%s\n" {
        // SAFETY: by the format the argument is a string that ends with a zero byte.
        unsafe { CStr::from_ptr(argument) }
    } else {
        format
    };
    let line = text.to_string_lossy().into_owned();
    call.kernel.print(line);
    0
}

impl Kernel {
    /// Prints a line for the debugger.
    pub(crate) fn print(&self, line: String) {
        if self.config.print {
            eprintln!("{line}");
        }
        footprint::touch((&raw const self.messages).addr(), Access::Exclusive);
        locked(&self.messages).push(line);
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeBugCheckEx(code: u32, first: u64, second: u64, third: u64, fourth: u64) -> ! {
    let call = Call::enter("KeBugCheckEx");
    let rule = if code == 0x139 {
        Rule::ListEntry
    } else {
        Rule::BugCheck
    };
    let bug_check = BugCheck(code, [first, second, third, fourth]);
    call.stop(bug_check, rule, "the driver has stopped the system")
}
