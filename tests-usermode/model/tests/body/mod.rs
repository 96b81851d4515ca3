//! A `DriverEntry` on raw `nt` that breaks a rule. The thread that runs it stops there for good, and the test goes on.

// Not every test uses all of it.
#![allow(dead_code)]

use std::{
    cell::Cell,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nt::{DRIVER_OBJECT, UNICODE_STRING};
use ntmodel::{Config, Driver, Kernel, OnViolation, Rule, Violation};

thread_local! {
    static BODY: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// A `DriverEntry` that does its one thing and fails.
unsafe extern "C" fn entry(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> i32 {
    BODY.take().expect("something to do")();
    nt::STATUS_CANCELLED
}

/// Runs a body as a driver's code.
pub fn run(kernel: &Arc<Kernel>, body: fn()) {
    BODY.set(Some(body));
    // SAFETY: the entry point takes nothing from its arguments.
    let loaded = unsafe { Driver::load(kernel, entry) };
    assert_eq!(loaded.err(), Some(nt::STATUS_CANCELLED));
}

/// Runs a body as a driver's code; gives what it was stopped for.
pub fn found(body: fn()) -> Violation {
    let kernel = Kernel::new(Config {
        on_violation: OnViolation::Halt,
        locations: true,
        ..Config::default()
    });
    let driver = Arc::clone(&kernel);
    let running = thread::spawn(move || run(&driver, body));
    let start = Instant::now();
    loop {
        if let Some(violation) = kernel.violation() {
            return violation.clone();
        }
        assert!(!running.is_finished(), "no rule was broken");
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "nothing was found"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// Checks what a body is stopped for: the rule, the code and its first parameter, the routine, and a line of the test's.
#[track_caller]
pub fn stops(body: fn(), rule: Rule, code: u32, first: u64, routine: &str) -> Violation {
    let violation = found(body);
    let seen = (
        violation.rule,
        violation.code,
        violation.parameters[0],
        violation.routine,
    );
    assert_eq!(seen, (rule, code, first, routine), "\n{violation}");
    let caller = violation.callers.first().map_or("", String::as_str);
    assert!(caller.contains("model/tests/"), "\n{violation}");
    violation
}
