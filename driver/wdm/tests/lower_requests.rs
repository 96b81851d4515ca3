//! Requests that a driver makes and sends to the lower device: their input and output, timeouts, and the removal.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::{sync::Arc, time::Duration};

use common::{Quiet, Stack, kernel, load, status};
use ntmodel::{Driver, File, Kernel, explore};
use pinned_init::PinInit;
use wdm::{
    ControlCode, Device, Error, Filter, Guid, Handled, IoType, Irp, IrpQueue, Lower, MajorFunction,
    NewDevice, NewFilter, NtStatus, PassiveLevel, Shared, irql::CallerLevel,
};

/// Declares a code of the lower driver.
fn control(code: u32) -> ControlCode {
    // SAFETY: the drivers in this file access no memory by the contents of the buffers.
    unsafe { ControlCode::new(code) }
}

/// Returns each byte of the input, increased by one.
const NEXT: u32 = 0x22_2000;
/// Fails.
const FAIL: u32 = 0x22_2004;
/// Pends until it is cancelled.
const HANG: u32 = 0x22_2008;
/// Returns the input in the second buffer, after the first byte of that buffer: of `METHOD_OUT_DIRECT`.
const APPEND: u32 = 0x22_200e;
/// Returns the number of bytes in the second buffer if they are those of `SECRET`: of `METHOD_IN_DIRECT`.
const TAKE: u32 = 0x22_2011;
/// Returns the input in reverse order: of `METHOD_NEITHER`.
const REVERSE: u32 = 0x22_2003;
/// Sent to the upper driver: sends the code that is the input to the lower driver.
const SEND_TO_LOWER: u32 = 0x22_3000;

const SECRET: &[u8] = b"secret";

const SECOND: Duration = Duration::from_secs(1);

/// The lower driver.
struct LowerDriver(Shared<IrpQueue<Quiet>>);

impl Filter for LowerDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(IrpQueue::new(Quiet, device, irql)?)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Read => return read(irp, irql),
            MajorFunction::Write => return write(irp, irql),
            MajorFunction::DeviceControl => {}
            _ => return irp.forward(irql),
        }
        match irp.code() {
            APPEND => append(irp, irql),
            TAKE => take(irp, irql),
            NEXT => match irp.input::<[u8; 3]>() {
                Ok(input) => irp.complete_with(&input.map(|byte| byte + 1), irql),
                Err(error) => irp.complete(error, irql),
            },
            HANG => self.0.insert(irp, irql),
            _ => irp.complete(Error::DEVICE_BUSY, irql),
        }
    }
}

/// Returns the offset.
fn read<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let offset = irp.offset().to_ne_bytes();
    let mut reply = irp.reply();
    if reply.append(&offset) < offset.len() {
        return reply.complete(Error::BUFFER_TOO_SMALL, irql);
    }
    reply.complete(NtStatus::SUCCESS, irql)
}

/// Accepts a write of `SECRET` at offset 7, with any type of I/O.
fn write<'irp>(mut irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let mut copy = [0; SECRET.len()];
    let is_direct = irp.input_bytes().is_err();
    if is_direct {
        let copied = irp
            .user_buffer()
            .and_then(|buffer| buffer.copy_to(0, &mut copy));
        assert_eq!(copied, Ok(()));
    } else {
        copy.copy_from_slice(irp.input_bytes().expect("it is buffered"));
    }
    assert_eq!((&copy[..], irp.offset()), (SECRET, 7));
    // One byte is not written.
    irp.complete_write(SECRET.len() - 1, irql)
}

fn append<'irp>(mut irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let first = irp.user_buffer().and_then(|buffer| buffer.read::<u8>(0));
    let first = first.expect("a second buffer");
    let mut bytes = irp.input_bytes().expect("an input").to_vec();
    bytes.insert(0, first);
    let mut reply = irp.reply();
    assert_eq!(reply.append(&bytes), bytes.len());
    reply.complete(NtStatus::SUCCESS, irql)
}

fn take<'irp>(mut irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    let mut copy = [0; SECRET.len()];
    let copied = irp
        .user_buffer()
        .and_then(|buffer| buffer.copy_to(0, &mut copy));
    assert_eq!((copied, &copy[..]), (Ok(()), SECRET));
    assert_eq!(irp.input_bytes(), Ok(&b"abc"[..]));
    irp.complete(NtStatus::SUCCESS, irql)
}

/// The `DriverEntry` of [`LowerDriver`], with a routine that is not on `wdm` for the requests of `METHOD_NEITHER`.
unsafe extern "C" fn lower_entry(
    driver: *mut nt::DRIVER_OBJECT,
    path: *mut nt::UNICODE_STRING,
) -> i32 {
    // SAFETY: the model passes them.
    let status = unsafe { wdm::filter_entry::<LowerDriver>(driver, path) };
    // SAFETY: as above.
    unsafe { (*driver).MajorFunction[nt::IRP_MJ_INTERNAL_DEVICE_CONTROL] = Some(reverse) };
    status
}

unsafe extern "C" fn reverse(_: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) -> i32 {
    // SAFETY: the model passes an IRP, which is this driver's; so below.
    let asked = unsafe { nt::irp::io_control(irp) };
    assert_eq!(asked.code, REVERSE);
    // SAFETY: as above.
    let stack = unsafe { nt::irp::current_stack_location(irp) };
    // SAFETY: as above.
    let parameters = unsafe { &raw const (*stack).Parameters }.cast::<[*const u8; 4]>();
    // SAFETY: as above. The fourth word is `Type3InputBuffer`.
    let words = unsafe { parameters.read() };
    // SAFETY: the sender's input has this length.
    let input = unsafe { std::slice::from_raw_parts(words[3], asked.input_length as usize) };
    let mut bytes = input.to_vec();
    bytes.reverse();
    assert_eq!(asked.output_length as usize, bytes.len());
    // SAFETY: as above.
    let output = unsafe { (*irp).UserBuffer }.cast::<u8>();
    // SAFETY: the sender's output is at least as long as the input.
    unsafe { output.copy_from(bytes.as_ptr(), bytes.len()) };
    // SAFETY: as above.
    unsafe { nt::irp::set_information(irp, bytes.len()) };
    // SAFETY: as above.
    unsafe { nt::irp::set_status(irp, 0) };
    // SAFETY: as above.
    unsafe { nt::IofCompleteRequest(irp, 0) };
    0
}

/// A function driver below the filter, whose flags the filter has too.
struct Base<const IS_DIRECT: bool>;

impl<const IS_DIRECT: bool> Device for Base<IS_DIRECT> {
    const IO_TYPE: IoType = if IS_DIRECT {
        IoType::Direct
    } else {
        IoType::Buffered
    };

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

/// The upper driver.
struct UpperDriver(Lower);

impl Device for UpperDriver {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let lower = Lower::new(device);
        let early = lower.device_control(control(NEXT), b"abc", &mut [0; 3], None, irql);
        assert_eq!(early, Err(Error::INVALID_DEVICE_REQUEST));
        Ok(Ok::<_, Error>(Self(lower)))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        let mut output = [0; 4];
        let sent = self
            .0
            .device_control(control(NEXT), b"abc", &mut output, None, irql);
        assert_eq!((sent, &output), (Ok(3), b"bcd\0"));
        let short = self
            .0
            .device_control(control(NEXT), b"abc", &mut [0; 2], Some(SECOND), irql);
        assert_eq!(short, Err(Error::BUFFER_TOO_SMALL));
        Ok(())
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let mut output = [0; 9];
        let read = self
            .0
            .read(0x7fff_0000_0001, &mut output, Some(SECOND), irql);
        if read == Err(Error::BUFFER_TOO_SMALL) {
            return irp.complete(Error::BUFFER_TOO_SMALL, irql);
        }
        let bytes = 0x7fff_0000_0001_i64.to_ne_bytes();
        assert_eq!((read, &output[..8], output[8]), (Ok(8), &bytes[..], 0));
        let short = self.0.read(0, &mut output[..3], None, irql);
        assert_eq!(short, Err(Error::BUFFER_TOO_SMALL));
        assert_eq!(self.0.write(7, SECRET, None, irql), Ok(SECRET.len() - 1));

        let mut output = *b"<   >";
        let sent = self
            .0
            .device_control(control(APPEND), b"abc", &mut output, None, irql);
        assert_eq!((sent, &output), (Ok(4), b"<abc>"));
        let mut secret = [0; SECRET.len()];
        secret.copy_from_slice(SECRET);
        let sent = self
            .0
            .device_control(control(TAKE), b"abc", &mut secret, None, irql);
        assert_eq!((sent, &secret[..]), (Ok(0), SECRET));
        let sent =
            self.0
                .internal_device_control(control(REVERSE), b"abcde", &mut output, None, irql);
        assert_eq!((sent, &output), (Ok(5), b"edcba"));
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let result = irp.input::<u32>().and_then(|code| {
            let timeout = Some(SECOND);
            self.0
                .device_control(control(code), b"abc", &mut [0; 3], timeout, irql)
        });
        match result {
            Ok(_) => irp.complete(NtStatus::SUCCESS, irql),
            Err(error) => irp.complete(error, irql),
        }
    }
}

fn load_both(kernel: &Arc<Kernel>) -> (Driver, Driver) {
    // SAFETY: the entry point is that of a driver on wdm.
    let lower = unsafe { Driver::load(kernel, lower_entry) };
    (lower.expect("DriverEntry"), load::<UpperDriver>(kernel))
}

fn started(kernel: &Arc<Kernel>) -> (Stack, File) {
    let (lower, upper) = load_both(kernel);
    let stack = Stack::new(lower).function(upper).started();
    let file = stack.open();
    (stack, file)
}

fn send_to_lower(file: &File, code: u32) -> i32 {
    status(&file.device_control(SEND_TO_LOWER, &code.to_ne_bytes(), Vec::new()))
}

#[test]
fn request_ends_with_the_status_of_the_lower_driver_or_by_its_timeout() {
    let (stack, file) = started(&kernel());
    assert_eq!(send_to_lower(&file, NEXT), 0);
    assert_eq!(send_to_lower(&file, FAIL), nt::STATUS_DEVICE_BUSY);
    assert_eq!(send_to_lower(&file, HANG), nt::STATUS_IO_TIMEOUT);
    file.close();
    stack.unload();
}

#[test]
fn buffers_are_passed_as_the_lower_device_requires() {
    let kernel = kernel();
    let bases = [load::<Base<true>>(&kernel), load::<Base<false>>(&kernel)];
    for base in bases {
        let (lower, upper) = load_both(&kernel);
        let stack = Stack::new(base).function(lower).function(upper).started();
        let file = stack.open();
        assert_eq!(status(&file.read(0, 1)), nt::STATUS_SUCCESS);
        file.close();
        stack.unload();
    }
    // The bus driver's device uses neither buffered nor direct I/O, so the filter cannot write.
    let (stack, file) = started(&kernel);
    assert_eq!(status(&file.read(0, 1)), nt::STATUS_BUFFER_TOO_SMALL);
    file.close();
    stack.unload();
}

fn sent_while_the_device_is_removed(kernel: &Arc<Kernel>, code: u32, expected: i32) {
    let (stack, file) = started(kernel);
    let file = Arc::new(file);
    let file_clone = Arc::clone(&file);
    let sender = kernel.actor("sender", move || send_to_lower(&file_clone, code));
    stack.device.surprise_remove();
    let status = sender.join();
    let possible = [
        expected,
        nt::STATUS_DELETE_PENDING,
        nt::STATUS_NO_SUCH_DEVICE,
    ];
    assert!(possible.contains(&status), "{status:x}");
    drop(file);
    stack.unload();
}

#[test]
fn request_ends_before_the_device_is_removed() {
    explore::check(500, |kernel| {
        sent_while_the_device_is_removed(kernel, NEXT, 0);
    });
    explore::check(500, |kernel| {
        sent_while_the_device_is_removed(kernel, HANG, nt::STATUS_IO_TIMEOUT);
    });
}

/// The lower driver claims to have written more than the length of the output.
struct Exaggerates;

impl raw::Control for Exaggerates {
    fn control(irp: *mut nt::IRP) -> i32 {
        // SAFETY: the dispatch routine owns the IRP; so below.
        let status = match unsafe { nt::irp::io_control(irp) }.code {
            FAIL => nt::STATUS_IO_DEVICE_ERROR,
            _ => nt::STATUS_SUCCESS,
        };
        // SAFETY: as above.
        unsafe { nt::irp::set_information(irp, usize::MAX) };
        raw::complete(irp, status)
    }
}

struct Trusts(Lower);

impl Device for Trusts {
    type File = ();

    fn add(
        device: &mut NewDevice,
        _: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Lower::new(device))))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        let mut output = [7; 4];
        let failed = self
            .0
            .device_control(control(FAIL), b"abc", &mut output, None, irql);
        assert_eq!((failed, output), (Err(Error::IO_DEVICE_ERROR), [7; 4]));
        // The rest of the buffer is zero, not old content of the pool.
        let sent = self
            .0
            .device_control(control(NEXT), b"abc", &mut output, None, irql);
        assert_eq!((sent, &output), (Ok(4), b"abc\0"));
        let empty = self
            .0
            .device_control(control(NEXT), b"abc", &mut [], None, irql);
        assert_eq!(empty, Ok(0));
        Ok(())
    }
}

#[test]
fn output_is_not_longer_than_the_buffer_whatever_length_the_lower_driver_reports() {
    let kernel = kernel();
    let (lower, upper) = (raw::load::<Exaggerates>(&kernel), load::<Trusts>(&kernel));
    Stack::new(lower).function(upper).started().unload();
}
