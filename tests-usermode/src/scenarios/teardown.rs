//! Requests whose handle is closed, whose process ends, or whose device is removed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use interlock_abi::{Counters, Routine};

use super::{Context, Scenario, Session, Tally, eventually};
use crate::client::{Device, Sent, expect_all_cancelled, expect_all_pending};
use crate::commands::hold;
use crate::error::{Error, Result, ensure};
use crate::status::Status;
use crate::target::{self, DEADLINE, Removal, RemovedDevice};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "teardown":
    close_handle, [IoSetCancelRoutine],
        "closing a handle with 1,000 requests pending cancels them all, and no other handle's";
    kill_process, [IoSetCancelRoutine],
        "killing a process with 1,000 requests pending cancels them all";
};

/// The last scenario. It has no session, since the counters are lost with the device.
pub const REMOVE_DEVICE: Scenario = Scenario {
    name: "teardown::remove_device",
    summary: "removing the device with requests pending ends each of them with the status for a removal",
    routines: &[Routine::IoSetCancelRoutine],
    run: remove_device,
};

/// The number of requests that are pending when their handle is closed or their process ends.
const MANY: u32 = 1000;

/// One of two handles is closed.
fn close_handle(session: &Session) -> Result<Tally> {
    let kept = session.device.pend_all(0..10)?;
    let closed = Device::open()?;
    let cancelled = closed.pend_all(1000..1000 + u64::from(MANY))?;
    closed.close();
    expect_all_cancelled(&cancelled)?;
    expect_all_pending(&kept)?;
    session.complete_all(&kept)?;
    Ok(Tally::completed(10).cancelled(MANY.into()))
}

/// This program runs as a second process, sends requests, and is killed.
fn kill_process(session: &Session) -> Result<Tally> {
    if let Some(reason) = target::lacks_processes() {
        return Err(Error::unsupported(reason));
    }
    let mut victim = Victim::start(MANY)?;
    victim.wait_until_ready()?;
    let pending = session.device.counters()?.pending;
    ensure(pending == u64::from(MANY), || {
        format!("{pending} requests of the other process are pending, not {MANY}")
    })?;
    victim.kill()?;
    eventually("requests of a killed process are still pending", || {
        Ok(session.device.counters()?.pending == 0)
    })?;
    Ok(Tally::NONE.cancelled(MANY.into()))
}

/// The device is removed while two handles are open. The requests themselves must show that none was lost; the counters of the
/// restored device are zero. Windows vetoes that, and the requests stay pending; then the device is removed without open handles.
fn remove_device(context: &Context) -> Result {
    let session = Session::begin(context)?;
    let other = Device::open()?;
    let mut requests = session.device.pend_all(0..50)?;
    requests.append(&mut other.pend_all(50..100)?);
    let removed = match target::surprise_remove()? {
        Removal::Removed(removed) => removed,
        Removal::Vetoed(reason) => {
            expect_all_pending(&requests)?;
            requests.iter().try_for_each(Sent::expect_cancel)?;
            session.check(Tally::NONE.cancelled(100))?;
            drop(requests);
            session.device.close();
            other.close();
            return match remove_unused()? {
                Some(removed) => restore(&removed),
                None => Err(Error::unsupported(reason)),
            };
        }
    };
    let allowed = [Status::DELETE_PENDING, Status::NO_SUCH_DEVICE];
    let result = requests
        .iter()
        .try_for_each(|sent| sent.expect_refused(&allowed));
    // The scenarios that follow need the device, even if this one has failed.
    drop(requests);
    session.device.close();
    other.close();
    restore(&removed)?;
    result
}

/// Removes the device, which has no open handles. Its last handles may still be being closed, which is a veto too; `None` if the
/// system still vetoes the removal after some time.
fn remove_unused() -> Result<Option<RemovedDevice>> {
    for _ in 0..20 {
        if let Removal::Removed(removed) = target::surprise_remove()? {
            return Ok(Some(removed));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(None)
}

/// Restores a removed device, and checks that its counters are zero.
fn restore(removed: &RemovedDevice) -> Result {
    target::restore(removed)?;
    let counters = Device::open()?.counters()?;
    ensure(counters == Counters::default(), || {
        format!("the counters of the restored device are {counters:?}")
    })
}

/// A second process of this program that has requests pending. Dropping this kills it.
struct Victim(Child);

impl Victim {
    fn start(count: u32) -> Result<Self> {
        let failed = |error| {
            Error::failed(format!(
                "this program cannot be started a second time: {error}"
            ))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .args(["hold", "--count", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        child.map(Self).map_err(failed)
    }

    /// Waits for the line that the process prints when all of its requests are pending.
    fn wait_until_ready(&mut self) -> Result {
        let stdout = self.0.stdout.take();
        let stdout = stdout.ok_or_else(|| Error::failed("the process has no output"))?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // If reading fails, the line is empty, which is detected below.
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(DEADLINE).unwrap_or_default();
        ensure(line.trim_end() == hold::READY, || {
            format!("the second process is not ready; it printed {line:?}")
        })
    }

    fn kill(&mut self) -> Result {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map_err(|error| Error::failed(format!("the process cannot be killed: {error}")))?;
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // The process may have been killed already.
        let _ = self.kill();
    }
}
