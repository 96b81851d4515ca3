//! Records messages of other drivers and of programs, which a program reads as text.
//!
//! A message can be recorded at any IRQL up to `DISPATCH_LEVEL`, without a wait: its memory comes from a lookaside list, and it is
//! pushed onto a list without a lock. A thread, which a DPC of low importance wakes, appends the messages to the log in their
//! order and serves the reads. The log keeps the newest [`CAPACITY`] lines. After the notification of a shutdown, nothing is recorded.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod log;

use core::time::Duration;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    ControlDevice, Device, Dpc, DpcRoutine, Error, Handled, Importance, InterlockedLong, Irp,
    IrpView, NewDevice, NtStatus, PassiveLevel, RegistryKey, RwSpinLock, Shared, Thread, Timer,
    TimerRoutine,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::{CallerLevel, DispatchLevel, NoSpinLockHeld},
};

pub use crate::log::{CAPACITY, MAX_LINE};
use crate::log::{Line, Log};

const fn code(function: u32, access: Access) -> u32 {
    ctl_code(UNKNOWN_DEVICE, function, Method::Buffered, access)
}

/// Records a message of another driver: the number of its category, a `u32`, and the text.
pub const IOCTL_INTERNAL_RECORD: u32 = code(0x800, Access::Any);
/// Enables the categories of a mask.
pub const IOCTL_ENABLE: u32 = code(0x801, Access::Write);
/// Disables the categories of a mask: their messages are ignored.
pub const IOCTL_DISABLE: u32 = code(0x802, Access::Write);
/// Enables the categories of a mask that are disabled, and disables the others.
pub const IOCTL_TOGGLE: u32 = code(0x803, Access::Write);
/// Names a category: its number, a `u32`, and a [`Name`], with which the lines of its later messages start.
pub const IOCTL_NAME: u32 = code(0x804, Access::Write);
/// Records the number of lost messages at an interval in milliseconds, a `u32`. If it is 0, the number is no longer recorded.
pub const IOCTL_HEARTBEAT: u32 = code(0x805, Access::Write);

/// The category of the texts that programs write.
pub const WRITTEN: u32 = 0;
/// The category of the recorder's own messages, the last one.
pub const OWN: u32 = 31;

/// The name of a category, padded with zeros.
pub type Name = [u8; 8];

const FILE_STANDARD_INFORMATION: u32 = 5;
const FILE_END_OF_FILE_INFORMATION: u32 = 20;

/// The mask of the enabled categories.
static ENABLED: InterlockedLong = InterlockedLong::new(0);
/// The names of the categories.
static NAMES: RwSpinLock<[Name; 32]> = RwSpinLock::new({
    let mut names = [*b"driver\0\0"; 32];
    names[WRITTEN as usize] = *b"program\0";
    names[OWN as usize] = *b"recorder";
    names
});

/// Makes the line of a message.
fn line<L: NoSpinLockHeld>(category: u32, text: &[u8], irql: &mut L) -> Line {
    let name = NAMES.read(irql, |names, _| names.get(category as usize).copied());
    Line::new(&[&name.unwrap_or_default(), b": ", text])
}

/// Records a message, if its category is enabled.
fn record<L: NoSpinLockHeld>(
    wake: &Dpc<Wake>,
    category: u32,
    text: &[u8],
    irql: &mut L,
) -> Result<(), Error> {
    let mask = 1_i32
        .checked_shl(category)
        .ok_or(Error::INVALID_PARAMETER)?;
    if ENABLED.read() & mask != 0 && wake.thread.put(line(category, text, irql), irql)? {
        wake.queue();
    }
    Ok(())
}

/// Wakes the thread. The DPC is of low importance, so that the thread finds several messages if many are recorded.
struct Wake {
    thread: Thread<Log>,
}

impl DpcRoutine for Wake {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        dpc.thread.wake(irql);
    }
}

/// Records the number of lost messages.
struct Heartbeat {
    wake: Shared<Dpc<Wake>>,
}

impl TimerRoutine for Heartbeat {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        let lost = &timer.wake.thread.lost;
        let count = lost.exchange(0);
        let number = count.clamp(0, 9999).unsigned_abs() as usize;
        let mut text = *b"0000 messages lost";
        for (place, unit) in text.iter_mut().zip([1000, 100, 10, 1]) {
            *place = b"0123456789"[number / unit % 10];
        }
        if record(&timer.wake, OWN, &text, irql).is_err() {
            // The next heartbeat reports them.
            lost.exchange_add(count);
        }
    }
}

/// The device.
#[pin_data]
pub struct Recorder {
    wake: Shared<Dpc<Wake>>,
    #[pin]
    heartbeat: Timer<Heartbeat>,
}

impl Recorder {
    /// Handles the IOCTLs of programs.
    fn control(&self, irp: &IrpView, irql: &mut PassiveLevel) -> Result<(), Error> {
        match irp.code() {
            IOCTL_ENABLE => drop(ENABLED.or(irp.input()?)),
            IOCTL_DISABLE => drop(ENABLED.and(!irp.input::<i32>()?)),
            IOCTL_TOGGLE => drop(ENABLED.xor(irp.input()?)),
            IOCTL_NAME => {
                let (category, name) = parts(irp)?;
                let name = name.try_into().map_err(|_| Error::INFO_LENGTH_MISMATCH)?;
                return NAMES.write(irql, |names, _| {
                    let place = names.get_mut(category as usize);
                    *place.ok_or(Error::INVALID_PARAMETER)? = name;
                    Ok(())
                });
            }
            IOCTL_HEARTBEAT => match irp.input::<u32>()? {
                0 => drop(self.heartbeat.cancel_and_wait(irql)),
                interval => {
                    let interval = Duration::from_millis(interval.into());
                    self.heartbeat.set_periodic(interval, interval, irql);
                }
            },
            _ => return Err(Error::INVALID_DEVICE_REQUEST),
        }
        Ok(())
    }
}

/// Returns the category and the bytes of an input.
fn parts(irp: &IrpView) -> Result<(u32, &[u8]), Error> {
    let parts = irp.input_bytes()?.split_first_chunk();
    let (category, bytes) = parts.ok_or(Error::INFO_LENGTH_MISMATCH)?;
    Ok((u32::from_le_bytes(*category), bytes))
}

impl ControlDevice for Recorder {
    const NAME: &str = "InterlockRecorder";
}

impl Device for Recorder {
    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = ();

    fn driver_entry(registry: &RegistryKey<'_>, irql: &mut PassiveLevel) -> Result<(), Error> {
        let enabled = registry.dword("Parameters", "Enabled", irql);
        ENABLED.exchange(enabled.map_or(-1, u32::cast_signed));
        Ok(())
    }

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let thread = Thread::new(Log::new(device, irql)?, device, irql)?;
        thread.start(irql)?;
        let wake = Dpc::with_importance(Ok::<_, Error>(Wake { thread }), Importance::Low);
        let wake = Shared::new(wake, device, irql)?;
        let heartbeat = Heartbeat { wake: wake.clone() };
        Ok(try_pin_init!(Self {
            wake,
            heartbeat <- Timer::new(Ok::<_, Error>(heartbeat)),
        }? Error))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        if irp.output_length() < MAX_LINE {
            return irp.complete(Error::BUFFER_TOO_SMALL, irql);
        }
        let pending = self.wake.thread.reads.insert(irp, irql);
        self.wake.thread.serve(irql);
        pending
    }

    fn write<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let text = irp.input_bytes();
        match text.and_then(|text| record(&self.wake, WRITTEN, text, irql)) {
            Ok(()) => irp.complete_write(usize::MAX, irql),
            Err(error) => irp.complete(error, irql),
        }
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        if irp.code() != IOCTL_INTERNAL_RECORD {
            return irp.complete(Error::INVALID_DEVICE_REQUEST, irql);
        }
        match parts(&irp).and_then(|(category, text)| record(&self.wake, category, text, irql)) {
            Ok(()) => irp.complete(NtStatus::SUCCESS, irql),
            Err(error) => irp.complete(error, irql),
        }
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match self.control(&irp, irql) {
            Ok(()) => irp.complete(NtStatus::SUCCESS, irql),
            Err(error) => irp.complete(error, irql),
        }
    }

    fn flush<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        let pending = self.wake.thread.flushes.insert(irp, irql);
        self.wake.thread.wake(irql);
        pending
    }

    fn query_information<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.information_class() != FILE_STANDARD_INFORMATION {
            return irp.complete(Error::INVALID_PARAMETER, irql);
        }
        let size = self.wake.thread.size(irql);
        // `AllocationSize`, `EndOfFile`, and `NumberOfLinks` with `DeletePending` and `Directory`.
        irp.complete_with(&[size, size, 1], irql)
    }

    fn set_information<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match (irp.information_class(), irp.input()) {
            (FILE_END_OF_FILE_INFORMATION, Ok(0_i64)) => {
                self.wake.thread.clear(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            _ => irp.complete(Error::INVALID_PARAMETER, irql),
        }
    }

    fn shutdown(&self, irql: &mut PassiveLevel) {
        let last = line(OWN, b"shutdown", irql);
        self.wake.thread.close(last, irql);
    }
}
