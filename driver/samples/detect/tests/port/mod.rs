//! A serial port, and the device on it, which sends how often it was reset.

use std::{collections::VecDeque, time::Duration};

use wdm::{
    Error, Filter, Handled, InterlockedLong, Irp, IrpQueue, MajorFunction, NewFilter, NtStatus,
    PassiveLevel, PinInit, QueueCallbacks, Shared, SpinLock, Timer, TimerRoutine,
    irql::{CallerLevel, DispatchLevel, NoSpinLockHeld},
};

// The values in ntddser.h.
const SET_BAUD_RATE: u32 = 0x1b_0004;
const SET_LINE_CONTROL: u32 = 0x1b_000c;
const SET_DTR: u32 = 0x1b_0024;
const CLR_DTR: u32 = 0x1b_0028;
const SET_RTS: u32 = 0x1b_0030;
const CLR_RTS: u32 = 0x1b_0034;
const SET_WAIT_MASK: u32 = 0x1b_0044;
const WAIT_ON_MASK: u32 = 0x1b_0048;
const PURGE: u32 = 0x1b_004c;

/// `SERIAL_EV_DSR`
const EVENT_DSR: u32 = 0x10;
/// `SERIAL_PURGE_RXCLEAR`
const PURGE_INPUT: u32 = 8;

pub struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();
}

#[derive(Default)]
struct Hardware {
    /// Whether it is set to 1,200 baud, and to seven data bits without parity.
    is_set: [bool; 2],
    has_dtr: bool,
    has_rts: bool,
    resets: u32,
    input: VecDeque<u8>,
    mask: u32,
    /// The events in the mask that were not reported.
    events: u32,
}

/// The hardware and the request that waits for an event.
struct Events {
    hardware: Shared<SpinLock<Hardware>>,
    waits: Shared<IrpQueue<Quiet>>,
}

impl Events {
    /// The line DSR has changed.
    fn change(&self, irql: &mut impl NoSpinLockHeld) {
        self.hardware.with(irql, |hardware, _| {
            hardware.events |= EVENT_DSR & hardware.mask;
        });
        self.report(irql);
    }

    /// Completes a request that waits for an event that has occurred.
    fn report(&self, irql: &mut impl NoSpinLockHeld) {
        let events = self.hardware.with(irql, |hardware, _| hardware.events);
        if events != 0
            && let Some(wait) = self.waits.remove_first(irql)
        {
            self.hardware
                .with(irql, |hardware, _| hardware.events &= !events);
            wait.complete_with(&events, irql);
        }
    }
}

impl TimerRoutine for Events {
    /// Another device is connected.
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.change(irql);
    }
}

pub struct Port {
    /// The number of resets after which the device answers.
    first: u32,
    /// How often another device will be connected.
    exchanges: InterlockedLong,
    is_broken: bool,
    events: Shared<Timer<Events>>,
    reads: Shared<IrpQueue<Quiet>>,
}

impl Port {
    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        let code = irp.code();
        let number = irp.input::<u32>();
        let line_control = irp.input_bytes() == Ok(&[0, 0, 7]);
        let events = &self.events;
        let done = events.hardware.with(irql, |hardware, _| {
            match code {
                SET_BAUD_RATE if number == Ok(1200) => hardware.is_set[0] = true,
                SET_LINE_CONTROL if line_control => hardware.is_set[1] = true,
                PURGE if number == Ok(PURGE_INPUT) => hardware.input.clear(),
                CLR_DTR => hardware.has_dtr = false,
                CLR_RTS => hardware.has_rts = false,
                SET_DTR => hardware.has_dtr = true,
                SET_RTS if hardware.has_dtr && !hardware.has_rts => {
                    hardware.has_rts = true;
                    hardware.resets += 1;
                    if hardware.resets >= self.first && hardware.is_set == [true; 2] {
                        hardware.input.extend(hardware.resets.to_string().bytes());
                    }
                }
                SET_WAIT_MASK => {
                    let Ok(mask) = number else { return false };
                    hardware.mask = mask;
                    hardware.events &= mask;
                }
                WAIT_ON_MASK => return hardware.mask != 0,
                _ => return false,
            }
            true
        });
        if !done {
            return irp.complete(Error::INVALID_PARAMETER, irql);
        }
        match code {
            // The device answers with its own line.
            SET_DTR | CLR_DTR => events.change(irql),
            SET_WAIT_MASK => {
                while let Some(wait) = events.waits.remove_first(irql) {
                    wait.complete_with(&0_u32, irql);
                }
            }
            WAIT_ON_MASK => {
                let pending = events.waits.insert(irp, irql);
                events.report(irql);
                if self.exchanges.decrement() >= 0 {
                    events.set(Duration::from_secs(1), irql);
                }
                return pending;
            }
            _ => {}
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

impl Filter for Port {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let value = |name, irql: &mut PassiveLevel| device.hardware_key().dword("", name, irql);
        let first = value("First", irql).unwrap_or(1);
        let exchanges = value("Exchanges", irql).unwrap_or(1).cast_signed();
        let is_broken = value("Broken", irql).is_ok();
        let events = Events {
            hardware: Shared::new(SpinLock::new(Hardware::default()), device, irql)?,
            waits: IrpQueue::new(Quiet, device, irql)?,
        };
        Ok(Ok::<_, Error>(Self {
            first,
            exchanges: InterlockedLong::new(exchanges),
            is_broken,
            events: Shared::new(Timer::new(Ok::<_, Error>(events)), device, irql)?,
            reads: IrpQueue::new(Quiet, device, irql)?,
        }))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.major() {
            MajorFunction::Read | MajorFunction::DeviceControl if self.is_broken => {
                irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
            }
            MajorFunction::Read => {
                let hardware = &self.events.hardware;
                match hardware.with(irql, |hardware, _| hardware.input.pop_front()) {
                    Some(byte) => irp.complete_with(&byte, irql),
                    None => self.reads.insert(irp, irql),
                }
            }
            MajorFunction::DeviceControl => self.control(irp, irql),
            _ => irp.forward(irql),
        }
    }
}
