//! Who may ask for what.

use interlock_abi::{
    ABI_VERSION, Call, CompleteByTag, CompleteOldest, Completed, Counters, Pended, Returned,
    Routine, RunState, RunThreads, Statistics, ThreadsRan, Version, ioctl,
};
use zerocopy::IntoBytes;

use super::session::{Session, Tally, expect_end_without_data};
use super::{Context, Scenario, Verdict, ensure, scenario};
use crate::status::Status;
use crate::target::{Access, Device, fifo};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "access::version",
        "the driver speaks the version of the interface that this harness was built with",
        &[],
        version,
    ),
    scenario(
        "access::read_only",
        "a handle opened to read alone may ask for version, counters and statistics, and nothing else",
        &[],
        read_only,
    ),
    scenario(
        "access::write_only",
        "a handle opened to write alone may complete requests and set the run state, and nothing else",
        &[],
        write_only,
    ),
];

/// The driver has the interface that the harness was built for.
fn version(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let version = session.device.version()?;
    ensure(version.abi == ABI_VERSION, || {
        format!(
            "the driver has interface version {}, this harness {ABI_VERSION}",
            version.abi
        )
    })?;
    session.settle(Tally::default())
}

/// The I/O manager refuses what a handle without write access may not ask for.
fn read_only(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let device = Device::open_with(Access::Read)?;
    device.version()?;
    device.counters()?;
    device.statistics()?;
    let oldest = CompleteOldest {
        count: 1,
        reserved: 0,
    };
    denied::<Completed>(&device, ioctl::COMPLETE_OLDEST, oldest.as_bytes())?;
    let by_tag = CompleteByTag { tag: 1 };
    denied::<()>(&device, ioctl::COMPLETE_BY_TAG, by_tag.as_bytes())?;
    let stopped = RunState {
        state: RunState::STOPPED,
        reserved: 0,
    };
    denied::<RunState>(&device, ioctl::SET_RUN_STATE, stopped.as_bytes())?;
    denied_to_read_or_write_alone(&device)?;
    session.settle(Tally::default())
}

/// The I/O manager refuses what a handle without read access may not ask for.
fn write_only(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let device = Device::open_with(Access::Write)?;
    denied::<Version>(&device, ioctl::GET_VERSION, &[])?;
    denied::<Counters>(&device, ioctl::GET_COUNTERS, &[])?;
    denied::<Statistics>(&device, ioctl::GET_STATISTICS, &[])?;
    denied_to_read_or_write_alone(&device)?;
    let completed = device.complete_oldest(1)?;
    ensure(completed == 0, || {
        format!("{completed} requests were completed")
    })?;
    let found = device.complete_by_tag(1)?;
    ensure(!found, || "a request with the tag 1 was completed".into())?;
    let old = device.set_run_state(RunState::RUNNING)?;
    ensure(old == RunState::RUNNING, || "the device was stopped".into())?;
    session.settle(Tally::default())
}

/// What asks for read and write access.
fn denied_to_read_or_write_alone(device: &Device) -> Verdict {
    denied::<Pended>(device, ioctl::PEND, fifo(1).as_bytes())?;
    denied::<Pended>(device, ioctl::POP, &[])?;
    for routine in Routine::ALL {
        denied::<Returned>(device, routine.ioctl(), Call::default().as_bytes())?;
    }
    let threads = RunThreads {
        routine: Routine::KeAcquireSpinLock as u32,
        threads: 1,
        rounds: 1,
        reserved: 0,
    };
    denied::<ThreadsRan>(device, ioctl::RUN_THREADS, threads.as_bytes())
}

/// Checks that a request, well-formed and with room for an `Output`, is refused for the handle's access.
fn denied<Output>(device: &Device, code: u32, input: &[u8]) -> Verdict {
    let end = device.call(code, input, size_of::<Output>())?;
    expect_end_without_data(u64::from(code), &end, &[Status::ACCESS_DENIED])
}
