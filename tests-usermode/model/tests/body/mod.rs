//! Runs a test's code as a `DriverEntry` on raw `nt`. If the code breaks a rule, its thread stops forever and the test
//! continues.

#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "../common/mod.rs"]
mod common;

use std::{cell::Cell, sync::Arc};

use nt::{DRIVER_OBJECT, UNICODE_STRING};
use ntmodel::{Config, Kernel, Rule, Violation};

thread_local! {
    static BODY: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// A `DriverEntry` that runs the body and fails.
unsafe extern "C" fn entry(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> i32 {
    BODY.take().expect("a body was set")();
    nt::STATUS_CANCELLED
}

/// Runs a body as a driver's code.
pub fn run(kernel: &Arc<Kernel>, body: fn()) {
    BODY.set(Some(body));
    common::load(kernel, entry);
}

/// Checks that a body breaks no rule.
pub fn passes(body: fn()) {
    run(&Kernel::new(Config::default()), body);
}

/// Runs a body as a driver's code; returns the violation that stops it.
pub fn found(body: fn()) -> Violation {
    common::found_in(move |kernel| run(kernel, body))
}

/// Checks the violation that stops a body: the rule, the code and its first parameter, the routine, and that the caller is
/// a line of the test.
#[track_caller]
pub fn stops(body: fn(), rule: Rule, code: u32, first: u64, routine: &str) -> Violation {
    let violation = found(body);
    common::is(&violation, rule, code, first, routine);
    let caller = violation.callers.first().map_or("", String::as_str);
    assert!(caller.contains("model/tests/"), "\n{violation}");
    violation
}
