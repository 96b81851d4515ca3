//! A device that is stopped.

use interlock_abi::{Pend, RunState, queue};

use super::complete::complete_tag;
use super::session::{
    Session, Tally, end_of, expect_end_without_data, expect_order, expect_pending, send,
};
use super::{Context, Scenario, Verdict, ensure, scenario};
use crate::status::Status;
use crate::target::{Device, fifo};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "run_state::stopped",
        "a stopped device takes no request, and that is counted nowhere; what pends goes on",
        &[],
        stopped,
    ),
    scenario(
        "run_state::old_state",
        "setting the run state tells what it was, whether or not that is another",
        &[],
        old_state,
    ),
];

/// Sets the run state, which must have been another or the same as said.
fn set(device: &Device, state: u32, old: u32) -> Verdict {
    let was = device.set_run_state(state)?;
    ensure(was == old, || {
        format!("the run state was {old}, but it is said to have been {was}")
    })
}

/// One request waits and another is served while the device stops and runs again.
fn stopped(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let on = |queue, tag| Pend { queue, ..fifo(tag) };
    let serial = Pend {
        service_ms: 100,
        ..on(queue::SERIAL, 2)
    };
    let requests = send(&session.device, &[fifo(1), serial])?;
    set(&session.device, RunState::STOPPED, RunState::RUNNING)?;
    let all = [
        queue::FIFO,
        queue::KEYED,
        queue::SERIAL,
        queue::INTERLOCKED,
        queue::STACK,
    ];
    for queue in all {
        let refused = session.device.pend_on(on(queue, 3))?;
        let end = end_of(3, &refused)?;
        expect_end_without_data(3, &end, &[Status::DEVICE_NOT_READY])?;
    }
    expect_order(serial, &requests[1].1, session.before.completed + 1)?;
    expect_pending(1, &requests[0].1)?;
    complete_tag(&session.device, 1)?;
    expect_order(fifo(1), &requests[0].1, session.before.completed + 2)?;
    set(&session.device, RunState::RUNNING, RunState::STOPPED)?;
    let again = session.pend([4])?;
    complete_tag(&session.device, 4)?;
    expect_order(fifo(4), &again[0].1, session.before.completed + 3)?;
    session.settle(Tally {
        completed: 3,
        ..Tally::default()
    })
}

/// Each state after each.
fn old_state(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let states = [
        RunState::RUNNING,
        RunState::RUNNING,
        RunState::STOPPED,
        RunState::STOPPED,
        RunState::RUNNING,
    ];
    for pair in states.windows(2) {
        set(&session.device, pair[1], pair[0])?;
    }
    session.settle(Tally::default())
}
