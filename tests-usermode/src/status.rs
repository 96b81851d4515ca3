//! NTSTATUS values as the scenarios compare and print them.

use std::fmt;

/// An NTSTATUS.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// The request was done.
    pub const SUCCESS: Self = Self(0x0000_0000);
    /// The request stays with the driver.
    pub const PENDING: Self = Self(0x0000_0103);
    /// The input buffer has another length than its structure.
    pub const INFO_LENGTH_MISMATCH: Self = Self(0xC000_0004);
    /// A field has a value that it may not have.
    pub const INVALID_PARAMETER: Self = Self(0xC000_000D);
    /// The device is no longer there.
    pub const NO_SUCH_DEVICE: Self = Self(0xC000_000E);
    /// The code is not one of the driver's.
    pub const INVALID_DEVICE_REQUEST: Self = Self(0xC000_0010);
    /// The handle was not opened with the access that the code asks for.
    pub const ACCESS_DENIED: Self = Self(0xC000_0022);
    /// The output buffer is shorter than its structure.
    pub const BUFFER_TOO_SMALL: Self = Self(0xC000_0023);
    /// The handle has as many records as it may.
    pub const QUOTA_EXCEEDED: Self = Self(0xC000_0044);
    /// The device is being removed.
    pub const DELETE_PENDING: Self = Self(0xC000_0056);
    /// The device is stopped; or a device queue, which is not busy, has nothing to remove.
    pub const DEVICE_NOT_READY: Self = Self(0xC000_00A3);
    /// The request was cancelled.
    pub const CANCELLED: Self = Self(0xC000_0120);
    /// No pending request has that tag, or none is on the stack.
    pub const NOT_FOUND: Self = Self(0xC000_0225);

    /// What `NT_ERROR` says: the I/O manager writes no I/O status block for such a status when the
    /// request did not pend.
    #[cfg(any(windows, test))]
    pub const fn is_error(self) -> bool {
        self.0 >> 30 == 3
    }

    /// The name in ntstatus.h, for the values that the driver and the I/O manager answer with.
    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SUCCESS => "STATUS_SUCCESS",
            Self::PENDING => "STATUS_PENDING",
            Self::INFO_LENGTH_MISMATCH => "STATUS_INFO_LENGTH_MISMATCH",
            Self::INVALID_PARAMETER => "STATUS_INVALID_PARAMETER",
            Self::NO_SUCH_DEVICE => "STATUS_NO_SUCH_DEVICE",
            Self::INVALID_DEVICE_REQUEST => "STATUS_INVALID_DEVICE_REQUEST",
            Self::ACCESS_DENIED => "STATUS_ACCESS_DENIED",
            Self::BUFFER_TOO_SMALL => "STATUS_BUFFER_TOO_SMALL",
            Self::DELETE_PENDING => "STATUS_DELETE_PENDING",
            Self::QUOTA_EXCEEDED => "STATUS_QUOTA_EXCEEDED",
            Self::DEVICE_NOT_READY => "STATUS_DEVICE_NOT_READY",
            Self::CANCELLED => "STATUS_CANCELLED",
            Self::NOT_FOUND => "STATUS_NOT_FOUND",
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:08X})", self.0),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn prints_the_name_and_the_value() {
        assert_eq!(
            Status::CANCELLED.to_string(),
            "STATUS_CANCELLED (0xC0000120)"
        );
        assert_eq!(Status(0xC000_0001).to_string(), "0xC0000001");
    }

    #[test]
    fn only_the_error_severity_is_an_error() {
        assert!(Status::CANCELLED.is_error());
        assert!(!Status::PENDING.is_error());
        assert!(
            !Status(0x8000_0005).is_error(),
            "STATUS_BUFFER_OVERFLOW warns"
        );
    }
}
