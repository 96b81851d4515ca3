//! The interface between `interlock.sys` and its user-mode callers: the device interface, the IOCTL codes and the
//! structures in their buffers.
//!
//! Every code is `METHOD_BUFFERED` and requires an access right of the handle. The I/O manager rejects a request
//! without that right before it reaches the driver.
//!
//! | code | access | input | output |
//! | --- | --- | --- | --- |
//! | [`ioctl::GET_VERSION`] | read | none | [`Version`] |
//! | [`ioctl::PEND`] | read, write | [`Pend`] | [`Pended`], once the request is completed |
//! | [`ioctl::COMPLETE_OLDEST`] | write | [`CompleteOldest`] | [`Completed`] |
//! | [`ioctl::COMPLETE_BY_TAG`] | write | [`CompleteByTag`] | none |
//! | [`ioctl::GET_COUNTERS`] | read | none | [`Counters`] |
//! | [`ioctl::GET_STATISTICS`] | read | none | [`Statistics`] |
//! | [`ioctl::POP`] | read, write | none | [`Pended`] |
//! | [`ioctl::SET_RUN_STATE`] | write | [`RunState`] | the old [`RunState`] |
//! | [`Routine::ioctl`], one for each routine | read, write | [`Call`] | [`CallResult`] |
//! | [`ioctl::RUN_THREADS`] | read, write | [`RunThreads`] | [`ThreadResults`] |
//!
//! Requests are checked in this order, and the first check that fails determines the status. A request that is
//! rejected increments [`Counters::rejected`] and has no other effect.
//!
//! | error | status |
//! | --- | --- |
//! | the code is not one of the above | `STATUS_INVALID_DEVICE_REQUEST` |
//! | the length of the input buffer differs from that of the input structure | `STATUS_INFO_LENGTH_MISMATCH` |
//! | the output buffer is shorter than the output structure | `STATUS_BUFFER_TOO_SMALL` |
//! | a reserved field is not zero, or a field has an invalid value | `STATUS_INVALID_PARAMETER` |
//!
//! Some valid requests fail, for the following reasons. They are not counted as rejected:
//!
//! | reason | status |
//! | --- | --- |
//! | [`ioctl::COMPLETE_BY_TAG`] finds no request with the tag; [`ioctl::POP`] finds no request | `STATUS_NOT_FOUND` |
//! | [`ioctl::PEND`] while the device is [stopped](RunState::STOPPED) | `STATUS_DEVICE_NOT_READY` |
//! | [`ioctl::PEND`] through a handle whose [quota of records](RECORDS_PER_OPEN) is used up | `STATUS_QUOTA_EXCEEDED`; also increments [`Counters::over_quota`] |
//! | [`ioctl::PEND`] if there is no memory for its record | `STATUS_INSUFFICIENT_RESOURCES` |

#![no_std]
#![forbid(unsafe_code)]

mod routine;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use routine::{Call, CallResult, Routine, RunThreads, ThreadResults};

/// The fields of the device interface's GUID, `{6f1d3c52-8e0b-4a57-9b43-2d7c51e0a8f4}`.
pub const INTERFACE_GUID: (u32, u16, u16, [u8; 8]) = (
    0x6f1d_3c52,
    0x8e0b,
    0x4a57,
    [0x9b, 0x43, 0x2d, 0x7c, 0x51, 0xe0, 0xa8, 0xf4],
);

/// The hardware ID in the INF, which an installer sets for the root-enumerated device.
pub const HARDWARE_ID: &str = r"root\interlock";

/// The name of the service, and of the driver file without its extension.
pub const SERVICE: &str = "interlock";

/// The version of the structures and codes in this crate. It changes with every change of one of them.
pub const ABI_VERSION: u32 = 3;

/// The IOCTL codes.
pub mod ioctl {
    use ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code};

    pub(crate) const fn code(function: u32, access: Access) -> u32 {
        ctl_code(UNKNOWN_DEVICE, function, Method::Buffered, access)
    }

    /// Returns the driver's version. Input: none; output: [`Version`](crate::Version).
    pub const GET_VERSION: u32 = code(0x800, Access::Read);
    /// Inserts the request into the queue that it names, see [`queue`](crate::queue). Input: [`Pend`](crate::Pend);
    /// output, when the request is completed: [`Pended`](crate::Pended).
    pub const PEND: u32 = code(0x801, Access::ReadWrite);
    /// Completes the oldest requests on the queue *fifo*, of any handle, in the order of arrival. Input:
    /// [`CompleteOldest`](crate::CompleteOldest); output: [`Completed`](crate::Completed).
    pub const COMPLETE_OLDEST: u32 = code(0x802, Access::Write);
    /// Completes the oldest request with a tag on the queue *fifo*, of any handle. Input:
    /// [`CompleteByTag`](crate::CompleteByTag); output: none.
    pub const COMPLETE_BY_TAG: u32 = code(0x803, Access::Write);
    /// Returns the device's counters. Input: none; output: [`Counters`](crate::Counters).
    pub const GET_COUNTERS: u32 = code(0x804, Access::Read);
    /// Returns the device's statistics. Input: none; output: [`Statistics`](crate::Statistics).
    pub const GET_STATISTICS: u32 = code(0x805, Access::Read);
    /// Pops the request that was pushed last on the *stack* of the same open file. Input: none; output: the
    /// [`Pended`](crate::Pended) of that request.
    pub const POP: u32 = code(0x806, Access::ReadWrite);
    /// Stops the device or lets it run again. Input: the new [`RunState`](crate::RunState); output: the old one.
    pub const SET_RUN_STATE: u32 = code(0x807, Access::Write);
    /// Runs a routine from several system threads. Input: [`RunThreads`](crate::RunThreads); output:
    /// [`ThreadResults`](crate::ThreadResults).
    pub const RUN_THREADS: u32 = code(0x808, Access::ReadWrite);
}

/// The queues that a request can name.
///
/// | queue | handling of the request | [`Pend::key`] | [`Pend::service_ms`] |
/// | --- | --- | --- | --- |
/// | [`FIFO`](queue::FIFO) | pending until another request completes it | 0 | 0 |
/// | [`KEYED`](queue::KEYED) | served one at a time, for its service time, in the order of keys | any | up to [`MAX_SERVICE_MS`] |
/// | [`SERIAL`](queue::SERIAL) | served one at a time, for its service time, in the order of arrival | 0 | up to [`MAX_SERVICE_MS`] |
/// | [`INTERLOCKED`](queue::INTERLOCKED) | completed by the next DPC | 0: at the tail, 1: at the head | 0 |
/// | [`STACK`](queue::STACK) | completed immediately; its record stays until it is [popped](ioctl::POP) or the handle is closed | 0 | 0 |
///
/// Requests on *fifo* can be cancelled. Requests on *keyed* and *serial* can be cancelled until they are served.
pub mod queue {
    /// A queue with its own spin lock.
    pub const FIFO: u32 = 0;
    /// A device queue by key: the next request to be served is the first one whose key is not smaller than that of
    /// the last, or else the first one.
    pub const KEYED: u32 = 1;
    /// A device queue without keys.
    pub const SERIAL: u32 = 2;
    /// An interlocked list, drained by a DPC.
    pub const INTERLOCKED: u32 = 3;
    /// An interlocked stack; each open file has its own.
    pub const STACK: u32 = 4;
}

/// The quota of records for one open file: one for each pending request, and one for each request on its *stack*.
/// It limits the memory that one caller can use.
///
/// Blocks for records are kept for further requests until the device is removed: the largest number that was in use
/// at a time, rounded up to a power of two. [`Statistics::records`] is the number of blocks.
pub const RECORDS_PER_OPEN: u32 = 1 << 16;

/// The longest service time of a request, in milliseconds.
pub const MAX_SERVICE_MS: u32 = 1000;

/// The output of [`ioctl::GET_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// The [`ABI_VERSION`] that the driver was built with.
    pub abi: u32,
    /// The driver's major version.
    pub major: u32,
    /// The driver's minor version.
    pub minor: u32,
    /// The driver's patch version.
    pub patch: u32,
}

/// The input of [`ioctl::PEND`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Pend {
    /// Any number; it is returned in [`Pended::tag`], and [`CompleteByTag`] finds the request by it.
    pub tag: u64,
    /// One of [`queue`].
    pub queue: u32,
    /// The position in the queue, for queues with keys.
    pub key: u32,
    /// The service time in milliseconds, for queues that serve requests.
    pub service_ms: u32,
    /// Zero.
    pub reserved: u32,
}

/// The output of [`ioctl::PEND`] when it is completed with `STATUS_SUCCESS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pended {
    /// The request's own tag.
    pub tag: u64,
    /// The number of requests that were completed with success since the device started, including this one.
    ///
    /// A request is counted just before it is completed. So of two requests that one thread of the driver
    /// completes, the one with the smaller number was completed first. Two requests that two processors complete at
    /// the same time can be completed in the other order.
    pub order: u64,
    /// The number of requests that the device accepted before this one since it started. It wraps.
    pub sequence: u32,
    /// The request's own queue.
    pub queue: u32,
    /// The request's own key.
    pub key: u32,
    /// Zero.
    pub reserved: u32,
}

/// The input of [`ioctl::COMPLETE_OLDEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompleteOldest {
    /// The largest number of requests to complete; not zero.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// The output of [`ioctl::COMPLETE_OLDEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Completed {
    /// The number of requests that were completed: less than requested if fewer were pending.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// The input of [`ioctl::COMPLETE_BY_TAG`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompleteByTag {
    /// The tag of the request.
    pub tag: u64,
}

/// The output of [`ioctl::GET_COUNTERS`]: the device's counters since it was started.
///
/// When no request is in progress, `submitted == completed + cancelled + aborted + pending`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counters {
    /// Pending requests that were accepted.
    pub submitted: u64,
    /// Accepted requests that were completed with `STATUS_SUCCESS`.
    pub completed: u64,
    /// Accepted requests that were completed with `STATUS_CANCELLED`.
    pub cancelled: u64,
    /// Accepted requests that were completed with `STATUS_DELETE_PENDING`, because the device was removed.
    pub aborted: u64,
    /// Requests of any kind that were rejected as malformed.
    pub rejected: u64,
    /// [`ioctl::PEND`] requests that were rejected because the [quota](RECORDS_PER_OPEN) of the open file was used
    /// up.
    pub over_quota: u64,
    /// Requests that are pending now, on all queues.
    pub pending: u64,
}

/// The number of processors with their own entry in [`Statistics`]; any others share the last entry.
pub const PROCESSORS: usize = 32;

/// The output of [`ioctl::GET_STATISTICS`]: the device's measurements since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statistics {
    /// The sum of the times from acceptance to completion of all completed requests, in units of 100 ns.
    pub latency: i64,
    /// The longest of these times, in units of 100 ns. A request that is completed while another one is being
    /// compared is not included.
    pub longest: i64,
    /// The number of blocks for records in the zone.
    pub records: u32,
    /// The number of blocks in use.
    pub records_in_use: u32,
    /// The number of records on the stacks of all open files.
    pub stacked: u32,
    /// The largest number of processors that the system can have.
    pub processors: u32,
    /// The statistics of each processor.
    pub processor: [ProcessorStatistics; PROCESSORS],
}

/// The statistics of one processor, counted at `DISPATCH_LEVEL`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ProcessorStatistics {
    /// Requests that were accepted.
    pub accepted: u32,
    /// DPCs that ran.
    pub dpcs: u32,
}

/// The input and the output of [`ioctl::SET_RUN_STATE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RunState {
    /// [`RunState::RUNNING`] or [`RunState::STOPPED`].
    pub state: u32,
    /// Zero.
    pub reserved: u32,
}

impl RunState {
    /// The device accepts requests.
    pub const RUNNING: u32 = 0;
    /// The device rejects [`ioctl::PEND`]; pending requests are still handled.
    pub const STOPPED: u32 = 1;
}
