//! Requests whose handle, process or device goes away.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use interlock_abi::{Counters, Routine};

use super::cancel::cancel_found;
use super::complete::expect_in_order;
use super::session::{
    Session, Tally, end_of, expect_cancelled, expect_end_without_data, expect_pending, pend,
};
use super::{Context, Halt, Scenario, Verdict, ensure, eventually, scenario};
use crate::commands::hold;
use crate::status::Status;
use crate::target::{self, DEADLINE, Device, TakenAway};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "teardown::close_handle",
        "closing a handle with 1,000 requests pending cancels them all, and no other handle's",
        &[Routine::IoSetCancelRoutine],
        close_handle,
    ),
    scenario(
        "teardown::kill_process",
        "killing a process with 1,000 requests pending cancels them all",
        &[Routine::IoSetCancelRoutine],
        kill_process,
    ),
    scenario(
        "teardown::remove_device",
        "removing the device with requests pending ends each with the status for that, losing none",
        &[Routine::IoSetCancelRoutine],
        remove_device,
    ),
];

/// How many requests are pending when their handle or process goes away.
const MANY: u32 = 1000;

/// One handle of two is closed.
fn close_handle(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let kept = session.pend(0..10)?;
    let doomed = Device::open()?;
    let requests = pend(&doomed, 1000..1000 + u64::from(MANY))?;
    doomed.close();
    for (tag, request) in &requests {
        expect_cancelled(*tag, request)?;
    }
    for (tag, request) in &kept {
        expect_pending(*tag, request)?;
    }
    let completed = session.device.complete_oldest(u32::MAX)?;
    ensure(completed == 10, || {
        format!("{completed} requests pended, not 10")
    })?;
    expect_in_order(&kept, session.before.completed)?;
    session.settle(Tally {
        completed: 10,
        cancelled: u64::from(MANY),
        ..Tally::default()
    })
}

/// This program runs a second time, pends requests, and is killed.
fn kill_process(_: &Context) -> Verdict {
    if let Some(reason) = target::lacks_processes() {
        return Err(Halt::Ignored(reason.into()));
    }
    let session = Session::begin()?;
    let mut victim = Victim::start(MANY)?;
    victim.wait_until_ready()?;
    let pending = session.device.counters()?.pending;
    ensure(pending == u64::from(MANY), || {
        format!("{pending} requests of the other process pend, not {MANY}")
    })?;
    victim.kill()?;
    eventually(
        DEADLINE,
        || "requests of a killed process still pend".into(),
        || Ok(session.device.counters()?.pending == 0),
    )?;
    session.settle(Tally {
        cancelled: u64::from(MANY),
        ..Tally::default()
    })
}

/// The device goes away under two handles. What it had counted goes with it, so the requests
/// themselves have to tell that none was lost; the device that comes back has counted nothing.
fn remove_device(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let other = Device::open()?;
    let mut requests = session.pend(0..50)?;
    requests.append(&mut pend(&other, 50..100)?);
    let gone = match target::take_away()? {
        TakenAway::Gone(gone) => gone,
        TakenAway::Refused(reason) => {
            for (tag, request) in &requests {
                expect_pending(*tag, request)?;
                cancel_found(*tag, request)?;
                expect_cancelled(*tag, request)?;
            }
            session.settle(Tally {
                cancelled: 100,
                ..Tally::default()
            })?;
            return Err(Halt::Ignored(reason));
        }
    };
    let verdict = requests.iter().try_for_each(|(tag, request)| {
        let end = end_of(*tag, request)?;
        let allowed = [Status::DELETE_PENDING, Status::NO_SUCH_DEVICE];
        expect_end_without_data(*tag, &end, &allowed)
    });
    // Whatever came of it, the scenarios that follow need the device.
    drop(requests);
    session.device.close();
    other.close();
    target::bring_back(&gone)?;
    verdict?;
    let counters = Device::open()?.counters()?;
    ensure(counters == Counters::default(), || {
        format!("the device that came back has counted {counters:?}")
    })
}

/// A second run of this program that pends requests. It is killed at the latest when this is dropped.
struct Victim(Child);

impl Victim {
    fn start(count: u32) -> Verdict<Self> {
        let failed = |error| Halt::Failed(format!("this program cannot be run again: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .args(["hold", "--count", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        child.map(Self).map_err(failed)
    }

    /// Waits for the line that it prints when all its requests pend.
    fn wait_until_ready(&mut self) -> Verdict {
        let stdout = self.0.stdout.take();
        let stdout = stdout.ok_or_else(|| Halt::Failed("the process has no output".into()))?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // A failure to read is an empty line, which is not the right one.
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(DEADLINE).unwrap_or_default();
        ensure(line.trim_end() == hold::READY, || {
            format!("the process that pends requests is not ready; it says {line:?}")
        })
    }

    fn kill(&mut self) -> Verdict {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map_err(|error| Halt::Failed(format!("the process is not killed: {error}")))?;
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already, which is what is wanted.
        let _ = self.kill();
    }
}
