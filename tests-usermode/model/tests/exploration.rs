//! An exploration finds violations that no routine of the kernel detects: a false assertion, and a hang.

#[macro_use]
mod call;

use std::sync::Arc;

use call::wait;
use nt::{DRIVER_OBJECT, KEVENT, NTSTATUS, STATUS_CANCELLED, UNICODE_STRING};
use ntmodel::{
    Driver, Kernel, Rule,
    explore::{Misfit, Scenario, Schedule, Search, explore, replay},
};

const EVERY: Search = Search::every(1_000);

/// Waits for an event, which is set before if `SET`.
unsafe extern "C" fn waits<const SET: bool>(
    _: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let mut event = KEVENT { Header: [0; 3] };
    nt!(KeInitializeEvent(&raw mut event, 0, 0));
    if SET {
        nt!(KeSetEvent(&raw mut event, 0, 0));
    }
    wait(&raw mut event);
    STATUS_CANCELLED
}

fn loads<const SET: bool>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point takes nothing from its arguments.
    let loaded = unsafe { Driver::load(kernel, waits::<SET>) };
    assert_eq!(loaded.err(), Some(STATUS_CANCELLED));
}

fn promises<const HOLDS: bool>(kernel: &Arc<Kernel>) {
    let kernel_clone = Arc::clone(kernel);
    let actor = kernel.actor("actor", move || {
        kernel_clone.verify(HOLDS, || "this holds".into());
    });
    actor.join();
}

/// Checks that a scenario breaks a rule, again when its schedule is replayed, and that another scenario breaks none.
fn finds(rule: Rule, faulty: Scenario, twin: Scenario) {
    let found = explore(EVERY, faulty).expect_err("a rule is broken");
    assert_eq!(found.violation.rule, rule, "{found}");
    let again = replay(&found.schedule, faulty).expect("the schedule fits");
    let again = again.expect("a rule is broken");
    assert_eq!(again.violation.rule, rule, "{again}");
    let explored = explore(EVERY, twin).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete);
}

#[test]
fn a_wait_that_no_thread_ends_is_a_hang() {
    finds(Rule::Hang, loads::<false>, loads::<true>);
}

#[test]
fn a_broken_promise_is_found() {
    finds(Rule::Promise, promises::<false>, promises::<true>);
}

/// An assertion of the scenario itself, or of an actor that is waited for.
fn asserts<const HOLDS: bool, const IN_ACTOR: bool>(kernel: &Arc<Kernel>) {
    let actor = kernel.actor("actor", || assert!(HOLDS || !IN_ACTOR, "in the actor"));
    actor.join();
    assert!(HOLDS, "{} in the scenario", "formatted");
}

#[test]
fn an_assertion_that_fails_is_found_with_its_schedule() {
    finds(
        Rule::Promise,
        asserts::<false, false>,
        asserts::<true, false>,
    );
    finds(Rule::Promise, asserts::<false, true>, asserts::<true, true>);
    let found = explore(EVERY, asserts::<false, false>).expect_err("it fails");
    let report = found.to_string();
    assert!(report.contains("formatted in the scenario"), "{report}");
    assert!(report.contains(&found.schedule.to_string()), "{report}");
}

#[test]
fn schedule_fits_if_each_thread_can_continue_at_its_step() {
    let found = explore(EVERY, promises::<false>).expect_err("a promise is broken");
    let schedule = found.schedule.to_string();
    let play = |schedule: &str| {
        let schedule: Schedule = schedule.parse().expect("it is a schedule");
        replay(&schedule, promises::<true>).map(|found| found.is_some())
    };
    assert_eq!(play(&schedule), Ok(false));
    // The first thread that runs is the scenario itself.
    assert_eq!(play("a"), Ok(false));
    let misfit = Misfit::Thread {
        step: 1,
        thread: 1,
        runnable: vec![0],
    };
    assert_eq!(play("b"), Err(misfit));
    // It waits for its actor, so it cannot continue forever.
    let waits = play("a1000");
    assert!(
        matches!(waits, Err(Misfit::Thread { thread: 0, .. })),
        "{waits:?}"
    );
    for text in ["", "A", "3a", "a1000000000"] {
        assert!(text.parse::<Schedule>().is_err(), "{text}");
    }
}

fn does_nothing(_: &Arc<Kernel>) {}

#[test]
fn a_schedule_does_not_fit_a_scenario_that_ends_before_it() {
    let schedule: Schedule = "a1000".parse().expect("it is a schedule");
    let misfit = replay(&schedule, does_nothing).expect_err("it does not fit");
    assert!(
        matches!(misfit, Misfit::Length { schedule: 1000, scenario } if scenario < 10),
        "{misfit}"
    );
}
