//! Who may ask for what.

use interlock_abi::{ABI_VERSION, CompleteByTag, CompleteOldest, Counters, Pend, Version, ioctl};
use zerocopy::IntoBytes;

use super::session::{Session, Tally, expect_end_without_data};
use super::{Context, Verdict, ensure};
use crate::status::Status;
use crate::target::{Access, Device};

/// The driver has the interface that the harness was built for.
pub fn version(_: &Context) -> Verdict {
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
pub fn read_only(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let device = Device::open_with(Access::Read)?;
    device.version()?;
    device.counters()?;
    let pend = Pend {
        tag: 1,
        reserved: 0,
    };
    denied(&device, ioctl::PEND, pend.as_bytes(), 16)?;
    let oldest = CompleteOldest {
        count: 1,
        reserved: 0,
    };
    denied(&device, ioctl::COMPLETE_OLDEST, oldest.as_bytes(), 8)?;
    let by_tag = CompleteByTag { tag: 1 };
    denied(&device, ioctl::COMPLETE_BY_TAG, by_tag.as_bytes(), 0)?;
    session.settle(Tally::default())
}

/// The I/O manager refuses what a handle without read access may not ask for.
pub fn write_only(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let device = Device::open_with(Access::Write)?;
    let pend = Pend {
        tag: 1,
        reserved: 0,
    };
    denied(&device, ioctl::PEND, pend.as_bytes(), 16)?;
    denied(&device, ioctl::GET_VERSION, &[], size_of::<Version>())?;
    denied(&device, ioctl::GET_COUNTERS, &[], size_of::<Counters>())?;
    let completed = device.complete_oldest(1)?;
    ensure(completed == 0, || {
        format!("{completed} requests were completed")
    })?;
    let found = device.complete_by_tag(1)?;
    ensure(!found, || "a request with the tag 1 was completed".into())?;
    session.settle(Tally::default())
}

fn denied(device: &Device, code: u32, input: &[u8], output_len: usize) -> Verdict {
    let end = device.call(code, input, output_len)?;
    expect_end_without_data(u64::from(code), &end, &[Status::ACCESS_DENIED])
}
