//! A part of the WDK's sample `storage/ramdisk`, ported: a disk in memory, with direct I/O. A program opens it: no file system can be
//! mounted on a [`Device`].

mod common;

use std::sync::Arc;

use common::start;
use ntmodel::{Clock, Config, Kernel, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, Error, Guid, Handled, IoType, Irp, Mutex, NewDevice, NtStatus, PassiveLevel,
    zerocopy::{FromBytes, Immutable, IntoBytes},
};

// The values in ntdddisk.h.
const GET_DRIVE_GEOMETRY: u32 = 0x7_0000;
const VERIFY: u32 = 0x7_0014;
const IS_WRITABLE: u32 = 0x7_0024;
const GET_LENGTH_INFO: u32 = 0x7_405c;
const CHECK_VERIFY: u32 = 0x7_4800;
const FIXED_MEDIA: u32 = 12;

const BYTES_PER_SECTOR: u32 = 512;
const SECTOR: usize = BYTES_PER_SECTOR as usize;
const DEFAULT_SIZE: u32 = 4096;

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
    padding: u32,
}

#[pin_data]
struct Disk {
    size: usize,
    #[pin]
    image: Mutex<Vec<u8>>,
}

impl Disk {
    /// Returns the part of the image that a request is for.
    fn range(&self, offset: i64, length: usize) -> Result<std::ops::Range<usize>, Error> {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(length)?;
            let is_whole = start.is_multiple_of(SECTOR) && end.is_multiple_of(SECTOR);
            (is_whole && end <= self.size).then_some(start..end)
        };
        range().ok_or(Error::INVALID_PARAMETER)
    }

    fn write_pages(&self, irp: &mut Irp<'_>, irql: &mut PassiveLevel) -> Result<usize, Error> {
        let offset = irp.offset();
        let pages = irp.user_buffer()?;
        let range = self.range(offset, pages.len())?;
        let count = range.len();
        self.image
            .with(irql, |image, _| pages.copy_to(0, &mut image[range]))?;
        Ok(count)
    }
}

impl Device for Disk {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    const IO_TYPE: IoType = IoType::Direct;

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let size = device.hardware_key().dword("", "DiskSize", irql);
        let size = size.unwrap_or(DEFAULT_SIZE) as usize / SECTOR * SECTOR;
        let mut image = Vec::new();
        image
            .try_reserve_exact(size)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        image.resize(size, 0);
        Ok(try_pin_init!(Self { size, image <- Mutex::new(image) }? Error))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        match self.range(irp.offset(), irp.output_length()) {
            Ok(range) => {
                let mut reply = irp.reply();
                self.image
                    .with(irql, |image, _| reply.append(&image[range]));
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

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
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
                irp.complete(
                    range.map_or_else(NtStatus::from, |_| NtStatus::SUCCESS),
                    irql,
                )
            }
            CHECK_VERIFY | IS_WRITABLE => irp.complete(NtStatus::SUCCESS, irql),
            _ => irp.complete(Error::INVALID_DEVICE_REQUEST, irql),
        }
    }

    fn flush<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

#[test]
fn disk_has_sectors() {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        hardware_key: vec![("DiskSize".into(), 3 * 512 + 7)],
        ..Config::default()
    });
    let stack = start::<Disk>(&kernel);
    let file = stack.open();
    let sectors: Vec<u8> = (0..=250).cycle().take(1024).collect();
    let written = file.write(512, &sectors).ended().expect("it ends");
    assert_eq!(
        (written.status, written.information),
        (nt::STATUS_SUCCESS, 1024)
    );
    let read = file.read(512, 1024).ended().expect("it ends");
    assert_eq!((read.status, read.information), (nt::STATUS_SUCCESS, 1024));
    assert_eq!(read.output, sectors);
    let read = file.read(0, 512).ended().expect("it ends");
    assert_eq!(read.output, [0; 512]);
    for (offset, length) in [
        (1, 512),
        (0, 511),
        (1536, 512),
        (-512, 512),
        (i64::MAX, 512),
    ] {
        let invalid = Some(nt::STATUS_INVALID_PARAMETER);
        assert_eq!(file.read(offset, length).status(), invalid);
        assert_eq!(file.write(offset, &vec![0; length]).status(), invalid);
    }
    assert_eq!(file.read(1536, 0).status(), Some(nt::STATUS_SUCCESS));
    assert_eq!(file.flush().status(), Some(nt::STATUS_SUCCESS));
    let asked = |code, input: &[u8], output| {
        let end = file
            .device_control(code, input, vec![0; output])
            .ended()
            .expect("it ends");
        (end.status, end.output)
    };
    let length = 1536_u64.to_ne_bytes().to_vec();
    assert_eq!(asked(GET_LENGTH_INFO, &[], 8), (nt::STATUS_SUCCESS, length));
    assert_eq!(
        asked(GET_LENGTH_INFO, &[], 7).0,
        nt::STATUS_BUFFER_TOO_SMALL
    );
    let (status, geometry) = asked(GET_DRIVE_GEOMETRY, &[], 24);
    assert_eq!(status, nt::STATUS_SUCCESS);
    assert_eq!(
        (geometry[0], geometry[8], &geometry[20..]),
        (3, 12, &[0, 2, 0, 0][..])
    );
    let verify = |offset: i64, length: u32| {
        let words = [offset.to_ne_bytes(), u64::from(length).to_ne_bytes()];
        asked(VERIFY, &words.concat(), 0).0
    };
    assert_eq!(verify(0, 1536), nt::STATUS_SUCCESS);
    assert_eq!(verify(512, 1536), nt::STATUS_INVALID_PARAMETER);
    file.close();
    stack.unload();
}

/// A read gets the whole of one write or none of it.
#[test]
fn read_against_write() {
    explore::check(1_000, |kernel| {
        let stack = start::<Disk>(kernel);
        let file = Arc::new(stack.open());
        let theirs = Arc::clone(&file);
        let writer = kernel.actor("writer", move || theirs.write(0, &[1; 512]).status());
        let read = file.read(0, 512).ended().expect("it ends").output;
        assert!(read == [0; 512] || read == [1; 512]);
        assert_eq!(writer.join(), Some(nt::STATUS_SUCCESS));
        drop(file);
        stack.unload();
    });
}
