//! The kernel debugger, of which the model has none: a breakpoint or a failed assertion stops the system.

use std::ffi::{c_char, c_void};

use crate::{
    host::Call,
    verifier::{BugCheck, KMODE_EXCEPTION_NOT_HANDLED, Rule},
};

/// `STATUS_BREAKPOINT`, the exception of a breakpoint.
const STATUS_BREAKPOINT: u64 = 0x8000_0003;

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
static KdDebuggerEnabled: u8 = 0;
// SAFETY: as above.
#[unsafe(no_mangle)]
static KdDebuggerNotPresent: u8 = 1;

impl Call {
    /// Stops the system, as a breakpoint does without a debugger.
    fn break_in(&self, what: impl Into<String>) -> ! {
        let bug_check = BugCheck(KMODE_EXCEPTION_NOT_HANDLED, [STATUS_BREAKPOINT, 0, 0, 0]);
        self.stop(bug_check, Rule::BugCheck, what)
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kdrefreshdebuggernotpresent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KdRefreshDebuggerNotPresent() -> u8 {
    KdDebuggerNotPresent
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgbreakpoint)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn DbgBreakPoint() {
    Call::enter("DbgBreakPoint")
        .break_in("the driver has a breakpoint, and no debugger is attached");
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgbreakpointwithstatus)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn DbgBreakPointWithStatus(status: u32) {
    let what =
        format!("the driver has a breakpoint with status {status:#x}, and no debugger is attached");
    Call::enter("DbgBreakPointWithStatus").break_in(what);
}

/// The routine of `ASSERT`, which breaks into the debugger.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-debugging-code-in-a-driver)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAssert(
    assertion: *mut c_void,
    file: *mut c_void,
    line: u32,
    message: *mut c_char,
) {
    let call = Call::enter("RtlAssert");
    let text = |place: *mut c_char| {
        (!place.is_null()).then(|| {
            // SAFETY: the caller passes NULL or text that ends with a zero.
            let byte = |index| *unsafe { call.view_new::<u8, _>(place.wrapping_add(index)) };
            let text: Vec<u8> = (0..usize::MAX)
                .map(byte)
                .take_while(|byte| *byte != 0)
                .collect();
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let [assertion, file] = [assertion, file].map(|place| text(place.cast()).unwrap_or_default());
    let message = text(message).map_or_else(String::new, |message| format!(": {message}"));
    call.break_in(format!(
        "the assertion {assertion} in {file}, line {line}, fails{message}"
    ));
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-kebugcheck)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeBugCheck(code: u32) -> ! {
    let call = Call::enter("KeBugCheck");
    let what = "the driver has stopped the system";
    call.stop(BugCheck(code, [0; 4]), Rule::BugCheck, what)
}
