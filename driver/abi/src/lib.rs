//! What `interlock.sys` and its user-mode callers say to each other: the device interface, the
//! IOCTL codes, and the structures that travel in their buffers.
//!
//! Every code is `METHOD_BUFFERED` and names the access that the handle must have been opened with;
//! the I/O manager refuses the request otherwise, before the driver sees it.
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
//! | [`ioctl::SET_RUN_STATE`] | write | [`RunState`] | [`RunState`] as it was |
//! | [`Routine::ioctl`], one for each routine | read, write | [`Call`] | [`Returned`] |
//! | [`ioctl::RUN_THREADS`] | read, write | [`RunThreads`] | [`ThreadsRan`] |
//!
//! Requests are checked in this order, and the first check that fails decides the status. A request
//! that is refused adds one to [`Counters::rejected`] and changes nothing else.
//!
//! | what is wrong | status |
//! | --- | --- |
//! | the code is none of the above | `STATUS_INVALID_DEVICE_REQUEST` |
//! | the input buffer is not exactly as long as the input structure | `STATUS_INFO_LENGTH_MISMATCH` |
//! | the output buffer is shorter than the output structure | `STATUS_BUFFER_TOO_SMALL` |
//! | a reserved field is not zero, or a value is none that its field may have | `STATUS_INVALID_PARAMETER` |
//!
//! Some well-formed requests have nothing to do, or cannot be done now. These are answers, not refusals,
//! and are not counted as such:
//!
//! | what | status |
//! | --- | --- |
//! | [`ioctl::COMPLETE_BY_TAG`] finds no such tag; [`ioctl::POP`] finds no request | `STATUS_NOT_FOUND` |
//! | [`ioctl::PEND`] while the device is [stopped](RunState::STOPPED) | `STATUS_DEVICE_NOT_READY` |
//! | [`ioctl::PEND`] through a handle that has [as many records as it may](RECORDS_PER_OPEN) | `STATUS_QUOTA_EXCEEDED`, which adds one to [`Counters::over_quota`] |
//! | [`ioctl::PEND`] when no memory is left for its record | `STATUS_INSUFFICIENT_RESOURCES` |

#![no_std]
#![forbid(unsafe_code)]

mod routine;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use routine::{Call, Returned, Routine, RunThreads, ThreadsRan};

/// The device interface's GUID as its fields, `{6f1d3c52-8e0b-4a57-9b43-2d7c51e0a8f4}`.
pub const INTERFACE_GUID: (u32, u16, u16, [u8; 8]) = (
    0x6f1d_3c52,
    0x8e0b,
    0x4a57,
    [0x9b, 0x43, 0x2d, 0x7c, 0x51, 0xe0, 0xa8, 0xf4],
);

/// The hardware ID that the INF names and that an installer gives the root-enumerated device.
pub const HARDWARE_ID: &str = r"root\interlock";

/// The service's name, and the driver file's without its extension.
pub const SERVICE: &str = "interlock";

/// The version of the structures and codes in this crate; it changes whenever one of them does.
pub const ABI_VERSION: u32 = 3;

/// The IOCTL codes.
pub mod ioctl {
    const FILE_DEVICE_UNKNOWN: u32 = 0x22;
    const METHOD_BUFFERED: u32 = 0;
    pub(crate) const READ: u32 = 1;
    pub(crate) const WRITE: u32 = 2;

    /// The `CTL_CODE` macro, for a buffered code of an unknown device.
    pub(crate) const fn code(function: u32, access: u32) -> u32 {
        (FILE_DEVICE_UNKNOWN << 16) | (access << 14) | (function << 2) | METHOD_BUFFERED
    }

    /// Tells which driver this is. Takes nothing, gives a [`Version`](crate::Version).
    pub const GET_VERSION: u32 = code(0x800, READ);
    /// Puts the request on the queue that it names, see [`queue`](crate::queue). Takes a
    /// [`Pend`](crate::Pend), gives a [`Pended`](crate::Pended) once the request is completed.
    pub const PEND: u32 = code(0x801, READ | WRITE);
    /// Completes the oldest requests of the queue *fifo*, of any handle, in the order in which they came. Takes a
    /// [`CompleteOldest`](crate::CompleteOldest), gives a [`Completed`](crate::Completed).
    pub const COMPLETE_OLDEST: u32 = code(0x802, WRITE);
    /// Completes the oldest request of the queue *fifo*, of any handle, that has a tag. Takes a
    /// [`CompleteByTag`](crate::CompleteByTag), gives nothing.
    pub const COMPLETE_BY_TAG: u32 = code(0x803, WRITE);
    /// Reads the device's counters. Takes nothing, gives [`Counters`](crate::Counters).
    pub const GET_COUNTERS: u32 = code(0x804, READ);
    /// Reads what the device measures besides. Takes nothing, gives [`Statistics`](crate::Statistics).
    pub const GET_STATISTICS: u32 = code(0x805, READ);
    /// Takes the request that was pushed last through the same open from its *stack*. Takes nothing, gives the
    /// [`Pended`](crate::Pended) of that request.
    pub const POP: u32 = code(0x806, READ | WRITE);
    /// Stops the device, or lets it run again. Takes the new [`RunState`](crate::RunState), gives the old.
    pub const SET_RUN_STATE: u32 = code(0x807, WRITE);
    /// Runs a routine from several system threads. Takes a [`RunThreads`](crate::RunThreads), gives a
    /// [`ThreadsRan`](crate::ThreadsRan).
    pub const RUN_THREADS: u32 = code(0x808, READ | WRITE);
}

/// The queues that a request can name.
///
/// | queue | what becomes of the request | [`Pend::key`] | [`Pend::service_ms`] |
/// | --- | --- | --- | --- |
/// | [`FIFO`](queue::FIFO) | waits until it is completed by another request | 0 | 0 |
/// | [`KEYED`](queue::KEYED) | is served alone, for its service time; then comes the one with the next key | any | up to [`MAX_SERVICE_MS`] |
/// | [`SERIAL`](queue::SERIAL) | is served alone, for its service time; then comes the one that came next | 0 | up to [`MAX_SERVICE_MS`] |
/// | [`INTERLOCKED`](queue::INTERLOCKED) | is completed by the next DPC | 0: at the tail, 1: at the head | 0 |
/// | [`STACK`](queue::STACK) | is completed at once; its record stays until it is [popped](ioctl::POP), or the handle closed | 0 | 0 |
///
/// Requests on *fifo* can be cancelled, and those on *keyed* and *serial* until they are served.
pub mod queue {
    /// A queue with a spin lock of its own.
    pub const FIFO: u32 = 0;
    /// A device queue by key: the next request served is the first whose key is not smaller than that of the
    /// last, or else the first of all.
    pub const KEYED: u32 = 1;
    /// A device queue without keys.
    pub const SERIAL: u32 = 2;
    /// An interlocked list, drained by a DPC.
    pub const INTERLOCKED: u32 = 3;
    /// An interlocked stack, of which each open of the device has its own.
    pub const STACK: u32 = 4;
}

/// How many records one open of the device may have at a time: one for each request that pends, and one for each on its
/// *stack*. So no caller takes the memory of all.
///
/// Blocks for records are kept until the device is removed, for further requests: as many as were in use at a time, rounded
/// up to a power of two. [`Statistics::records`] tells how many there are.
pub const RECORDS_PER_OPEN: u32 = 1 << 16;

/// The longest service time that a request may ask for, in milliseconds.
pub const MAX_SERVICE_MS: u32 = 1000;

/// The answer to [`ioctl::GET_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// [`ABI_VERSION`] as the driver was built with it.
    pub abi: u32,
    /// The driver's major version.
    pub major: u32,
    /// The driver's minor version.
    pub minor: u32,
    /// The driver's patch version.
    pub patch: u32,
}

/// The input of [`ioctl::PEND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pend {
    /// Any number; it comes back in [`Pended::tag`], and [`CompleteByTag`] finds the request by it.
    pub tag: u64,
    /// One of [`queue`].
    pub queue: u32,
    /// Where on the queue, if it has several places.
    pub key: u32,
    /// How long the request is to be served, in milliseconds, if its queue serves.
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
    /// How many requests had been counted as completed with success since the device started, this one included.
    ///
    /// A request is counted just before it is completed. So of two requests that one thread of the driver completes, the
    /// one with the smaller number was completed first; two that are completed on two processors at a time may be seen to
    /// end in the other order.
    pub order: u64,
    /// How many requests the device had accepted before this one, since it started; it wraps.
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
    /// How many requests to complete at the most; not zero.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// The output of [`ioctl::COMPLETE_OLDEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Completed {
    /// How many requests were completed: fewer than asked for where no more were pending.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// The input of [`ioctl::COMPLETE_BY_TAG`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompleteByTag {
    /// The tag to look for.
    pub tag: u64,
}

/// The output of [`ioctl::GET_COUNTERS`]: what the device has done since it was started.
///
/// Once no request is under way, `submitted == completed + cancelled + aborted + pending`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counters {
    /// Requests that were accepted to pend.
    pub submitted: u64,
    /// Pended requests that ended with `STATUS_SUCCESS`.
    pub completed: u64,
    /// Pended requests that ended with `STATUS_CANCELLED`.
    pub cancelled: u64,
    /// Pended requests that ended with `STATUS_DELETE_PENDING`, since the device was removed.
    pub aborted: u64,
    /// Requests of any kind that were refused as malformed.
    pub rejected: u64,
    /// Requests to pend that were refused since the open had [as many records](RECORDS_PER_OPEN) as it may.
    pub over_quota: u64,
    /// Requests that pend now, on all queues.
    pub pending: u64,
}

/// How many processors [`Statistics`] tells apart; those beyond share the last entry.
pub const PROCESSORS: usize = 32;

/// The output of [`ioctl::GET_STATISTICS`]: what the device has measured since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statistics {
    /// The time from acceptance to the end of all requests that were accepted and have ended, summed up, in
    /// 100 ns.
    pub latency: i64,
    /// The longest of these times, in 100 ns. A request that ends while another is being compared is left out.
    pub longest: i64,
    /// How many blocks for records the zone has.
    pub records: u32,
    /// How many of them are in use.
    pub records_in_use: u32,
    /// How many records are on the stacks of all opens.
    pub stacked: u32,
    /// How many processors the system can have.
    pub processors: u32,
    /// What was done on each processor.
    pub processor: [ProcessorStatistics; PROCESSORS],
}

/// What was done on one processor, while the code could not move to another.
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
    /// The device takes requests.
    pub const RUNNING: u32 = 0;
    /// The device refuses [`ioctl::PEND`]; what pends goes on.
    pub const STOPPED: u32 = 1;
}
