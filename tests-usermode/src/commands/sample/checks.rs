//! Checks of each sample's behaviour.

use std::{thread::sleep, time::Duration};

use windows_sys::core::GUID;

use crate::error::{Error, Result, ensure};
use crate::status::Status;
use crate::target::{Access, Completion, DEADLINE};
use crate::win32::{Device, Event, Request, path_of};

/// Waits for a request, which must end with a status.
fn end(request: &Request, what: &str, status: Status) -> Result<Completion> {
    let end = request.wait(DEADLINE)?;
    let end = end.ok_or_else(|| Error::failed(format!("{what} does not end")))?;
    ensure(end.status == status, || {
        format!("{what} ended with {}, not with {status}", end.status)
    })?;
    Ok(end)
}

/// Waits for a request, which must succeed and return these bytes.
fn returns(request: &Request, what: &str, expected: &[u8]) -> Result {
    let end = end(request, what, Status::SUCCESS)?;
    let returned = end.output.get(..end.information).unwrap_or_default();
    ensure(returned == expected, || {
        format!("{what} returned {returned:02x?}, not {expected:02x?}")
    })
}

/// Checks that a request is pending.
fn pends(request: Request, what: &str) -> Result<Request> {
    ensure(!request.is_done(), || format!("{what} is not pending"))?;
    Ok(request)
}

/// Opens the device with this interface.
fn open(interface: (u32, u16, u16, [u8; 8])) -> Result<Device> {
    let (data1, data2, data3, data4) = interface;
    let class = GUID {
        data1,
        data2,
        data3,
        data4,
    };
    let path = path_of(&class)?.ok_or_else(|| {
        Error::could_not_run("no device has the sample's interface: install its INF")
    })?;
    Device::open_at(&path, Access::ReadWrite)
}

/// Bytes that are written can be read; reads wait for bytes, and writes for free space.
pub fn pipe() -> Result {
    const INTERFACE: (u32, u16, u16, [u8; 8]) = (
        0x6b1f_54c2,
        0x0d0e,
        0x4c52,
        [0x9a, 0x61, 0x2f, 0x7c, 0x51, 0x44, 0x8e, 0x10],
    );
    const CAPACITY: usize = 4096;
    let written = |device: &Device, bytes: &[u8]| {
        let end = end(&device.write(bytes)?, "a write", Status::SUCCESS)?;
        ensure(end.information == bytes.len(), || {
            format!("a write took {} bytes of {}", end.information, bytes.len())
        })
    };
    let device = open(INTERFACE)?;
    written(&device, b"hello, ")?;
    written(&device, b"world")?;
    returns(&device.read(vec![0; 5])?, "a read", b"hello")?;
    returns(&device.read(vec![0; 100])?, "a read", b", world")?;

    let read = pends(device.read(vec![0; 2])?, "a read of an empty pipe")?;
    written(&device, b"abc")?;
    returns(&read, "the read that waited", b"ab")?;
    returns(&device.read(vec![0; 2])?, "a read", b"c")?;

    let read = pends(device.read(vec![0; 2])?, "a read of an empty pipe")?;
    read.cancel()?;
    end(&read, "the cancelled read", Status::CANCELLED)?;

    written(&device, &[7; CAPACITY])?;
    let write = pends(device.write(b"z")?, "a write to a full pipe")?;
    returns(&device.read(vec![0; CAPACITY])?, "a read", &[7; CAPACITY])?;
    end(&write, "the write that waited", Status::SUCCESS)?;
    returns(&device.read(vec![0; 2])?, "a read", b"z")?;

    let other = open(INTERFACE)?;
    let read = pends(other.read(vec![0; 2])?, "a read of an empty pipe")?;
    drop(other);
    end(&read, "the read of the closed handle", Status::CANCELLED).map(drop)
}

/// Each read gets a sample of the hardware; it can be cancelled.
pub fn cancel() -> Result {
    let device = open((
        0x2d5a_7f10,
        0x93c4,
        0x4b0f,
        [0xb2, 0x18, 0x64, 0x0a, 0x9d, 0x37, 0x5e, 0x21],
    ))?;
    let read = || device.read(vec![0; 4]);
    let reads = [read()?, read()?, pends(read()?, "a read")?];
    reads[1].cancel()?;
    end(&reads[1], "the cancelled read", Status::CANCELLED)?;
    for (read, sample) in [(&reads[0], 1_u32), (&reads[2], 2), (&read()?, 3)] {
        returns(read, "a read", &sample.to_le_bytes())?;
    }
    let short = device.read(vec![0; 3])?;
    end(&short, "a read of 3 bytes", Status::BUFFER_TOO_SMALL)?;
    let last = pends(read()?, "a read")?;
    drop(device);
    end(&last, "the read of the closed handle", Status::CANCELLED).map(drop)
}

/// After a time, a request ends or an event is set.
pub fn event() -> Result {
    const NOTIFY: u32 = 0x22_2000;
    const LONG: u64 = 60_000;
    let open = || Device::open_at(r"\\.\InterlockEvent", Access::ReadWrite);
    let notify = |device: &Device, event: Option<&Event>, milliseconds: u64| {
        let event = event.map_or(0, |event| event.handle().addr() as u64);
        let input = [event.to_le_bytes(), milliseconds.to_le_bytes()].concat();
        device.submit(NOTIFY, &input, Vec::new())
    };
    let failed = |error| Error::failed(format!("the event: {error}"));
    let device = open()?;
    let request = pends(notify(&device, None, 200)?, "a notification")?;
    end(&request, "the notification", Status::SUCCESS)?;

    let event = Event::new().map_err(failed)?;
    event.reset().map_err(failed)?;
    let asked = notify(&device, Some(&event), 200)?;
    end(&asked, "the registration of an event", Status::SUCCESS)?;
    let is_set = |timeout| event.wait(timeout).map_err(failed);
    ensure(!is_set(Duration::ZERO)?, || {
        "the event is set immediately".into()
    })?;
    ensure(is_set(Duration::from_secs(20))?, || {
        "the event is not set".into()
    })?;

    let request = pends(notify(&device, None, LONG)?, "a notification")?;
    request.cancel()?;
    end(&request, "the cancelled notification", Status::CANCELLED)?;

    event.reset().map_err(failed)?;
    let other = open()?;
    let request = pends(notify(&other, None, LONG)?, "a notification")?;
    let asked = notify(&other, Some(&event), 300)?;
    end(&asked, "the registration of an event", Status::SUCCESS)?;
    drop(other);
    end(&request, "the one of the closed handle", Status::CANCELLED)?;
    sleep(Duration::from_millis(600));
    ensure(!is_set(Duration::ZERO)?, || {
        "the event of a closed handle is set".into()
    })?;
    let bad = device.submit(NOTIFY + 4, &[0; 16], Vec::new())?;
    end(&bad, "an unknown request", Status::INVALID_DEVICE_REQUEST).map(drop)
}

/// A text is sent and another returned.
pub fn control() -> Result {
    const ANSWER: &[u8] = b"This text is from the driver.\0";
    const IN_DIRECT: u32 = code(0x900, 1);
    const OUT_DIRECT: u32 = code(0x901, 2);
    const BUFFERED: u32 = code(0x902, 0);
    /// `CTL_CODE` with the sample's device type and any access.
    const fn code(function: u32, method: u32) -> u32 {
        40_000 << 16 | function << 2 | method
    }
    let device = Device::open_at(r"\\.\InterlockControl", Access::ReadWrite)?;
    for (code, what) in [
        (BUFFERED, "METHOD_BUFFERED"),
        (OUT_DIRECT, "METHOD_OUT_DIRECT"),
    ] {
        returns(
            &device.submit(code, b"hello\0", vec![0; 100])?,
            what,
            ANSWER,
        )?;
        returns(
            &device.submit(code, b"hello\0", vec![0; 4])?,
            what,
            &ANSWER[..4],
        )?;
    }
    let sent = device.submit(IN_DIRECT, b"hello\0", b"world\0".to_vec())?;
    returns(&sent, "METHOD_IN_DIRECT", b"")?;
    let empty = device.submit(BUFFERED, b"", vec![0; 100])?;
    end(
        &empty,
        "a request without a text",
        Status::INVALID_PARAMETER,
    )?;
    let read = device.read(vec![0; 4])?;
    end(&read, "a read", Status::INVALID_DEVICE_REQUEST).map(drop)
}

/// A disk of 1 MiB, as its INF says, keeps what is written.
pub fn ramdisk() -> Result {
    const GET_LENGTH_INFO: u32 = 0x7_405c;
    const SIZE: usize = 0x10_0000;
    const SECTOR: usize = 512;
    let device = open((
        0xb704_c2ff,
        0xa1fc,
        0x4a5c,
        [0x9d, 0xde, 0x78, 0xc0, 0x1d, 0x2a, 0xc1, 0xb9],
    ))?;
    let size = device.submit(GET_LENGTH_INFO, &[], vec![0; 8])?;
    returns(
        &size,
        "the length of the disk",
        &(SIZE as u64).to_le_bytes(),
    )?;
    let sectors = [[1; SECTOR], [2; SECTOR]].concat();
    let write = end(&device.write(&sectors)?, "a write", Status::SUCCESS)?;
    ensure(write.information == sectors.len(), || {
        format!("a write of two sectors took {} bytes", write.information)
    })?;
    returns(&device.read(vec![0; 2 * SECTOR])?, "a read", &sectors)?;
    for length in [SECTOR - 1, SIZE + SECTOR] {
        let read = device.read(vec![0; length])?;
        end(
            &read,
            "a read of no whole sectors of the disk",
            Status::INVALID_PARAMETER,
        )?;
    }
    let other = device.submit(0x7_4004, &[], vec![0; 32])?;
    end(&other, "an unknown request", Status::INVALID_DEVICE_REQUEST).map(drop)
}

/// Reads are served one at a time, and can be cancelled.
pub fn startio() -> Result {
    let device = open((
        0xbea2_db8b,
        0x5fa0,
        0x4f0b,
        [0x9a, 0x9c, 0x32, 0x42, 0x5f, 0xa3, 0xfb, 0x7f],
    ))?;
    let read = || pends(device.read(vec![0; 4])?, "a read");
    let reads = [read()?, read()?, read()?, read()?];
    for cancelled in [&reads[0], &reads[2]] {
        cancelled.cancel()?;
        end(cancelled, "the cancelled read", Status::CANCELLED)?;
    }
    for served in [&reads[1], &reads[3]] {
        returns(served, "a read", &42_u32.to_le_bytes())?;
    }
    let short = device.read(vec![0; 3])?;
    end(&short, "a read of 3 bytes", Status::BUFFER_TOO_SMALL)?;
    let last = [read()?, read()?];
    drop(device);
    for read in &last {
        end(read, "a read of the closed handle", Status::CANCELLED)?;
    }
    Ok(())
}

/// The bus driver of a root-enumerated device refuses the requests to a port, so the detection fails.
pub fn detect() -> Result {
    let device = open((
        0xc652_997a,
        0xb1d2,
        0x4df4,
        [0xbd, 0xfc, 0x5a, 0x7c, 0xc2, 0x8e, 0x42, 0xb2],
    ))?;
    let read = device.read(vec![0; 16])?;
    end(
        &read,
        "a read without a port",
        Status::INVALID_DEVICE_REQUEST,
    )
    .map(drop)
}

/// Messages that are written can be read as lines; reads wait for one.
pub fn recorder() -> Result {
    const ENABLE: u32 = code(0x801);
    const DISABLE: u32 = code(0x802);
    const NAME: u32 = code(0x804);
    const HEARTBEAT: u32 = code(0x805);
    const MAX_LINE: usize = 120;
    /// `CTL_CODE` with `FILE_DEVICE_UNKNOWN`, `METHOD_BUFFERED` and `FILE_WRITE_ACCESS`.
    const fn code(function: u32) -> u32 {
        0x22 << 16 | 2 << 14 | function << 2
    }
    let device = Device::open_at(r"\\.\InterlockRecorder", Access::ReadWrite)?;
    let read = || device.read(vec![0; MAX_LINE]);
    let write = |text: &[u8]| {
        let end = end(&device.write(text)?, "a write", Status::SUCCESS)?;
        ensure(end.information == text.len(), || {
            format!("a write took {} bytes of {}", end.information, text.len())
        })
    };
    let control = |code, input: &[u8]| {
        let request = device.submit(code, input, Vec::new())?;
        end(&request, "an IOCTL", Status::SUCCESS).map(drop)
    };
    let waiting = pends(read()?, "a read of an empty log")?;
    write(b"first")?;
    returns(&waiting, "the read that waited", b"program: first\n")?;

    control(DISABLE, &[1, 0, 0, 0])?;
    write(b"ignored")?;
    control(ENABLE, &[1, 0, 0, 0])?;
    control(NAME, b"\0\0\0\0harness\0")?;
    write(b"second")?;
    returns(&read()?, "a read", b"harness: second\n")?;

    let short = device.read(vec![0; MAX_LINE - 1])?;
    end(&short, "a short read", Status::BUFFER_TOO_SMALL)?;
    let cancelled = pends(read()?, "a read of an empty log")?;
    cancelled.cancel()?;
    end(&cancelled, "the cancelled read", Status::CANCELLED)?;

    control(HEARTBEAT, &[50, 0, 0, 0])?;
    for _ in 0..3 {
        let beat = end(&read()?, "a read of a heartbeat", Status::SUCCESS)?;
        ensure(
            beat.output.starts_with(b"recorder: 0000 messages lost\n"),
            || format!("the heartbeat is {:02x?}", beat.output),
        )?;
    }
    control(HEARTBEAT, &[0; 4])?;
    let bad = device.submit(code(0x806), &[], Vec::new())?;
    end(&bad, "an unknown request", Status::INVALID_DEVICE_REQUEST).map(drop)
}
