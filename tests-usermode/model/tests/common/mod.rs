//! Drivers on raw `nt` that are only a `DriverEntry`, which creates a device object, runs the test's code, and fails.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    ptr::NonNull,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::call::create_device;
use nt::{DEVICE_OBJECT, DRIVER_OBJECT, KEVENT, NTSTATUS, STATUS_CANCELLED, UNICODE_STRING};
use ntmodel::{
    Clock, Config, Driver, DriverEntry, Kernel, OnViolation, Rule, Violation,
    explore::{Scenario, Search, explore},
};

/// The code of a violation for which Windows has no bug check.
pub const NO_CODE: u32 = 0;

pub const MILLISECOND: i64 = 10_000;

/// The code that `DriverEntry` runs with its device object: a function, whose type has no size and one value.
pub trait Body: Fn(*mut DEVICE_OBJECT) + Copy + 'static {}

impl<F: Fn(*mut DEVICE_OBJECT) + Copy + 'static> Body for F {}

unsafe extern "C" fn entry<B: Body>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    const { assert!(size_of::<B>() == 0, "the body captures a value") };
    let device = create_device(driver, 64);
    // SAFETY: `scenario` had a value of the type, which has no bytes and can be copied.
    let body = unsafe { NonNull::<B>::dangling().read() };
    body(device);
    STATUS_CANCELLED
}

/// Loads a driver whose entry point fails after it has run the test's code.
pub fn load(kernel: &Arc<Kernel>, entry: DriverEntry) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let loaded = unsafe { Driver::load(kernel, entry) };
    assert_eq!(loaded.err(), Some(STATUS_CANCELLED));
}

/// Returns the scenario that loads a driver with this code.
pub fn scenario<B: Body>(_: B) -> Scenario {
    |kernel| load(kernel, entry::<B>)
}

/// Returns the violation that stops a driver on host threads.
pub fn found(body: impl Body) -> Violation {
    found_in(scenario(body))
}

/// Returns the violation that stops a scenario on host threads.
pub fn found_in(scenario: impl FnOnce(&Arc<Kernel>) + Send + 'static) -> Violation {
    let kernel = Kernel::new(Config {
        on_violation: OnViolation::Halt,
        locations: true,
        hang_after: Duration::from_secs(2),
        ..Config::default()
    });
    let kernel_clone = Arc::clone(&kernel);
    let running = thread::spawn(move || scenario(&kernel_clone));
    let (start, mut ended) = (Instant::now(), None);
    loop {
        if let Some(violation) = kernel.violation() {
            return violation.clone();
        }
        // A thread of the system can break the rule after the scenario has ended.
        if running.is_finished() {
            let ended = *ended.get_or_insert_with(Instant::now);
            assert!(
                ended.elapsed() < Duration::from_secs(2),
                "no rule was broken"
            );
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "no rule was broken in time"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// Checks the violation that stops a driver: the rule, the code and its first parameter, and the routine.
#[track_caller]
pub fn stops(body: impl Body, rule: Rule, code: u32, first: u64, routine: &str) {
    is(&found(body), rule, code, first, routine);
}

#[track_caller]
pub fn is(violation: &Violation, rule: Rule, code: u32, first: u64, routine: &str) {
    let seen = (
        violation.rule,
        violation.code,
        violation.parameters[0],
        violation.routine,
    );
    assert_eq!(seen, (rule, code, first, routine), "\n{violation}");
}

/// Checks the violation that stops a driver in some order of its threads.
#[track_caller]
pub fn stops_in_some_order(body: impl Body, rule: Rule, code: u32, first: u64, routine: &str) {
    let search = Search::every(10_000);
    let found = explore(search, scenario(body)).expect_err("a rule is broken");
    is(&found.violation, rule, code, first, routine);
}

/// Checks that a driver breaks a rule in some order of its threads.
#[track_caller]
pub fn breaks(body: impl Body, rule: Rule) {
    let found = explore(Search::every(10_000), scenario(body)).expect_err("a rule is broken");
    assert_eq!(found.violation.rule, rule, "\n{found}");
}

/// Checks that a driver breaks no rule, under every order of its threads and every clock.
pub fn passes(body: impl Body) {
    let scenario = scenario(body);
    for clock in [Clock::Host, Clock::Virtual] {
        let kernel = Kernel::new(Config {
            clock,
            ..Config::default()
        });
        scenario(&kernel);
    }
    let search = Search::every(10_000);
    let explored = explore(search, scenario).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}

pub fn delete(device: *mut DEVICE_OBJECT) {
    nt!(IoDeleteDevice(device));
}

pub fn extension(device: *mut DEVICE_OBJECT) -> *mut u64 {
    // SAFETY: the memory of the device object is kept as long as the kernel.
    unsafe { (*device).DeviceExtension }.cast()
}

pub fn set(event: *mut KEVENT) {
    nt!(KeSetEvent(event, 0, 0));
}

pub fn delay(mut time: i64) -> NTSTATUS {
    nt!(KeDelayExecutionThread(0, 0, &raw mut time))
}

pub fn event() -> KEVENT {
    KEVENT { Header: [0; 3] }
}

pub fn initialise(event: *mut KEVENT) {
    nt!(KeInitializeEvent(event, 0, 0));
}
