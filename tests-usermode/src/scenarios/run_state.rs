//! A device that is stopped.

use interlock_abi::{Pend, RunState, queue};

use super::{Scenario, Session, Tally};
use crate::client::{fifo, on_queue};
use crate::error::{Result, ensure};
use crate::status::Status;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "run_state":
    stopped, [],
        "a stopped device refuses requests, and no counter changes; pending requests are not affected";
    old_state, [],
        "setting the run state returns the old one, whether or not it differs";
};

/// Sets the run state, and checks the old one.
fn set(session: &Session, state: u32, old: u32) -> Result {
    let returned = session.device.set_run_state(state)?;
    ensure(returned == old, || {
        format!("the old run state is {old}, but {returned} was returned")
    })
}

/// One request is pending and another is being served while the device is stopped and restarted.
fn stopped(session: &Session) -> Result<Tally> {
    let device = &session.device;
    let serial = Pend {
        service_ms: 300,
        ..on_queue(queue::SERIAL, 2)
    };
    let (waiting, served) = (device.pend(1)?, device.send(serial)?);
    set(session, RunState::STOPPED, RunState::RUNNING)?;
    for queue in queue::FIFO..=queue::STACK {
        let refused = device.send(on_queue(queue, 3))?;
        refused.expect_refused(&[Status::DEVICE_NOT_READY])?;
    }
    session.expect_nth(1, &served)?;
    waiting.expect_pending()?;
    device.expect_complete_by_tag(1, true)?;
    session.expect_nth(2, &waiting)?;
    set(session, RunState::RUNNING, RunState::STOPPED)?;
    let again = device.send(fifo(4))?;
    again.expect_pending()?;
    device.expect_complete_by_tag(4, true)?;
    session.expect_nth(3, &again)?;
    Ok(Tally::completed(3))
}

/// Sets each state after each.
fn old_state(session: &Session) -> Result<Tally> {
    const RUNNING: u32 = RunState::RUNNING;
    const STOPPED: u32 = RunState::STOPPED;
    for pair in [RUNNING, RUNNING, STOPPED, STOPPED, RUNNING].windows(2) {
        set(session, pair[1], pair[0])?;
    }
    Ok(Tally::NONE)
}
