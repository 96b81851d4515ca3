//! NTSTATUS without the three values with which no device's request may be completed.

use core::{convert::Infallible, fmt, num::NonZero};

/// A status with which a request can be completed: any NTSTATUS but `STATUS_PENDING`, `STATUS_REPARSE` and -1.
///
/// `STATUS_PENDING` means that a request is not complete, and -1 is not a status: completing an IRP with either is bug check 0xC9
/// under Driver Verifier. `STATUS_REPARSE` makes the I/O manager open another name. No `NtStatus` has these values.
///
/// WDK: [Using NTSTATUS Values](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-ntstatus-values),
/// [Bug Check 0xC9](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xc9--driver-verifier-iomanager-violation).
///
/// # Examples
///
/// ```
/// use wdm::NtStatus;
///
/// assert!(NtStatus::SUCCESS.is_success());
/// assert!(!NtStatus::CANCELLED.is_success());
/// assert!(NtStatus::CANCELLED.is_error());
/// assert!(!NtStatus::BUFFER_OVERFLOW.is_error()); // a warning
/// assert_eq!(NtStatus::from_raw(0x103), None); // STATUS_PENDING
/// assert_eq!(NtStatus::from_raw(0x104), None); // STATUS_REPARSE
/// assert_eq!(NtStatus::from_raw(-1), None);
/// assert_eq!(format!("{:?}", NtStatus::CANCELLED), "NTSTATUS 0xc0000120");
/// ```
#[doc(alias = "NTSTATUS")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NtStatus(i32);

/// A status that reports a failure, for use in `Result`.
///
/// No `Error` is `STATUS_SUCCESS` or another status that `NT_SUCCESS` accepts, so a routine that returns `Err` has
/// failed. An `Error` converts into its [`NtStatus`].
///
/// # Examples
///
/// ```
/// use wdm::{Error, NtStatus};
///
/// fn even(number: u32) -> Result<u32, Error> {
///     if number % 2 == 0 { Ok(number) } else { Err(Error::INVALID_PARAMETER) }
/// }
///
/// assert_eq!(even(3).map_err(NtStatus::from), Err(NtStatus::INVALID_PARAMETER));
/// ```
#[doc(alias = "NTSTATUS")]
#[derive(Clone, Copy, PartialEq, Eq)]
// Not 0, so that a `Result<(), Error>` is an NTSTATUS in a register, as in C.
pub struct Error(NonZero<i32>);

/// Defines the named statuses: each error as an [`NtStatus`] and as an [`Error`].
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:ident),* $(,)?) => {
        impl NtStatus {
            /// The request succeeded.
            pub const SUCCESS: Self = Self(nt::STATUS_SUCCESS);
            /// The time of the request has expired; a success, with which a serial port completes a read that got fewer bytes.
            pub const TIMEOUT: Self = Self(nt::STATUS_TIMEOUT);
            $($(#[$doc])* pub const $name: Self = Self(nt::$value);)*
        }

        impl Error {
            $($(#[$doc])* pub const $name: Self = {
                assert!(nt::$value < 0);
                Self(NonZero::new(nt::$value).unwrap())
            };)*
        }
    };
}

statuses! {
    /// The output was truncated to the length of the buffer.
    BUFFER_OVERFLOW = STATUS_BUFFER_OVERFLOW,
    /// There are no further files.
    NO_MORE_FILES = STATUS_NO_MORE_FILES,
    /// The device is busy.
    DEVICE_BUSY = STATUS_DEVICE_BUSY,
    /// There are no further entries.
    NO_MORE_ENTRIES = STATUS_NO_MORE_ENTRIES,
    /// The request failed for a reason that no other status describes.
    UNSUCCESSFUL = STATUS_UNSUCCESSFUL,
    /// The driver does not implement the request.
    NOT_IMPLEMENTED = STATUS_NOT_IMPLEMENTED,
    /// The information class is unknown.
    INVALID_INFO_CLASS = STATUS_INVALID_INFO_CLASS,
    /// The length of a buffer does not match its structure.
    INFO_LENGTH_MISMATCH = STATUS_INFO_LENGTH_MISMATCH,
    /// The handle is not valid.
    INVALID_HANDLE = STATUS_INVALID_HANDLE,
    /// A value in the request is not valid.
    INVALID_PARAMETER = STATUS_INVALID_PARAMETER,
    /// The device does not exist.
    NO_SUCH_DEVICE = STATUS_NO_SUCH_DEVICE,
    /// The file does not exist.
    NO_SUCH_FILE = STATUS_NO_SUCH_FILE,
    /// The device does not support the request.
    INVALID_DEVICE_REQUEST = STATUS_INVALID_DEVICE_REQUEST,
    /// The position is at or past the end of the file.
    END_OF_FILE = STATUS_END_OF_FILE,
    /// The drive contains another volume.
    WRONG_VOLUME = STATUS_WRONG_VOLUME,
    /// The drive contains no medium.
    NO_MEDIA_IN_DEVICE = STATUS_NO_MEDIA_IN_DEVICE,
    /// There is not enough virtual memory or quota.
    NO_MEMORY = STATUS_NO_MEMORY,
    /// A lock was not acquired in the required order.
    INVALID_LOCK_SEQUENCE = STATUS_INVALID_LOCK_SEQUENCE,
    /// The memory is already committed.
    ALREADY_COMMITTED = STATUS_ALREADY_COMMITTED,
    /// The caller lacks the right to do this.
    ACCESS_DENIED = STATUS_ACCESS_DENIED,
    /// The output buffer is too small for the output.
    BUFFER_TOO_SMALL = STATUS_BUFFER_TOO_SMALL,
    /// The object does not have the requested type.
    OBJECT_TYPE_MISMATCH = STATUS_OBJECT_TYPE_MISMATCH,
    /// The object name is not well formed.
    OBJECT_NAME_INVALID = STATUS_OBJECT_NAME_INVALID,
    /// There is no object of this name.
    OBJECT_NAME_NOT_FOUND = STATUS_OBJECT_NAME_NOT_FOUND,
    /// An object of this name already exists.
    OBJECT_NAME_COLLISION = STATUS_OBJECT_NAME_COLLISION,
    /// More data arrived than the buffer can hold.
    DATA_OVERRUN = STATUS_DATA_OVERRUN,
    /// The data has an error.
    DATA_ERROR = STATUS_DATA_ERROR,
    /// The checksum of the data is wrong.
    CRC_ERROR = STATUS_CRC_ERROR,
    /// The file is open with an incompatible sharing mode.
    SHARING_VIOLATION = STATUS_SHARING_VIOLATION,
    /// The caller has used up its quota.
    QUOTA_EXCEEDED = STATUS_QUOTA_EXCEEDED,
    /// The object is being deleted.
    DELETE_PENDING = STATUS_DELETE_PENDING,
    /// The privilege does not exist.
    NO_SUCH_PRIVILEGE = STATUS_NO_SUCH_PRIVILEGE,
    /// The caller lacks a privilege.
    PRIVILEGE_NOT_HELD = STATUS_PRIVILEGE_NOT_HELD,
    /// There is not enough memory for the request.
    INSUFFICIENT_RESOURCES = STATUS_INSUFFICIENT_RESOURCES,
    /// The device is not connected.
    DEVICE_NOT_CONNECTED = STATUS_DEVICE_NOT_CONNECTED,
    /// The device has lost its power.
    DEVICE_POWER_FAILURE = STATUS_DEVICE_POWER_FAILURE,
    /// The medium is write-protected.
    MEDIA_WRITE_PROTECTED = STATUS_MEDIA_WRITE_PROTECTED,
    /// The device is not ready.
    DEVICE_NOT_READY = STATUS_DEVICE_NOT_READY,
    /// The pipe is not connected.
    PIPE_DISCONNECTED = STATUS_PIPE_DISCONNECTED,
    /// The device did not answer in time.
    IO_TIMEOUT = STATUS_IO_TIMEOUT,
    /// The file was closed by another party.
    FILE_FORCED_CLOSED = STATUS_FILE_FORCED_CLOSED,
    /// The request is not supported.
    NOT_SUPPORTED = STATUS_NOT_SUPPORTED,
    /// The adapter has failed.
    ADAPTER_HARDWARE_ERROR = STATUS_ADAPTER_HARDWARE_ERROR,
    /// The device is of the wrong type.
    BAD_DEVICE_TYPE = STATUS_BAD_DEVICE_TYPE,
    /// The driver found an inconsistency in its own state.
    INTERNAL_ERROR = STATUS_INTERNAL_ERROR,
    /// The caller's buffer is not valid.
    INVALID_USER_BUFFER = STATUS_INVALID_USER_BUFFER,
    /// The name is too long.
    NAME_TOO_LONG = STATUS_NAME_TOO_LONG,
    /// The request was cancelled.
    CANCELLED = STATUS_CANCELLED,
    /// The object cannot be deleted.
    CANNOT_DELETE = STATUS_CANNOT_DELETE,
    /// The file is closed.
    FILE_CLOSED = STATUS_FILE_CLOSED,
    /// The other end of the pipe was closed.
    PIPE_BROKEN = STATUS_PIPE_BROKEN,
    /// The device is in a state that does not allow this.
    INVALID_DEVICE_STATE = STATUS_INVALID_DEVICE_STATE,
    /// The device has failed.
    IO_DEVICE_ERROR = STATUS_IO_DEVICE_ERROR,
    /// The device broke its protocol.
    DEVICE_PROTOCOL_ERROR = STATUS_DEVICE_PROTOCOL_ERROR,
    /// The buffer does not have a valid size.
    INVALID_BUFFER_SIZE = STATUS_INVALID_BUFFER_SIZE,
    /// The object was not found.
    NOT_FOUND = STATUS_NOT_FOUND,
    /// The request can be tried again.
    RETRY = STATUS_RETRY,
    /// The device was removed.
    DEVICE_REMOVED = STATUS_DEVICE_REMOVED,
    /// The power state does not allow this.
    POWER_STATE_INVALID = STATUS_POWER_STATE_INVALID,
}

impl NtStatus {
    /// Converts a raw `NTSTATUS`; returns `None` for the values that the I/O manager does not take as the end of a device's
    /// request: `STATUS_PENDING`, `STATUS_REPARSE` and -1.
    #[must_use]
    pub const fn from_raw(raw: i32) -> Option<Self> {
        match raw {
            nt::STATUS_PENDING | nt::STATUS_REPARSE | -1 => None,
            _ => Some(Self(raw)),
        }
    }

    /// Returns the raw `NTSTATUS`.
    #[must_use]
    pub const fn to_raw(self) -> i32 {
        self.0
    }

    /// Returns whether the status is a success or informational status (`NT_SUCCESS`).
    ///
    /// # IRQL
    /// Any.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{InterlockedLong, IrpView, NtStatus, QueueCallbacks, irql::ObjectHeld};
    ///
    /// /// Counts the requests that fail.
    /// struct Failed(InterlockedLong);
    ///
    /// impl QueueCallbacks for Failed {
    ///     type Record = ();
    ///
    ///     fn before_completion(&self, _: &IrpView, status: NtStatus, _: &mut ObjectHeld) {
    ///         if !status.is_success() {
    ///             self.0.increment();
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    #[doc(alias = "NT_SUCCESS")]
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// Returns whether the status is an error: not a success, informational or warning status (`NT_ERROR`).
    ///
    /// The I/O manager copies no output of a request that is completed with an error.
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "NT_ERROR")]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0.cast_unsigned() >> 30 == 3
    }
}

impl Error {
    /// Returns the raw `NTSTATUS`, which is negative.
    #[must_use]
    pub const fn to_raw(self) -> i32 {
        self.0.get()
    }

    /// Converts the return value of a routine into a `Result`.
    pub(crate) const fn check(raw: i32) -> Result<(), Self> {
        match NonZero::new(raw) {
            Some(raw) if raw.get() == -1 => Err(Self::UNSUCCESSFUL),
            Some(raw) if raw.is_negative() => Err(Self(raw)),
            _ => Ok(()),
        }
    }
}

impl From<Error> for NtStatus {
    fn from(error: Error) -> Self {
        Self(error.0.get())
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NTSTATUS {:#010x}", self.0.cast_unsigned())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NtStatus::from(*self).fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for Error {}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
