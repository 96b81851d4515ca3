//! The macro with which the tests' drivers call the kernel.

/// Calls a routine of `nt`. In a report, the caller is the line that contains the macro.
#[collapse_debuginfo(yes)]
macro_rules! nt {
    ($($routine:ident)::+($($argument:expr),* $(,)?)) => {
        // SAFETY: the objects are the test's or the model's, and the model keeps their memory. It checks the other
        // obligations of the caller, and stops at the first that a test breaks.
        unsafe { nt::$($routine)::+($($argument),*) }
    };
}
