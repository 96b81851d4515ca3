//! What an exploration finds where no routine of the kernel stops a thread: a promise that is broken, and a hang.

use std::{ptr::null_mut, sync::Arc};

use nt::{DRIVER_OBJECT, KEVENT, NTSTATUS, STATUS_CANCELLED, UNICODE_STRING};
use ntmodel::{
    Driver, Kernel, Rule,
    explore::{Scenario, Search, explore, replay},
};

const EVERY: Search = Search::DepthFirst { most: 1_000 };

/// Waits for an event, which is set before if `SET`.
unsafe extern "C" fn waits<const SET: bool>(
    _: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let mut event = KEVENT { Header: [0; 3] };
    // SAFETY: the event is this function's.
    unsafe { nt::KeInitializeEvent(&raw mut event, 0, 0) };
    if SET {
        // SAFETY: the event is initialised.
        unsafe { nt::KeSetEvent(&raw mut event, 0, 0) };
    }
    // SAFETY: as above.
    unsafe { nt::KeWaitForSingleObject((&raw mut event).cast(), 0, 0, 0, null_mut()) };
    STATUS_CANCELLED
}

fn loads<const SET: bool>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point takes nothing from its arguments.
    let loaded = unsafe { Driver::load(kernel, waits::<SET>) };
    assert_eq!(loaded.err(), Some(STATUS_CANCELLED));
}

fn promises<const HOLDS: bool>(kernel: &Arc<Kernel>) {
    let theirs = Arc::clone(kernel);
    let actor = kernel.actor("actor", move || {
        theirs.must(HOLDS, || "this holds".into());
    });
    actor.join();
}

/// Checks that a scenario is found to break a rule, and again by its schedule, and that another one is not.
fn finds(rule: Rule, faulty: Scenario, twin: Scenario) {
    let found = explore(EVERY, faulty).expect_err("a rule is broken");
    assert_eq!(found.violation.rule, rule, "{found}");
    let again = replay(&found.schedule, faulty).expect_err("a rule is broken");
    assert_eq!(again.violation.rule, rule, "{again}");
    let explored = explore(EVERY, twin).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete);
}

#[test]
fn a_wait_for_what_nobody_does_is_a_hang() {
    finds(Rule::Hang, loads::<false>, loads::<true>);
}

#[test]
fn a_broken_promise_is_found() {
    finds(Rule::Promise, promises::<false>, promises::<true>);
}
