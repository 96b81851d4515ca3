//! A disk in memory, which programs read and write sector by sector with direct I/O.
//!
//! It corresponds to the sample `storage/ramdisk` of the WDK, except for the file system: none can be mounted on a [`Device`]. The size
//! of the disk is in the registry. The disk is cleared at the shutdown, since memory can keep its contents over a restart.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::ops::Range;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, Error, Guid, Handled, IoType, Irp, Mutex, NewDevice, NtStatus, PassiveLevel,
    ctl_code::{Access, Method, ctl_code},
    irql::{CallerLevel, NoSpinLockHeld},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const BYTES_PER_SECTOR: u32 = 512;

/// The number of bytes in a sector.
pub const SECTOR: usize = BYTES_PER_SECTOR as usize;

/// The size of the disk in bytes, unless the value `DiskSize` in the device's hardware key specifies another.
pub const DEFAULT_SIZE: usize = 8 * SECTOR;

/// `CTL_CODE` with `IOCTL_DISK_BASE`.
const fn disk(function: u32, access: Access) -> u32 {
    ctl_code(7, function, Method::Buffered, access)
}

/// `IOCTL_DISK_GET_DRIVE_GEOMETRY`
const GET_DRIVE_GEOMETRY: u32 = disk(0, Access::Any);
/// `IOCTL_DISK_VERIFY`
const VERIFY: u32 = disk(5, Access::Any);
/// `IOCTL_DISK_IS_WRITABLE`
const IS_WRITABLE: u32 = disk(9, Access::Any);
/// `IOCTL_DISK_GET_LENGTH_INFO`
const GET_LENGTH_INFO: u32 = disk(0x17, Access::Read);
/// `IOCTL_DISK_CHECK_VERIFY`
const CHECK_VERIFY: u32 = disk(0x200, Access::Read);

/// `FixedMedia` of `MEDIA_TYPE`
const FIXED_MEDIA: u32 = 12;
/// `FileStandardInformation` of `FILE_INFORMATION_CLASS`
const FILE_STANDARD_INFORMATION: u32 = 5;

/// `DISK_GEOMETRY`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Geometry {
    cylinders: u64,
    media: u32,
    tracks_per_cylinder: u32,
    sectors_per_track: u32,
    bytes_per_sector: u32,
}

/// `VERIFY_INFORMATION`
#[derive(FromBytes)]
#[repr(C)]
struct Verify {
    offset: i64,
    length: u32,
    _padding: u32,
}

/// `FILE_STANDARD_INFORMATION`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct FileInformation {
    allocated: u64,
    size: u64,
    links: u32,
    is_delete_pending: u8,
    is_directory: u8,
    padding: u16,
}

/// The device.
#[pin_data]
pub struct Disk {
    size: usize,
    #[pin]
    image: Mutex<Vec<u8>>,
}

impl Disk {
    /// Returns the part of the disk that a request is for: whole sectors.
    fn range(&self, offset: i64, length: usize) -> Result<Range<usize>, Error> {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(length)?;
            let is_whole = start.is_multiple_of(SECTOR) && end.is_multiple_of(SECTOR);
            (is_whole && end <= self.size).then_some(start..end)
        };
        range().ok_or(Error::INVALID_PARAMETER)
    }

    /// Returns the part of the disk to read. The buffer is mapped first, since nothing can be appended to a reply if it cannot be mapped.
    fn range_to_read(&self, irp: &mut Irp<'_>) -> Result<Range<usize>, Error> {
        let length = irp.user_buffer()?.len();
        self.range(irp.offset(), length)
    }

    /// Copies the pages of a write to the disk, and returns the number of bytes.
    fn write_pages(&self, irp: &mut Irp<'_>, irql: &mut PassiveLevel) -> Result<usize, Error> {
        let offset = irp.offset();
        let pages = irp.user_buffer()?;
        let range = self.range(offset, pages.len())?;
        self.image.with(irql, |image, _| {
            let place = image.get_mut(range).unwrap_or_default();
            pages.copy_to(0, place)?;
            Ok(place.len())
        })
    }

    /// Serves a device control of a program or of another driver.
    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut impl NoSpinLockHeld) -> Handled<'irp> {
        match irp.code() {
            GET_LENGTH_INFO => irp.complete_with(&(self.size as u64), irql),
            GET_DRIVE_GEOMETRY => {
                let geometry = Geometry {
                    cylinders: (self.size / SECTOR) as u64,
                    media: FIXED_MEDIA,
                    tracks_per_cylinder: 1,
                    sectors_per_track: 1,
                    bytes_per_sector: BYTES_PER_SECTOR,
                };
                irp.complete_with(&geometry, irql)
            }
            VERIFY => {
                let range = irp
                    .input::<Verify>()
                    .and_then(|verify| self.range(verify.offset, verify.length as usize));
                let status = range.map_or_else(NtStatus::from, |_| NtStatus::SUCCESS);
                irp.complete(status, irql)
            }
            CHECK_VERIFY | IS_WRITABLE => irp.complete(NtStatus::SUCCESS, irql),
            _ => irp.complete(Error::INVALID_DEVICE_REQUEST, irql),
        }
    }
}

impl Device for Disk {
    const INTERFACE: Guid = Guid::new(
        0xb704_c2ff,
        0xa1fc,
        0x4a5c,
        [0x9d, 0xde, 0x78, 0xc0, 0x1d, 0x2a, 0xc1, 0xb9],
    );

    const IO_TYPE: IoType = IoType::Direct;

    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let size = device.hardware_key().dword("", "DiskSize", irql);
        let size = size.map_or(DEFAULT_SIZE, |size| size as usize / SECTOR * SECTOR);
        let mut image = Vec::new();
        image
            .try_reserve_exact(size)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        // The condition is never true. With it, the compiler recognises that `resize` does not allocate, which could panic.
        if !image.is_empty() || image.capacity() < size {
            return Err(Error::INSUFFICIENT_RESOURCES);
        }
        image.resize(size, 0);
        Ok(try_pin_init!(Self { size, image <- Mutex::new(image) }? Error))
    }

    fn read<'irp>(&self, mut irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        match self.range_to_read(&mut irp) {
            Ok(range) => {
                let mut reply = irp.reply();
                self.image.with(irql, |image, _| {
                    reply.append(image.get(range).unwrap_or_default());
                });
                reply.complete(NtStatus::SUCCESS, irql)
            }
            Err(error) => irp.complete(error, irql),
        }
    }

    fn write<'irp>(&self, mut irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        match self.write_pages(&mut irp, irql) {
            Ok(count) => irp.complete_write(count, irql),
            Err(error) => irp.complete(error, irql),
        }
    }

    fn flush<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        self.control(irp, irql)
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        self.control(irp, irql)
    }

    fn query_information<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.information_class() != FILE_STANDARD_INFORMATION {
            return irp.complete(Error::INVALID_DEVICE_REQUEST, irql);
        }
        let information = FileInformation {
            allocated: self.size as u64,
            size: self.size as u64,
            links: 1,
            is_delete_pending: 0,
            is_directory: 0,
            padding: 0,
        };
        irp.complete_with(&information, irql)
    }

    fn shutdown(&self, irql: &mut PassiveLevel) {
        self.image.with(irql, |image, _| image.fill(0));
    }
}
