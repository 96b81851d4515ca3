//! Detects the device that is connected to a serial port. A read returns how the device identifies itself.
//!
//! It corresponds to a part of the sample `serial/serenum` of the WDK: the driver is above that of a port, resets the connected device
//! by the port's lines, and reads what it sends then. The WDK's sample does so when the PnP manager asks for the devices on its bus. Here
//! a thread does it, when the device is started and each time another device is connected: a request that is pending in the port is
//! completed when the line DSR changes. The port has to serve requests without a file.

#![no_std]
#![forbid(unsafe_code)]

use core::{slice, time::Duration};

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    ControlCode, Device, Error, Event, EventType, Guid, Handled, InterlockedLong, Irp, Lower,
    LowerIrp, LowerIrpHandle, LowerIrpRoutine, Mutex, NewDevice, NtStatus, PassiveLevel,
    PowerState, Shared, SpinLock, SystemPowerState, Thread, ThreadRoutine, irql::CallerLevel,
    serial,
};

const LONGEST_ID: usize = 256;
const BAUD_RATE: u32 = 1200;
/// One stop bit, no parity and seven data bits.
const LINE_CONTROL: [u8; 3] = [0, 0, 7];
/// `SERIAL_PURGE_RXCLEAR`
const PURGE_INPUT: u32 = 8;
const NO_EVENTS: u32 = 0;
/// `SERIAL_EV_DSR`
const EVENT_DSR: u32 = 0x10;

/// The time for which a device needs its lines cleared or set.
const WAIT: Duration = Duration::from_millis(200);
/// The time without input after which a device has sent everything.
const READ_TIME: Duration = Duration::from_millis(240);
/// The time that the port may take for any other request.
const CONTROL_TIME: Duration = Duration::from_secs(1);

/// How a device identifies itself.
struct Id {
    bytes: [u8; LONGEST_ID],
    length: usize,
}

impl Id {
    const NONE: Self = Self {
        bytes: [0; LONGEST_ID],
        length: 0,
    };
}

/// The thread's context.
#[pin_data]
struct Detection {
    port: Lower,
    /// The last result.
    #[pin]
    result: Mutex<Result<Id, Error>>,
    /// Set unless a detection is in progress.
    #[pin]
    is_over: Event,
    /// The request that is not pending in the port.
    #[pin]
    change: SpinLock<Option<LowerIrp<Change>>>,
    /// Not 0 if the system has slept since the last detection began.
    has_slept: InterlockedLong,
}

impl Detection {
    fn control(
        &self,
        code: ControlCode,
        input: &[u8],
        irql: &mut PassiveLevel,
    ) -> Result<(), Error> {
        let timeout = Some(CONTROL_TIME);
        let sent = self
            .port
            .device_control(code, input, &mut [], timeout, irql);
        sent.map(|_| ())
    }

    /// Reads until the device sends nothing for [`READ_TIME`].
    fn read(&self, irql: &mut PassiveLevel) -> Result<Id, Error> {
        let mut id = Id::NONE;
        for byte in &mut id.bytes {
            let place = slice::from_mut(byte);
            match self.port.read(0, place, Some(READ_TIME), irql) {
                Ok(1) => id.length += 1,
                Ok(_) | Err(Error::IO_TIMEOUT) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(id)
    }

    /// Resets the device, and reads how it identifies itself. If it sends nothing, tries again without the wait that modems need.
    fn detect(thread: &Thread<Self>, irql: &mut PassiveLevel) -> Result<Id, Error> {
        let wait = |irql: &mut PassiveLevel| {
            let continues = thread.wait_for(WAIT, irql);
            continues.then_some(()).ok_or(Error::CANCELLED)
        };
        // The reset changes the lines of the device, which would complete the request that waits for a change.
        thread.control(serial::SET_WAIT_MASK, &NO_EVENTS.to_ne_bytes(), irql)?;
        thread.control(serial::SET_BAUD_RATE, &BAUD_RATE.to_ne_bytes(), irql)?;
        thread.control(serial::SET_LINE_CONTROL, &LINE_CONTROL, irql)?;
        for is_modem in [true, false] {
            thread.control(serial::PURGE, &PURGE_INPUT.to_ne_bytes(), irql)?;
            thread.control(serial::CLR_DTR, &[], irql)?;
            thread.control(serial::CLR_RTS, &[], irql)?;
            wait(irql)?;
            thread.control(serial::SET_DTR, &[], irql)?;
            if is_modem {
                wait(irql)?;
            }
            thread.control(serial::SET_RTS, &[], irql)?;
            let id = thread.read(irql)?;
            if id.length != 0 {
                return Ok(id);
            }
        }
        Ok(Id::NONE)
    }

    /// Sends the request that the port completes when the line DSR changes, or immediately if the system has slept.
    fn watch(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        self.control(serial::SET_WAIT_MASK, &EVENT_DSR.to_ne_bytes(), irql)?;
        let Some(change) = self.change.with(irql, |place, _| place.take()) else {
            return Ok(());
        };
        let sent = change.handle();
        change
            .device_control(serial::WAIT_ON_MASK, &[], size_of::<u32>(), irql)
            .map_err(|(_, error)| error)?;
        // If the request was not sent yet, `set_power` has not cancelled it.
        if self.has_slept.read() != 0 {
            sent.cancel(irql);
        }
        Ok(())
    }
}

impl ThreadRoutine for Detection {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        loop {
            thread.has_slept.exchange(0);
            let result = Self::detect(thread, irql);
            thread.result.with(irql, |place, _| *place = result);
            thread.is_over.set(irql);
            // If the port has no events, the device is detected once.
            let _ = thread.watch(irql);
            if !thread.wait(irql) {
                return;
            }
            thread.is_over.clear(irql);
        }
    }
}

/// The context of the request that is pending in the port: the thread, which gets the request back, and detects the device again.
struct Change(Shared<Thread<Detection>>);

impl LowerIrpRoutine for Change {
    fn run(irp: LowerIrp<Self>, irql: &mut CallerLevel) {
        // `set_power` and the removal of the device cancel the request. With any other error, the port has no events.
        if let Ok(()) | Err(Error::CANCELLED) = irp.result() {
            let thread = irp.0.clone();
            thread.change.with(irql, |place, _| *place = Some(irp));
            thread.wake(irql);
        }
    }
}

/// The device.
#[pin_data]
pub struct Detector {
    thread: Shared<Thread<Detection>>,
    /// The request before the device is started.
    #[pin]
    change: Mutex<Option<LowerIrp<Change>>>,
    sent: LowerIrpHandle<Change>,
}

impl Device for Detector {
    const INTERFACE: Guid = Guid::new(
        0xc652_997a,
        0xb1d2,
        0x4df4,
        [0xbd, 0xfc, 0x5a, 0x7c, 0xc2, 0x8e, 0x42, 0xb2],
    );

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let port = Lower::new(device);
        let detection = try_pin_init!(Detection {
            port,
            result <- Mutex::new(Ok(Id::NONE)),
            is_over <- Event::new(EventType::Notification, false),
            change <- SpinLock::new(None),
            has_slept: InterlockedLong::new(0),
        }? Error);
        let thread = Thread::new(detection, device, irql)?;
        let thread = Shared::new(thread, device, irql)?;
        let change = Ok::<_, Error>(Change(thread.clone()));
        let change = LowerIrp::new(change, size_of::<u32>(), device, irql)?;
        let sent = change.handle();
        Ok(try_pin_init!(Self { thread, change <- Mutex::new(Some(change)), sent }? Error))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        let change = self.change.with(irql, |change, _| change.take());
        self.thread.change.with(irql, |place, _| *place = change);
        self.thread.start(irql)
    }

    /// The thread uses the port at any time.
    fn query_stop(&self, _: &mut PassiveLevel) -> Result<(), Error> {
        Err(Error::DEVICE_BUSY)
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        self.thread.is_over.wait(irql);
        let mut reply = irp.reply();
        let status = self.thread.result.with(irql, |result, _| match result {
            Ok(id) => {
                reply.append(id.bytes.get(..id.length).unwrap_or_default());
                NtStatus::SUCCESS
            }
            Err(error) => (*error).into(),
        });
        reply.complete(status, irql)
    }

    fn set_power(&self, state: PowerState, irql: &mut CallerLevel) {
        // Another device may have been connected while the system slept.
        if state == PowerState::System(SystemPowerState::Working) {
            self.thread.has_slept.exchange(1);
            self.sent.cancel(irql);
        }
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.thread.stop(irql);
        // The request is an owner of the thread, and the thread of the request. This breaks the cycle.
        drop(self.thread.change.with(irql, |place, _| place.take()));
    }
}
