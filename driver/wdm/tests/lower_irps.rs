//! Requests that a driver sends to the lower device without waiting: their buffers, a continuous reader, cancellation and the removal.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Quiet, kernel, load, load_filter};
use ntmodel::{Access, Device as Dev, Driver, File, Kernel, Request, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    ControlCode, Device, Dpc, DpcRoutine, Error, Filter, Guid, Handled, InterlockedLong, IoType,
    Irp, IrpQueue, Lower, LowerIrp, LowerIrpHandle, LowerIrpRoutine, MajorFunction, NewDevice,
    NewFilter, NtStatus, PassiveLevel, Shared, SpinLock,
    irql::{CallerLevel, DispatchLevel, NoSpinLockHeld},
};

/// Declares a code of the lower driver.
fn control(code: u32) -> ControlCode {
    // SAFETY: the lower driver accesses no memory by the contents of the buffers.
    unsafe { ControlCode::new(code) }
}

/// Returns each byte of the input, increased by one.
const NEXT: u32 = 0x22_2000;
/// Pends until it is cancelled or released.
const HANG: u32 = 0x22_2008;
/// Completes the request that pends, if there is one.
const RELEASE: u32 = 0x22_200c;
/// Returns the input after the first byte of the second buffer: of `METHOD_OUT_DIRECT`.
const APPEND: u32 = 0x22_200e;

/// Sent to the upper driver: sends the code that is the input, and pends until the request returns, whose status and output it returns.
const SEND: u32 = 0x22_3000;
/// As `SEND`, from a DPC.
const SEND_IN_A_DPC: u32 = 0x22_3004;
/// Reads until the routine has run this many times; then as `SEND`.
const READ: u32 = 0x22_3008;
const WRITE: u32 = 0x22_300c;
/// Cancels the request.
const CANCEL: u32 = 0x22_3010;
/// Checks the request in the removal.
const CHECK: u32 = 0x22_3018;
/// Has the lower driver complete the request.
const FINISH: u32 = 0x22_3014;

const CAPACITY: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The lower driver.
struct LowerDriver(Shared<IrpQueue<Quiet>>);

impl Filter for LowerDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(IrpQueue::new(Quiet, device, irql)?)))
    }

    fn request<'irp>(&self, mut irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match (irp.major(), irp.code()) {
            (MajorFunction::Read, _) => {
                let mut reply = irp.reply();
                reply.append(b"data");
                reply.complete(NtStatus::SUCCESS, irql)
            }
            (MajorFunction::Write, _) => {
                let mut copy = [0; 4];
                let copied = irp
                    .user_buffer()
                    .and_then(|buffer| buffer.copy_to(0, &mut copy));
                assert_eq!((copied, &copy), (Ok(()), b"full"));
                irp.complete_write(3, irql)
            }
            (_, NEXT) => match irp.input::<[u8; 3]>() {
                Ok(input) => irp.complete_with(&input.map(|byte| byte + 1), irql),
                Err(error) => irp.complete(error, irql),
            },
            (_, APPEND) => {
                let first = irp.user_buffer().and_then(|buffer| buffer.read::<u8>(0));
                let mut bytes = match first {
                    Ok(first) => [first, 0, 0, 0],
                    Err(error) => return irp.complete(error, irql),
                };
                bytes[1..].copy_from_slice(irp.input_bytes().expect("an input"));
                let mut reply = irp.reply();
                assert_eq!(reply.append(&bytes), bytes.len());
                reply.complete(NtStatus::SUCCESS, irql)
            }
            (_, HANG) => self.0.insert(irp, irql),
            (_, RELEASE) => {
                if let Some(pended) = self.0.remove_first(irql) {
                    pended.complete_with(b"abc", irql);
                }
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => irp.forward(irql),
        }
    }
}

/// A lower driver, for direct I/O.
struct Base;

impl Device for Base {
    const IO_TYPE: IoType = IoType::Direct;

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

/// The objects that the routine and the dispatch routines of the upper driver use.
#[pin_data]
struct Parts {
    waiting: Shared<IrpQueue<Quiet>>,
    #[pin]
    idle: SpinLock<Option<LowerIrp<Reader>>>,
    /// How often the request is sent again.
    again: InterlockedLong,
    nested: InterlockedLong,
    /// Whether the next removal checks the request.
    checked: InterlockedLong,
}

struct Reader(Shared<Parts>);

impl LowerIrpRoutine for Reader {
    fn run(irp: LowerIrp<Self>, irql: &mut CallerLevel) {
        let parts = irp.0.clone();
        // The removal cancels it, also before it is sent.
        let is_read = irp.result() != Err(Error::CANCELLED);
        if is_read && parts.again.read() > 0 {
            parts.again.decrement();
            assert_eq!(parts.nested.increment(), 1, "calls of the routine nest");
            assert_eq!((irp.result(), irp.output()), (Ok(()), &b"data"[..]));
            let sent = irp.read(0, 4, irql);
            parts.nested.decrement();
            if let Err((irp, error)) = sent {
                parts.returned(irp, Err(error), irql);
            }
            return;
        }
        let result = irp.result();
        parts.returned(irp, result, irql);
    }
}

impl Parts {
    /// Keeps the request that has returned, and completes the request that waits for it.
    fn returned(
        &self,
        irp: LowerIrp<Reader>,
        result: Result<(), Error>,
        irql: &mut impl NoSpinLockHeld,
    ) {
        let (mut output, length) = ([0; CAPACITY], irp.output().len());
        output[..length].copy_from_slice(irp.output());
        let old = self.idle.with(irql, |idle, _| idle.replace(irp));
        assert!(old.is_none(), "there is one request");
        if let Some(waiting) = self.waiting.remove_first(irql) {
            let mut reply = waiting.reply();
            reply.append(&output[..length]);
            match result {
                Ok(()) => reply.complete(NtStatus::SUCCESS, irql),
                Err(error) => reply.complete(error, irql),
            }
        }
    }

    fn send(&self, code: u32, irql: &mut impl NoSpinLockHeld) {
        let Some(mut irp) = self.idle.with(irql, |idle, _| idle.take()) else {
            return;
        };
        let sent = match code {
            READ => irp.read(7, 4, irql),
            WRITE => {
                irp.buffer()[..4].copy_from_slice(b"full");
                irp.write(7, 4, irql)
            }
            _ => {
                irp.buffer()[..4].copy_from_slice(b"<  >");
                irp.device_control(control(code), b"abc", 4, irql)
            }
        };
        if let Err((irp, error)) = sent {
            self.returned(irp, Err(error), irql);
        }
    }
}

struct Sender(Shared<Parts>);

impl DpcRoutine for Sender {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        dpc.0.send(NEXT, irql);
    }
}

/// The upper driver.
#[pin_data]
struct UpperDriver {
    parts: Shared<Parts>,
    handle: LowerIrpHandle<Reader>,
    lower: Lower,
    #[pin]
    sender: Dpc<Sender>,
}

impl Device for UpperDriver {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let waiting = IrpQueue::new(Quiet, device, irql)?;
        let parts = try_pin_init!(Parts {
            waiting,
            idle <- SpinLock::new(None),
            again: InterlockedLong::new(0),
            nested: InterlockedLong::new(0),
            checked: InterlockedLong::new(0),
        }? Error);
        let parts = Shared::new(parts, device, irql)?;
        let reader = Ok::<_, Error>(Reader(parts.clone()));
        let irp = LowerIrp::new(reader, CAPACITY, device, irql)?;
        let handle = irp.handle();
        // The device is not attached yet.
        let Err((irp, error)) = irp.read(0, 4, irql) else {
            return Err(Error::UNSUCCESSFUL);
        };
        assert_eq!(error, Error::INVALID_DEVICE_REQUEST);
        parts.idle.with(irql, |idle, _| *idle = Some(irp));
        let (lower, sender) = (Lower::new(device), Sender(parts.clone()));
        Ok(try_pin_init!(Self {
            parts,
            handle,
            lower,
            sender <- Dpc::new(Ok::<_, Error>(sender)),
        }? Error))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        let Some(irp) = self.parts.idle.with(irql, |idle, _| idle.take()) else {
            return Err(Error::UNSUCCESSFUL);
        };
        assert!(!self.handle.cancel(irql), "it is not sent");
        let Err((irp, error)) = irp.read(0, CAPACITY + 1, irql) else {
            return Err(Error::UNSUCCESSFUL);
        };
        assert_eq!(error, Error::INVALID_PARAMETER);
        let Err((irp, error)) = irp.device_control(control(NEXT), &[0; CAPACITY + 1], 0, irql)
        else {
            return Err(Error::UNSUCCESSFUL);
        };
        assert_eq!(error, Error::INVALID_PARAMETER);
        self.parts.idle.with(irql, |idle, _| *idle = Some(irp));
        Ok(())
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let input = irp.input::<u32>();
        match (irp.code(), input) {
            (SEND, Ok(code)) => {
                let handled = self.parts.waiting.insert(irp, irql);
                self.parts.send(code, irql);
                handled
            }
            (SEND_IN_A_DPC, _) => {
                let handled = self.parts.waiting.insert(irp, irql);
                self.sender.queue();
                handled
            }
            (READ, Ok(times)) => {
                self.parts.again.exchange(times.cast_signed());
                let handled = self.parts.waiting.insert(irp, irql);
                self.parts.send(READ, irql);
                handled
            }
            (WRITE, _) => {
                let handled = self.parts.waiting.insert(irp, irql);
                self.parts.send(WRITE, irql);
                handled
            }
            (CHECK, _) => {
                self.parts.checked.exchange(1);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            (CANCEL, _) => {
                self.handle.cancel(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => {
                let code = control(RELEASE);
                match self.lower.device_control(code, &[], &mut [], None, irql) {
                    Ok(_) => irp.complete(NtStatus::SUCCESS, irql),
                    Err(error) => irp.complete(error, irql),
                }
            }
        }
    }

    /// The routine owns the parts, which own the request.
    fn remove(&self, irql: &mut PassiveLevel) {
        let irp = self.parts.idle.with(irql, |idle, _| idle.take());
        if self.parts.checked.exchange(0) == 0 {
            return;
        }
        // The lower drivers have not received the removal request yet.
        let Some(irp) = irp else {
            panic!("the request has not returned");
        };
        assert_eq!(irp.result(), Err(Error::CANCELLED));
        let refused = irp.read(0, 4, irql).map_err(|(_, error)| error);
        assert_eq!(refused, Err(Error::DELETE_PENDING));
    }
}

/// A device with three drivers.
struct Stack {
    device: Dev,
    /// From the highest to the lowest.
    drivers: [Driver; 3],
}

impl Stack {
    fn started(kernel: &Arc<Kernel>) -> (Self, File) {
        let (base, lower, upper) = (
            load::<Base>(kernel),
            load_filter::<LowerDriver>(kernel),
            load::<UpperDriver>(kernel),
        );
        let device = base.add_device().expect("AddDevice");
        lower.add_function(&device).expect("AddDevice");
        upper.add_function(&device).expect("AddDevice");
        device.start().expect("the device starts");
        let file = device.open(Access::ReadWrite).expect("it opens");
        let drivers = [upper, lower, base];
        (Self { device, drivers }, file)
    }

    fn unload(self) {
        if !self.device.is_removed() {
            self.device.remove().expect("no file is open");
        }
        drop(self.device);
        self.drivers.into_iter().for_each(Driver::unload);
    }
}

fn start_request(file: &File, code: u32, input: u32) -> Request {
    file.device_control(code, &input.to_ne_bytes(), vec![0; CAPACITY])
}

fn end(request: &Request) -> (i32, Vec<u8>) {
    let end = request.wait(TIMEOUT).expect("it ends");
    let length = if end.status < 0 { 0 } else { end.information };
    (end.status, end.output[..length].to_vec())
}

#[test]
fn request_returns_with_its_output() {
    let (stack, file) = Stack::started(&kernel());
    assert_eq!(end(&start_request(&file, SEND, NEXT)), (0, b"bcd".to_vec()));
    let answer = end(&start_request(&file, SEND, APPEND));
    assert_eq!(answer, (0, b"<abc".to_vec()));
    let answer = end(&start_request(&file, SEND_IN_A_DPC, 0));
    assert_eq!(answer, (0, b"bcd".to_vec()));
    file.close();
    stack.unload();
}

#[test]
fn request_that_cannot_be_sent_stays_with_the_driver() {
    let (faults, kernel) = common::kernel_with_faults();
    let (stack, file) = Stack::started(&kernel);
    loop {
        faults.arm();
        let sent = end(&start_request(&file, SEND, APPEND));
        if !faults.disarm() {
            assert_eq!(sent, (0, b"<abc".to_vec()));
            break;
        }
        assert_eq!(sent.0, nt::STATUS_INSUFFICIENT_RESOURCES);
    }
    // The second buffer, the MDL and the IRP.
    assert!(faults.failed().len() >= 3, "{:#?}", faults.failed());
    file.close();
    stack.unload();
}

#[test]
fn request_that_is_sent_again_each_time_does_not_nest() {
    let (stack, file) = Stack::started(&kernel());
    let answer = end(&start_request(&file, READ, 1_000));
    assert_eq!(answer, (0, b"data".to_vec()));
    assert_eq!(end(&start_request(&file, WRITE, 0)), (0, Vec::new()));
    file.close();
    stack.unload();
}

#[test]
fn cancelled_request_returns_and_is_sent_again() {
    let (stack, file) = Stack::started(&kernel());
    let request = start_request(&file, SEND, HANG);
    assert_eq!(request.status(), None);
    assert_eq!(end(&start_request(&file, CANCEL, 0)).0, 0);
    assert_eq!(end(&request), (nt::STATUS_CANCELLED, Vec::new()));
    assert_eq!(end(&start_request(&file, SEND, NEXT)), (0, b"bcd".to_vec()));
    // The waiting request is cancelled, and the driver's own request returns when no request waits for it.
    let request = start_request(&file, SEND, HANG);
    request.cancel();
    assert_eq!(end(&request).0, nt::STATUS_CANCELLED);
    assert_eq!(end(&start_request(&file, FINISH, 0)).0, 0);
    file.close();
    stack.unload();
}

#[test]
fn removal_cancels_the_request_and_refuses_further_ones() {
    let (stack, file) = Stack::started(&kernel());
    let request = start_request(&file, SEND, HANG);
    assert_eq!(end(&start_request(&file, CHECK, 0)).0, 0);
    stack.device.surprise_remove();
    assert_eq!(end(&request).0, nt::STATUS_DELETE_PENDING);
    file.close();
    stack.unload();
}

/// The request is completed, cancelled by two threads, and sent again when it has returned.
fn cancelled_while_it_is_completed(kernel: &Arc<Kernel>) {
    let (stack, file) = Stack::started(kernel);
    let file = Arc::new(file);
    let first = start_request(&file, SEND, HANG);
    let file_clone = Arc::clone(&file);
    let canceller = kernel.actor("canceller", move || {
        end(&start_request(&file_clone, CANCEL, 0)).0
    });
    assert_eq!(end(&start_request(&file, FINISH, 0)).0, 0);
    let second = start_request(&file, SEND, NEXT);
    assert_eq!(canceller.join(), 0);
    let _ = end(&start_request(&file, CANCEL, 0));
    let possible = [(0, b"abc".to_vec()), (nt::STATUS_CANCELLED, Vec::new())];
    let first = end(&first);
    assert!(possible.contains(&first), "{first:?}");
    // It may have returned for the first one only now, or not have been sent since the other one had not returned.
    second.cancel();
    drop(second);
    Arc::into_inner(file)
        .expect("no other thread has it")
        .close();
    stack.unload();
}

/// Whether a request that the lower driver completes immediately was cancelled, in any order.
static CANCELLED_UNSENT: AtomicBool = AtomicBool::new(false);

/// The request is cancelled before or after its work item sends it.
fn cancelled_before_it_is_sent(kernel: &Arc<Kernel>) {
    let (stack, file) = Stack::started(kernel);
    let request = start_request(&file, SEND, NEXT);
    assert_eq!(end(&start_request(&file, CANCEL, 0)).0, 0);
    match end(&request) {
        (nt::STATUS_CANCELLED, _) => CANCELLED_UNSENT.store(true, Ordering::Relaxed),
        end => assert_eq!(end, (0, b"bcd".to_vec())),
    }
    file.close();
    stack.unload();
}

/// [IoCancelIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocancelirp) only marks a request without a Cancel
/// routine, and a lower driver that completes requests immediately does not look at the mark.
#[test]
fn request_that_is_cancelled_before_it_is_sent_is_not_sent() {
    explore::check(500, cancelled_before_it_is_sent);
    assert!(CANCELLED_UNSENT.load(Ordering::Relaxed));
}

/// The request is cancelled while the device is removed.
fn cancelled_while_the_device_is_removed(kernel: &Arc<Kernel>) {
    let (stack, file) = Stack::started(kernel);
    let file = Arc::new(file);
    let first = start_request(&file, SEND, HANG);
    let file_clone = Arc::clone(&file);
    let canceller = kernel.actor("canceller", move || {
        end(&start_request(&file_clone, CANCEL, 0));
    });
    stack.device.surprise_remove();
    canceller.join();
    let possible = [nt::STATUS_CANCELLED, nt::STATUS_DELETE_PENDING];
    assert!(possible.contains(&end(&first).0));
    Arc::into_inner(file)
        .expect("no other thread has it")
        .close();
    stack.unload();
}

/// The request is sent, and sent again by its routine, while the device is removed.
fn sent_while_the_device_is_removed(kernel: &Arc<Kernel>, code: u32, input: u32) {
    let (stack, file) = Stack::started(kernel);
    let file = Arc::new(file);
    let file_clone = Arc::clone(&file);
    let sender = kernel.actor("sender", move || {
        end(&start_request(&file_clone, code, input)).0
    });
    stack.device.surprise_remove();
    let status = sender.join();
    let possible = [
        nt::STATUS_SUCCESS,
        nt::STATUS_CANCELLED,
        nt::STATUS_DELETE_PENDING,
        nt::STATUS_NO_SUCH_DEVICE,
    ];
    assert!(possible.contains(&status), "{status:x}");
    Arc::into_inner(file)
        .expect("no other thread has it")
        .close();
    stack.unload();
}

#[test]
fn request_returns_once_in_each_explored_schedule() {
    explore::check(500, cancelled_while_it_is_completed);
    explore::check(500, cancelled_while_the_device_is_removed);
    explore::check(500, |kernel| {
        sent_while_the_device_is_removed(kernel, SEND, HANG);
    });
    explore::check(500, |kernel| {
        sent_while_the_device_is_removed(kernel, SEND, NEXT);
    });
    explore::check(500, |kernel| {
        sent_while_the_device_is_removed(kernel, READ, 2);
    });
}
