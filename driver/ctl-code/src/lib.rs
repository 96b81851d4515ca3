//! I/O control codes, for a driver and for the programs that call it.
//!
//! It is a separate crate without dependencies, since a program that calls a driver does not depend on `wdm`, which
//! re-exports it.

#![no_std]
#![forbid(unsafe_code)]

/// The device type of a device that is of no other type (`FILE_DEVICE_UNKNOWN`).
#[doc(alias = "FILE_DEVICE_UNKNOWN")]
pub const UNKNOWN_DEVICE: u32 = 0x22;

/// How the I/O manager passes the buffers of a request to the driver.
///
/// `METHOD_NEITHER` has no value here. With it the driver gets user-mode addresses, and an access raises an exception
/// if they are not valid, which a driver in Rust cannot handle.
///
/// WDK: [Buffer Descriptions for I/O Control
/// Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/buffer-descriptions-for-i-o-control-codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `METHOD_BUFFERED`: input and output are copied.
    Buffered = 0,
    /// `METHOD_IN_DIRECT`: the input is copied, and the driver reads the pages of the output buffer.
    InDirect = 1,
    /// `METHOD_OUT_DIRECT`: the input is copied, and the driver writes the pages of the output buffer.
    OutDirect = 2,
}

/// The access right that the handle of the device must have.
///
/// WDK: [Defining I/O Control Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-i-o-control-codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `FILE_ANY_ACCESS`: every handle may send the request.
    Any = 0,
    /// `FILE_READ_DATA`
    Read = 1,
    /// `FILE_WRITE_DATA`
    Write = 2,
    /// `FILE_READ_DATA` and `FILE_WRITE_DATA`
    ReadWrite = 3,
}

/// Returns the I/O control code of a function (`CTL_CODE`).
///
/// Device types below 0x8000 and functions below 0x800 are reserved for Microsoft, except [`UNKNOWN_DEVICE`].
///
/// WDK: [Defining I/O Control Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-i-o-control-codes).
///
/// # Panics
/// If the device type has more than 16 bits or the function more than 12. In a `const` this is an error of the compiler.
///
/// # Examples
///
/// ```
/// use ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code};
///
/// const GET_VERSION: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::Buffered, Access::Read);
/// assert_eq!(GET_VERSION, 0x22_6000);
/// ```
#[doc(alias = "CTL_CODE")]
#[must_use]
pub const fn ctl_code(device_type: u32, function: u32, method: Method, access: Access) -> u32 {
    assert!(device_type <= 0xffff, "a device type has 16 bits");
    assert!(function <= 0xfff, "a function has 12 bits");
    (device_type << 16) | ((access as u32) << 14) | (function << 2) | method as u32
}

#[cfg(test)]
mod tests {
    use super::{Access, Method, ctl_code};

    /// Codes of `winioctl.h`, `ntddscsi.h` and `ntddcdrm.h`, by the values that are published for them.
    #[test]
    fn codes_are_those_of_the_headers() {
        let disk = |function, access| ctl_code(7, function, Method::Buffered, access);
        assert_eq!(disk(0, Access::Any), 0x7_0000); // IOCTL_DISK_GET_DRIVE_GEOMETRY
        assert_eq!(disk(9, Access::Any), 0x7_0024); // IOCTL_DISK_IS_WRITABLE
        assert_eq!(disk(1, Access::Read), 0x7_4004); // IOCTL_DISK_GET_PARTITION_INFO
        assert_eq!(disk(2, Access::ReadWrite), 0x7_c008); // IOCTL_DISK_SET_PARTITION_INFO
        // IOCTL_SCSI_PASS_THROUGH_DIRECT
        let scsi = ctl_code(4, 0x405, Method::Buffered, Access::ReadWrite);
        assert_eq!(scsi, 0x4_d014);
        // IOCTL_CDROM_RAW_READ
        let raw_read = ctl_code(2, 0xf, Method::OutDirect, Access::Read);
        assert_eq!(raw_read, 0x2_403e);
    }
}
