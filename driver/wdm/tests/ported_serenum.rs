//! A part of the WDK's sample `serial/serenum`, ported: how it detects the device that is connected to a serial port.
//!
//! The sample does so when the PnP manager asks for the devices on its bus, and opens the port for it. Here a thread does it, above a
//! port that serves requests without a file.

mod common;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use common::{Stack, end, load, load_filter};
use ntmodel::{Access, Config, Kernel, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    ControlCode, Device, Error, Event, EventType, Filter, Guid, Handled, InterlockedLong, Irp,
    IrpQueue, Lower, MajorFunction, Mutex, NewDevice, NewFilter, NtStatus, PassiveLevel,
    QueueCallbacks, Shared, SpinLock, Thread, ThreadRoutine,
    ctl_code::{Access as Right, Method, ctl_code},
    irql::CallerLevel,
};

/// `IOCTL_SERIAL_SET_DTR` and others of ntddser.h.
const fn serial(function: u32) -> u32 {
    ctl_code(0x1b, function, Method::Buffered, Right::Any)
}

const SET_DTR: u32 = serial(9);
const CLR_DTR: u32 = serial(10);
const SET_RTS: u32 = serial(12);
const CLR_RTS: u32 = serial(13);
const PURGE: u32 = serial(19);
/// `SERIAL_PURGE_RXABORT | SERIAL_PURGE_RXCLEAR`
const PURGE_INPUT: u32 = 0xa;

const LONGEST_ID: usize = 256;
const WAIT: Duration = Duration::from_millis(200);
const READ_TIME: Duration = Duration::from_millis(240);

#[pin_data]
struct Detection {
    port: Lower,
    #[pin]
    id: Mutex<Vec<u8>>,
    #[pin]
    done: Event,
}

impl Detection {
    fn control(&self, code: u32, input: &[u8], irql: &mut PassiveLevel) -> Result<(), Error> {
        // SAFETY: no code of a serial port that is used here has an address in its buffers.
        let code = unsafe { ControlCode::new(code) };
        let sent = self.port.device_control(code, input, &mut [], None, irql);
        sent.map(|_| ())
    }

    /// Reads until the device is silent.
    fn read(&self, irql: &mut PassiveLevel) -> Result<Vec<u8>, Error> {
        let mut id = Vec::new();
        while id.len() < LONGEST_ID {
            let mut byte = [0];
            match self.port.read(0, &mut byte, Some(READ_TIME), irql) {
                Ok(1) => id.extend(byte),
                Ok(_) | Err(Error::IO_TIMEOUT) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(id)
    }

    /// Resets the device by its lines, and reads how it identifies itself; the second time without the wait for modems.
    fn detect(thread: &Thread<Self>, irql: &mut PassiveLevel) -> Result<Vec<u8>, Error> {
        let wait = |irql: &mut PassiveLevel| {
            let continues = thread.wait_for(WAIT, irql);
            continues.then_some(()).ok_or(Error::CANCELLED)
        };
        for is_modem in [true, false] {
            thread.control(PURGE, &PURGE_INPUT.to_ne_bytes(), irql)?;
            thread.control(CLR_DTR, &[], irql)?;
            thread.control(CLR_RTS, &[], irql)?;
            wait(irql)?;
            thread.control(SET_DTR, &[], irql)?;
            if is_modem {
                wait(irql)?;
            }
            thread.control(SET_RTS, &[], irql)?;
            let id = thread.read(irql)?;
            if !id.is_empty() {
                return Ok(id);
            }
        }
        Ok(Vec::new())
    }
}

impl ThreadRoutine for Detection {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        if let Ok(id) = Self::detect(thread, irql) {
            thread.id.with(irql, |place, _| *place = id);
        }
        thread.done.set(irql);
    }
}

/// The driver above the port. A read returns the connected device's identification.
struct Enumerator(Thread<Detection>);

impl Device for Enumerator {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let port = Lower::new(device);
        let detection = try_pin_init!(Detection {
            port,
            id <- Mutex::new(Vec::new()),
            done <- Event::new(EventType::Notification, false),
        }? Error);
        Ok(Ok::<_, Error>(Self(Thread::new(detection, device, irql)?)))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        self.0.start(irql)
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        self.0.done.wait(irql);
        let mut reply = irp.reply();
        self.0.id.with(irql, |id, _| reply.append(id));
        reply.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.0.stop(irql);
    }
}

struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();
}

/// The port, and the device on it, which sends its identification when both lines are set, the modem's way or the mouse's.
#[pin_data]
struct Port {
    /// The number of resets after which the device answers.
    resets: u32,
    lines: InterlockedLong,
    seen: InterlockedLong,
    #[pin]
    input: SpinLock<VecDeque<u8>>,
    waiting: Shared<IrpQueue<Quiet>>,
}

const DTR: i32 = 1;
const RTS: i32 = 2;

impl Filter for Port {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let resets = device.hardware_key().dword("", "Resets", irql).unwrap_or(1);
        let waiting = IrpQueue::new(Quiet, device, irql)?;
        Ok(try_pin_init!(Self {
            resets,
            lines: InterlockedLong::new(0),
            seen: InterlockedLong::new(0),
            input <- SpinLock::new(VecDeque::new()),
            waiting,
        }? Error))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Read => {
                let byte = self.input.with(irql, |input, _| input.pop_front());
                return match byte {
                    Some(byte) => irp.complete_with(&byte, irql),
                    None => self.waiting.insert(irp, irql),
                };
            }
            MajorFunction::DeviceControl => {}
            _ => return irp.forward(irql),
        }
        match irp.code() {
            PURGE if irp.input() == Ok(PURGE_INPUT) => {
                self.input.with(irql, |input, _| input.clear());
            }
            CLR_DTR => {
                self.lines.and(!DTR);
            }
            CLR_RTS => {
                self.lines.and(!RTS);
            }
            SET_DTR => {
                self.lines.or(DTR);
            }
            SET_RTS if self.lines.or(RTS) == DTR => {
                let seen = self.seen.increment();
                if seen.cast_unsigned() == self.resets {
                    self.input.with(irql, |input, _| input.extend(b"M3"));
                }
            }
            _ => return irp.complete(Error::INVALID_PARAMETER, irql),
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn started(kernel: &Arc<Kernel>) -> Stack {
    let (port, enumerator) = (load_filter::<Port>(kernel), load::<Enumerator>(kernel));
    Stack::with_flags(port, nt::DO_BUFFERED_IO)
        .function(enumerator)
        .started()
}

#[test]
fn connected_device_is_detected() {
    for (resets, id) in [(1, &b"M3"[..]), (2, b"M3"), (3, b"")] {
        let kernel = Kernel::new(Config {
            hardware_key: vec![("Resets".into(), resets)],
            ..Config::default()
        });
        let stack = started(&kernel);
        let file = stack.device.open(Access::Read).expect("it opens");
        let read = end(&file.read(0, 16));
        assert_eq!(read.status, nt::STATUS_SUCCESS);
        assert_eq!(&read.output[..read.information], id);
        file.close();
        stack.unload();
    }
}

#[test]
fn removal_against_the_detection() {
    explore::check(500, |kernel| {
        let stack = started(kernel);
        stack.device.surprise_remove();
        stack.unload();
    });
}
