//! The access that each IOCTL requires.

use interlock_abi::{ABI_VERSION, Call, Routine, RunState};

use super::{Scenario, Session, Tally};
use crate::client::{Device, Ioctl, expect_no_output, fifo};
use crate::error::{Result, ensure};
use crate::status::Status;
use crate::target::Access;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "access":
    version, [],
        "the driver speaks the version of the interface that this harness was built with";
    read_only, [],
        "a handle opened for reading may query version, counters and statistics, and do nothing else";
    write_only, [],
        "a handle opened for writing may complete requests and set the run state, and do nothing else";
};

fn version(session: &Session) -> Result<Tally> {
    let abi = session.device.version()?.abi;
    ensure(abi == ABI_VERSION, || {
        format!("the driver has interface version {abi}, this harness {ABI_VERSION}")
    })?;
    Ok(Tally::NONE)
}

/// The I/O manager refuses the codes that require write access.
fn read_only(_: &Session) -> Result<Tally> {
    let device = Device::open_with(Access::Read)?;
    device.version()?;
    device.counters()?;
    device.statistics()?;
    denied(&device, &Ioctl::complete_oldest(1))?;
    denied(&device, &Ioctl::complete_by_tag(1))?;
    denied(&device, &Ioctl::set_run_state(RunState::STOPPED))?;
    denied_without_both(&device)?;
    Ok(Tally::NONE)
}

/// The I/O manager refuses the codes that require read access.
fn write_only(_: &Session) -> Result<Tally> {
    let device = Device::open_with(Access::Write)?;
    denied(&device, &Ioctl::get_version())?;
    denied(&device, &Ioctl::get_counters())?;
    denied(&device, &Ioctl::get_statistics())?;
    denied_without_both(&device)?;
    device.expect_complete_oldest(1, 0)?;
    device.expect_complete_by_tag(1, false)?;
    let old = device.set_run_state(RunState::RUNNING)?;
    ensure(old == RunState::RUNNING, || "the device was stopped".into())?;
    Ok(Tally::NONE)
}

/// The codes that require read and write access.
fn denied_without_both(device: &Device) -> Result {
    denied(device, &Ioctl::pend(fifo(1)))?;
    denied(device, &Ioctl::pop())?;
    for routine in Routine::ALL {
        denied(device, &Ioctl::call(*routine, &Call::default()))?;
    }
    let threads = Ioctl::run_threads(Routine::KeAcquireSpinLock, 1, 1);
    denied(device, &threads)
}

/// Checks that a well-formed request is refused because of the handle's access.
fn denied(device: &Device, ioctl: &Ioctl) -> Result {
    let end = device.call(ioctl)?;
    let what = format!("IOCTL 0x{:08X}", ioctl.code);
    expect_no_output(&what, &end, &[Status::ACCESS_DENIED])
}
