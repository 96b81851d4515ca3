//! Messages to the kernel debugger.

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::ke::irql::NoSpinLockHeld;

/// The severity of a message (the levels of `DbgPrintEx`).
///
/// WDK: [Reading and Filtering Debugging Messages](https://learn.microsoft.com/windows-hardware/drivers/devtest/reading-and-filtering-debugging-messages).
#[doc(alias = "DbgPrintEx")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// An error (`DPFLTR_ERROR_LEVEL`).
    Error = 0,
    /// A warning (`DPFLTR_WARNING_LEVEL`).
    Warning = 1,
    /// A trace of the driver's operation (`DPFLTR_TRACE_LEVEL`).
    Trace = 2,
    /// Additional information (`DPFLTR_INFO_LEVEL`).
    Info = 3,
}

/// The highest level that is sent.
static LIMIT: AtomicU32 = AtomicU32::new(Level::Warning as u32);

/// Sets the highest level of messages that are sent, a number as in [`Level`]. The default is 1: errors and
/// warnings.
///
/// # IRQL
/// Any.
///
/// # Examples
///
/// ```
/// wdm::log::set_limit(wdm::log::Level::Info as u32);
/// ```
pub fn set_limit(limit: u32) {
    LIMIT.store(limit, Ordering::Relaxed);
}

/// Sends a line to the kernel debugger, as component `IHVDRIVER` (`DbgPrintEx`).
///
/// Many drivers share this component, so start the line with the name of the driver.
///
/// A line is truncated to 200 bytes. The debugger also filters by component and level: `ed nt!Kd_IHVDRIVER_Mask
/// 0xf` enables all levels.
///
/// WDK: [DbgPrintEx](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgprintex).
///
/// # IRQL
/// At most `DISPATCH_LEVEL`, and no spin lock held.
///
/// # Examples
///
/// ```no_run
/// fn started(irql: &mut wdm::PassiveLevel) {
///     wdm::log::write(wdm::log::Level::Info, irql, format_args!("mydriver: started"));
/// }
/// ```
#[doc(alias = "DbgPrintEx")]
pub fn write<L: NoSpinLockHeld>(level: Level, _irql: &mut L, message: fmt::Arguments<'_>) {
    send(level, message);
}

/// Reports that a value whose drop has to wait was dropped above `PASSIVE_LEVEL`.
pub(crate) fn dropped_above_passive(what: &str, made_at: &core::panic::Location<'_>, irql: u8) {
    send(
        Level::Error,
        format_args!(
            "wdm: dropped at IRQL {irql}, which must be PASSIVE_LEVEL: {what}, made at {}:{}",
            made_at.file(),
            made_at.line()
        ),
    );
}

/// Reports that the driver dropped an IRP instead of completing it.
pub(crate) fn dropped_irp<L: NoSpinLockHeld>(_irql: &mut L) {
    send(
        Level::Error,
        format_args!(
            "wdm: the driver dropped an IRP, which is completed with STATUS_INTERNAL_ERROR"
        ),
    );
}

/// Reports a spin lock that its owner's processor acquires again.
#[cfg(feature = "lock-debug")]
pub(crate) fn spin_lock_already_owned(lock: &str) {
    send(
        Level::Error,
        format_args!("wdm: SPIN_LOCK_ALREADY_OWNED: this processor already holds the lock {lock}"),
    );
}

fn send(level: Level, message: fmt::Arguments<'_>) {
    if level as u32 > LIMIT.load(Ordering::Relaxed) {
        return;
    }
    let mut line = Line {
        bytes: [0; Line::CAPACITY],
        length: 0,
    };
    // `write_fmt` fails if the line is truncated, which is allowed.
    let _ = line.write_fmt(message);
    // SAFETY: the format takes one string, and the line ends with a zero byte, since `write_str` never writes the
    // last byte. DbgPrintEx may be called at any IRQL up to DIRQL.
    unsafe {
        nt::DbgPrintEx(
            nt::DPFLTR_IHVDRIVER_ID,
            level as u32,
            c"%s\n".as_ptr(),
            line.bytes.as_ptr(),
        );
    }
}

/// A buffer for a zero-terminated line.
struct Line {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl Line {
    const CAPACITY: usize = 201;
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self
            .bytes
            .iter_mut()
            .take(Self::CAPACITY - 1)
            .skip(self.length);
        let taken = text.len().min(room.len());
        for (to, from) in room.zip(text.bytes()) {
            *to = from;
        }
        self.length += taken;
        if taken == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
