//! NTSTATUS values, as the scenarios compare and print them.

use std::fmt;

/// An NTSTATUS.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

/// The statuses that the driver and the I/O manager return, by their names in ntstatus.h without `STATUS_`.
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(concat!("STATUS_", stringify!($name))),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// The request succeeded.
    SUCCESS = 0x0000_0000;
    /// The request is pending.
    #[cfg_attr(not(any(windows, test)), expect(dead_code, reason = "only Windows uses it"))]
    PENDING = 0x0000_0103;
    /// The input buffer does not have the length of its structure.
    INFO_LENGTH_MISMATCH = 0xC000_0004;
    /// A field has an invalid value.
    INVALID_PARAMETER = 0xC000_000D;
    /// The device no longer exists.
    NO_SUCH_DEVICE = 0xC000_000E;
    /// The driver does not know the code.
    INVALID_DEVICE_REQUEST = 0xC000_0010;
    /// The handle was not opened with the access that the code requires.
    ACCESS_DENIED = 0xC000_0022;
    /// The output buffer is shorter than its structure.
    BUFFER_TOO_SMALL = 0xC000_0023;
    /// The handle has used up its quota of records.
    QUOTA_EXCEEDED = 0xC000_0044;
    /// The device is being removed.
    DELETE_PENDING = 0xC000_0056;
    /// The device is stopped; or a device queue is empty and no longer busy.
    DEVICE_NOT_READY = 0xC000_00A3;
    /// The request was cancelled.
    CANCELLED = 0xC000_0120;
    /// No pending request has the tag, or the stack is empty.
    NOT_FOUND = 0xC000_0225;
}

impl Status {
    /// `NT_ERROR`: the I/O manager does not write the I/O status block of a request that ends with such a status without having
    /// been pending.
    #[cfg(any(windows, test))]
    pub const fn is_error(self) -> bool {
        self.0 >> 30 == 3
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
    fn only_severity_3_is_an_error() {
        assert!(Status::CANCELLED.is_error());
        assert!(!Status::PENDING.is_error());
        assert!(
            !Status(0x8000_0005).is_error(),
            "STATUS_BUFFER_OVERFLOW is a warning"
        );
    }
}
