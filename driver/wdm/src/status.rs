//! NTSTATUS, without the one value that no IRP may be completed with.

use core::{convert::Infallible, fmt};

/// A status that a request can end with: any NTSTATUS but `STATUS_PENDING`.
///
/// `STATUS_PENDING` is not an outcome but a promise, and completing an IRP with it is bug check 0xC9
/// under Driver Verifier; here it cannot be said.
///
/// WDK: "Using NTSTATUS Values".
///
/// ```
/// use wdm::NtStatus;
///
/// assert!(NtStatus::SUCCESS.is_success());
/// assert!(!NtStatus::CANCELLED.is_success());
/// assert_eq!(format!("{:?}", NtStatus::CANCELLED), "NTSTATUS 0xc0000120");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NtStatus(i32);

impl NtStatus {
    /// The request did what it was asked for.
    pub const SUCCESS: Self = Self(nt::STATUS_SUCCESS);
    /// The output buffer is too small for the answer.
    pub const BUFFER_TOO_SMALL: Self = Self(nt::STATUS_BUFFER_TOO_SMALL);
    /// The request was cancelled.
    pub const CANCELLED: Self = Self(nt::STATUS_CANCELLED);
    /// The device is stopped, or there is nothing that it does.
    pub const DEVICE_NOT_READY: Self = Self(nt::STATUS_DEVICE_NOT_READY);
    /// The device is being removed.
    pub const DELETE_PENDING: Self = Self(nt::STATUS_DELETE_PENDING);
    /// A buffer is not as long as its structure.
    pub const INFO_LENGTH_MISMATCH: Self = Self(nt::STATUS_INFO_LENGTH_MISMATCH);
    /// There is not enough memory.
    pub const INSUFFICIENT_RESOURCES: Self = Self(nt::STATUS_INSUFFICIENT_RESOURCES);
    /// The driver broke a rule of its own.
    pub const INTERNAL_ERROR: Self = Self(nt::STATUS_INTERNAL_ERROR);
    /// The device does not know such a request.
    pub const INVALID_DEVICE_REQUEST: Self = Self(nt::STATUS_INVALID_DEVICE_REQUEST);
    /// A value in the request makes no sense.
    pub const INVALID_PARAMETER: Self = Self(nt::STATUS_INVALID_PARAMETER);
    /// A name is longer than there is room for.
    pub const NAME_TOO_LONG: Self = Self(nt::STATUS_NAME_TOO_LONG);
    /// There is no such device.
    pub const NO_SUCH_DEVICE: Self = Self(nt::STATUS_NO_SUCH_DEVICE);
    /// What was asked for is not there.
    pub const NOT_FOUND: Self = Self(nt::STATUS_NOT_FOUND);
    /// A value is of another type than was asked for.
    pub const OBJECT_TYPE_MISMATCH: Self = Self(nt::STATUS_OBJECT_TYPE_MISMATCH);

    /// The status as the number that the kernel uses.
    #[must_use]
    pub const fn to_raw(self) -> i32 {
        self.0
    }

    /// Whether the status is a success or an informational one (`NT_SUCCESS`).
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// A routine's answer: nothing, or the status that it failed with.
    pub(crate) const fn check(raw: i32) -> Result<(), Self> {
        if raw >= 0 { Ok(()) } else { Err(Self(raw)) }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NTSTATUS {:#010x}", self.0.cast_unsigned())
    }
}

impl From<Infallible> for NtStatus {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
