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
//!
//! Requests are checked in this order, and the first check that fails decides the status. A request
//! that is refused adds one to [`Counters::rejected`] and changes nothing else.
//!
//! | what is wrong | status |
//! | --- | --- |
//! | the code is none of the above | `STATUS_INVALID_DEVICE_REQUEST` |
//! | the input buffer is not exactly as long as the input structure | `STATUS_INFO_LENGTH_MISMATCH` |
//! | the output buffer is shorter than the output structure | `STATUS_BUFFER_TOO_SMALL` |
//! | a reserved field is not zero, or a count is zero | `STATUS_INVALID_PARAMETER` |
//!
//! A well-formed [`ioctl::COMPLETE_BY_TAG`] that finds no such tag ends with `STATUS_NOT_FOUND`. That is
//! an answer, not a refusal, and is not counted as one.

#![no_std]
#![forbid(unsafe_code)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
pub const ABI_VERSION: u32 = 1;

/// The IOCTL codes.
pub mod ioctl {
    const FILE_DEVICE_UNKNOWN: u32 = 0x22;
    const METHOD_BUFFERED: u32 = 0;
    const READ: u32 = 1;
    const WRITE: u32 = 2;

    /// The `CTL_CODE` macro, for a buffered code of an unknown device.
    const fn code(function: u32, access: u32) -> u32 {
        (FILE_DEVICE_UNKNOWN << 16) | (access << 14) | (function << 2) | METHOD_BUFFERED
    }

    /// Tells which driver this is. Takes nothing, gives a [`Version`](crate::Version).
    pub const GET_VERSION: u32 = code(0x800, READ);
    /// Pends: the request stays with the driver until it is completed by one of the codes below or is
    /// cancelled. Takes a [`Pend`](crate::Pend), gives a [`Pended`](crate::Pended).
    pub const PEND: u32 = code(0x801, READ | WRITE);
    /// Completes the oldest pending requests, of any handle, in the order in which they came. Takes a
    /// [`CompleteOldest`](crate::CompleteOldest), gives a [`Completed`](crate::Completed).
    pub const COMPLETE_OLDEST: u32 = code(0x802, WRITE);
    /// Completes the oldest pending request, of any handle, that has a tag. Takes a
    /// [`CompleteByTag`](crate::CompleteByTag), gives nothing.
    pub const COMPLETE_BY_TAG: u32 = code(0x803, WRITE);
    /// Reads the device's counters. Takes nothing, gives [`Counters`](crate::Counters).
    pub const GET_COUNTERS: u32 = code(0x804, READ);
}

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
    /// Zero.
    pub reserved: u64,
}

/// The output of [`ioctl::PEND`] when it is completed with `STATUS_SUCCESS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pended {
    /// The request's own tag.
    pub tag: u64,
    /// How many requests had been completed with success since the device started, this one included;
    /// so the order of these numbers is the order in which the driver completed the requests.
    pub order: u64,
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
    /// Requests that pend now: the queue's length.
    pub pending: u64,
}
