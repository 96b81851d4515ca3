//! Reads, writes, flushes and device controls: the buffers of the driver, and the output that the caller receives.
//!
//! The expected results are those of Microsoft's "Using Buffered I/O", `IO_STACK_LOCATION` and "Using NTSTATUS Values": the I/O manager
//! copies no output of a request that ends with an error.

mod common;

use ntmodel::{Completion, File};
use pinned_init::PinInit;
use wdm::{Device, Error, Guid, Handled, Irp, MajorFunction, NewDevice, NtStatus, PassiveLevel};

/// `CTL_CODE` of `FILE_DEVICE_UNKNOWN`, for any access, by each method.
const BUFFERED: u32 = 0x22_2000;
const IN_DIRECT: u32 = 0x22_2001;
const OUT_DIRECT: u32 = 0x22_2002;
const NEITHER: u32 = 0x22_2003;

const MESSAGE: &[u8; 8] = b"a reply.";

/// Answers a read or a device control with as much of a message as fits, and a write with twice its length. A read
/// at a negative offset ends with an error.
struct Speaker;

impl Device for Speaker {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        assert_eq!(irp.major(), MajorFunction::DeviceControl);
        assert_eq!(irp.offset(), 0);
        let input = irp.input_bytes().map(<[u8]>::len);
        if irp.code() == NEITHER {
            assert_eq!(input, Err(Error::INVALID_DEVICE_REQUEST));
            assert_eq!(irp.output_length(), 0);
        } else {
            assert_eq!(input, Ok(5));
        }
        speak(irp, irql)
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        assert_eq!(irp.major(), MajorFunction::Read);
        assert_eq!(irp.code(), 0);
        assert_eq!(irp.input_bytes(), Ok(&[][..]));
        assert_eq!(irp.input::<u32>(), Err(Error::INFO_LENGTH_MISMATCH));
        if irp.offset() < 0 {
            let mut reply = irp.reply();
            reply.append(MESSAGE);
            return reply.complete(Error::INVALID_PARAMETER, irql);
        }
        speak(irp, irql)
    }

    fn write<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        assert_eq!(irp.major(), MajorFunction::Write);
        assert_eq!(irp.output_length(), 0);
        let length = irp.input_bytes().map_or(0, <[u8]>::len);
        assert_eq!(irp.offset(), i64::try_from(length).unwrap_or_default());
        irp.complete_write(2 * length, irql)
    }
}

fn speak<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let mut reply = irp.reply();
    let (first, second) = MESSAGE.split_at(3);
    let written = reply.append(b"???") + reply.append(second);
    assert_eq!(reply.write_at(written + 1, b"a gap"), 0);
    assert_eq!(reply.write_at(0, first), written.min(3));
    assert_eq!(written, reply.length());
    let status = if written < MESSAGE.len() {
        NtStatus::BUFFER_OVERFLOW
    } else {
        NtStatus::SUCCESS
    };
    reply.complete(status, irql)
}

fn with_file(test: impl FnOnce(&File)) {
    common::with_file::<Speaker>(&common::kernel(), |_, file| test(file));
}

fn ended(request: &ntmodel::Request) -> Completion {
    request.ended().expect("the request does not pend")
}

#[test]
fn read_is_limited_by_its_buffer() {
    with_file(|file| {
        for (length, status) in [
            (0, NtStatus::BUFFER_OVERFLOW),
            (2, NtStatus::BUFFER_OVERFLOW),
            (7, NtStatus::BUFFER_OVERFLOW),
            (8, NtStatus::SUCCESS),
            (20, NtStatus::SUCCESS),
        ] {
            let end = ended(&file.read(0, length));
            let count = length.min(MESSAGE.len());
            assert_eq!((end.status, end.information), (status.to_raw(), count));
            assert_eq!(end.output[..count], MESSAGE[..count]);
            assert!(end.output[count..].iter().all(|byte| *byte == 0));
        }
    });
}

#[test]
fn error_gives_no_output() {
    with_file(|file| {
        let end = ended(&file.read(-1, 8));
        assert_eq!(end.status, NtStatus::INVALID_PARAMETER.to_raw());
        assert_eq!((end.information, end.output), (0, vec![0; 8]));
    });
}

#[test]
fn write_reports_at_most_its_length() {
    with_file(|file| {
        for length in [0_u8, 1, 100] {
            let end = ended(&file.write(length.into(), &vec![1; length.into()]));
            assert_eq!((end.status, end.information), (0, length.into()));
        }
    });
}

#[test]
fn device_control_gets_its_buffers_by_its_method() {
    with_file(|file| {
        for code in [BUFFERED, OUT_DIRECT] {
            let end = ended(&file.device_control(code, b"input", vec![0; 8]));
            assert_eq!((end.status, end.information), (0, 8));
            assert_eq!(end.output, MESSAGE);
        }
        for code in [IN_DIRECT, NEITHER] {
            let end = ended(&file.device_control(code, b"input", vec![0; 8]));
            assert_eq!(end.status, NtStatus::BUFFER_OVERFLOW.to_raw());
            assert_eq!((end.information, end.output), (0, vec![0; 8]));
        }
    });
}

/// A major function for which the driver has no method fails as one for which a driver has no dispatch routine.
#[test]
fn request_without_a_method_is_invalid() {
    with_file(|file| {
        for request in [
            file.flush(),
            file.query_information(5, 24),
            file.set_information(20, &[0; 8]),
        ] {
            let status = ended(&request).status;
            assert_eq!(status, nt::STATUS_INVALID_DEVICE_REQUEST);
        }
    });
}
