//! The disk on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::sync::Arc;

use interlock_explore::{BuiltDriver, Harness, hold};
use interlock_sample_ramdisk::{DEFAULT_SIZE, Disk, SECTOR};
use nt::{
    STATUS_BUFFER_TOO_SMALL, STATUS_DELETE_PENDING, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ntmodel::{Clock, Completion, Config, Faults, File, Kernel, Request};

// The values in ntdddisk.h.
const GET_DRIVE_GEOMETRY: u32 = 0x7_0000;
const VERIFY: u32 = 0x7_0014;
const IS_WRITABLE: u32 = 0x7_0024;
const GET_LENGTH_INFO: u32 = 0x7_405c;
const CHECK_VERIFY: u32 = 0x7_4800;

/// `FileStandardInformation` and `FilePositionInformation`
const STANDARD: u32 = 5;
const POSITION: u32 = 14;

/// A size with three sectors, and a part of another, which is not used.
const SMALL: u32 = 3 * 512 + 7;
const SECTORS: usize = 3;

const DISK: BuiltDriver = BuiltDriver::device::<Disk>("sample_ramdisk");

/// The end of a request, which does not pend.
fn end(request: &Request) -> Completion {
    request.ended().expect("the request does not pend")
}

fn status(request: &Request) -> i32 {
    end(request).status
}

fn config(size: u32) -> Config {
    Config {
        clock: Clock::Virtual,
        hardware_key: vec![("DiskSize".into(), size)],
        ..Config::default()
    }
}

/// Runs a test with a disk of three sectors.
fn with_disk(test: impl FnOnce(&Harness, &File)) {
    let disk = DISK.start(&Kernel::new(config(SMALL)));
    test(&disk, &disk.file);
    disk.tear_down();
}

#[test]
fn sectors_are_read_as_they_were_written() {
    with_disk(|_, file| {
        let sectors: Vec<u8> = (0..=250).cycle().take(2 * SECTOR).collect();
        let written = end(&file.write(512, &sectors));
        let answer = (written.status, written.information);
        assert_eq!(answer, (STATUS_SUCCESS, 2 * SECTOR));
        let read = end(&file.read(512, 2 * SECTOR));
        let answer = (read.status, read.information);
        assert_eq!(answer, (STATUS_SUCCESS, 2 * SECTOR));
        assert_eq!(read.output, sectors);
        let read = end(&file.read(0, SECTOR));
        assert_eq!(read.output, [0; SECTOR]);
        assert_eq!(status(&file.read(1536, 0)), STATUS_SUCCESS);
        assert_eq!(status(&file.write(1536, &[])), STATUS_SUCCESS);
        assert_eq!(status(&file.flush()), STATUS_SUCCESS);
    });
}

#[test]
fn only_whole_sectors_of_the_disk_are_transferred() {
    with_disk(|_, file| {
        for (offset, length) in [
            (1, 512),
            (0, 511),
            (1536, 512),
            (-512, 512),
            (i64::MAX, 512),
        ] {
            assert_eq!(status(&file.read(offset, length)), STATUS_INVALID_PARAMETER);
            let written = file.write(offset, &vec![1; length]);
            assert_eq!(status(&written), STATUS_INVALID_PARAMETER);
        }
        let disk = end(&file.read(0, SECTORS * SECTOR));
        assert_eq!(disk.output, [0; SECTORS * SECTOR]);
    });
}

#[test]
fn registry_has_the_size() {
    let disk = DISK.start(&Kernel::new(Config::default()));
    let length = end(&disk.file.device_control(GET_LENGTH_INFO, &[], vec![0; 8]));
    assert_eq!(length.output, (DEFAULT_SIZE as u64).to_ne_bytes());
    disk.tear_down();
    let disk = DISK.start(&Kernel::new(config(511)));
    assert_eq!(status(&disk.file.read(0, SECTOR)), STATUS_INVALID_PARAMETER);
    disk.tear_down();
}

#[test]
fn device_controls_are_those_of_a_disk() {
    with_disk(|disk, file| {
        let device = &disk.device;
        // Another driver has no open file.
        for is_program in [true, false] {
            let send = |code, input: &[u8], output| {
                let output = vec![0; output];
                if is_program {
                    file.device_control(code, input, output)
                } else {
                    device.internal_device_control(code, input, output)
                }
            };
            let length = end(&send(GET_LENGTH_INFO, &[], 8));
            let answer = (length.status, length.output);
            assert_eq!(answer, (STATUS_SUCCESS, 1536_u64.to_ne_bytes().to_vec()));
            let short = send(GET_LENGTH_INFO, &[], 7);
            assert_eq!(status(&short), STATUS_BUFFER_TOO_SMALL);
            let geometry = end(&send(GET_DRIVE_GEOMETRY, &[], 24));
            let answer = (geometry.status, geometry.information);
            assert_eq!(answer, (STATUS_SUCCESS, 24));
            let geometry = geometry.output;
            assert_eq!((geometry[0], geometry[8]), (3, 12));
            assert_eq!(geometry[20..], [0, 2, 0, 0]);
            for (offset, length, expected) in [
                (0_i64, 1536_u64, STATUS_SUCCESS),
                (512, 1536, STATUS_INVALID_PARAMETER),
            ] {
                let input = [offset.to_ne_bytes(), length.to_ne_bytes()].concat();
                assert_eq!(status(&send(VERIFY, &input, 0)), expected);
            }
            assert_eq!(status(&send(CHECK_VERIFY, &[], 0)), STATUS_SUCCESS);
            assert_eq!(status(&send(IS_WRITABLE, &[], 0)), STATUS_SUCCESS);
            let unknown = send(0x7_4004, &[], 32);
            assert_eq!(status(&unknown), STATUS_INVALID_DEVICE_REQUEST);
        }
    });
}

/// The layout is that of `FILE_STANDARD_INFORMATION`.
#[test]
fn size_is_that_of_a_file() {
    with_disk(|_, file| {
        let information = end(&file.query_information(STANDARD, 24));
        let answer = (information.status, information.information);
        assert_eq!(answer, (STATUS_SUCCESS, 24));
        let size = 1536_u64.to_ne_bytes();
        let links = 1_u64.to_ne_bytes();
        assert_eq!(information.output, [size, size, links].concat());
        let position = file.query_information(POSITION, 8);
        assert_eq!(status(&position), STATUS_INVALID_DEVICE_REQUEST);
    });
}

#[test]
fn disk_is_cleared_at_the_shutdown() {
    with_disk(|disk, file| {
        assert_eq!(status(&file.write(0, &[1; SECTOR])), STATUS_SUCCESS);
        disk.kernel.notify_shutdown();
        assert_eq!(end(&file.read(0, SECTOR)).output, [0; SECTOR]);
    });
}

/// The mapping of each request fails once.
#[test]
fn buffer_that_cannot_be_mapped_is_reported() {
    let faults = Arc::new(Faults::default());
    let disk = DISK.start(&Kernel::new(Config {
        faults: Some(Arc::clone(&faults)),
        ..config(SMALL)
    }));
    let mut seen = Vec::new();
    loop {
        faults.arm();
        let requests = [disk.file.write(0, &[1; SECTOR]), disk.file.read(0, SECTOR)];
        if !faults.disarm() {
            break;
        }
        seen.push(requests.map(|request| status(&request)));
    }
    let refused = STATUS_INSUFFICIENT_RESOURCES;
    assert_eq!(seen, [[refused, STATUS_SUCCESS], [STATUS_SUCCESS, refused]]);
    disk.tear_down();
}

/// A read gets the whole of one write or none of it.
#[test]
fn read_against_write() {
    hold(|kernel| {
        let disk = DISK.start(kernel);
        let writer = disk.actor("writer", &disk.file, |file| {
            status(&file.write(0, &[1; SECTOR]))
        });
        let read = end(&disk.file.read(0, SECTOR)).output;
        assert!(read == [0; SECTOR] || read == [1; SECTOR]);
        assert_eq!(writer.join(), STATUS_SUCCESS);
        disk.tear_down();
    });
}

#[test]
fn shutdown_against_write() {
    hold(|kernel| {
        let disk = DISK.start(kernel);
        let writer = disk.actor("writer", &disk.file, |file| {
            status(&file.write(0, &[1; SECTOR]))
        });
        kernel.notify_shutdown();
        assert_eq!(writer.join(), STATUS_SUCCESS);
        let read = end(&disk.file.read(0, SECTOR)).output;
        assert!(read == [0; SECTOR] || read == [1; SECTOR]);
        disk.tear_down();
    });
}

#[test]
fn removal_against_two_transfers() {
    hold(|kernel| {
        let disk = DISK.start(kernel);
        let remover = disk.remover();
        let writer = disk.actor("writer", &disk.file, |file| {
            status(&file.write(0, &[1; SECTOR]))
        });
        let read = status(&disk.file.read(0, SECTOR));
        for end in [read, writer.join()] {
            assert!([STATUS_SUCCESS, STATUS_DELETE_PENDING].contains(&end));
        }
        remover.join();
        disk.tear_down();
    });
}
