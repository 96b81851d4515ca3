//! The driver's messages to the kernel debugger.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgprint)

use std::ffi::c_char;

use crate::{
    format::Line,
    host::{
        Call, Kernel,
        footprint::{self, Access},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

impl Call {
    /// Prints arguments by a format. The routine can read more arguments than its caller has passed, which are then other values on
    /// the caller's stack.
    fn debug_print(&self, format: *const c_char, arguments: [u64; 8]) -> u32 {
        let mut line = Line::default();
        // SAFETY: the arguments are those of the format, which ends with a zero byte.
        unsafe { line.format(format, &arguments) };
        let irql = self.irql();
        self.require(!line.is_wide || irql == 0, Rule::Irql, || {
            format!(
                "a format with UTF-16 units, such as %ws or %wZ, is printed at IRQL {irql}, and may be at PASSIVE_LEVEL only"
            )
        });
        self.kernel.print(line.end().to_string_lossy().into_owned());
        0
    }
}

#[expect(
    clippy::many_single_char_names,
    reason = "they are the arguments of a format, which have no names"
)]
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn DbgPrint(
    format: *const c_char,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
) -> u32 {
    Call::enter_noted("DbgPrint").debug_print(format, [a, b, c, d, e, f, g, h])
}

#[expect(
    clippy::many_single_char_names,
    reason = "they are the arguments of a format, which have no names"
)]
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn DbgPrintEx(
    _component: u32,
    _level: u32,
    format: *const c_char,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
) -> u32 {
    Call::enter_noted("DbgPrintEx").debug_print(format, [a, b, c, d, e, f, g, h])
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
