//! Messages to the kernel debugger.

use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::ke::irql::NoSpinLockHeld;

/// How much a message matters: the levels of `DbgPrintEx`.
///
/// WDK: "Reading and Filtering Debugging Messages".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Something is wrong (`DPFLTR_ERROR_LEVEL`).
    Error = 0,
    /// Something is odd (`DPFLTR_WARNING_LEVEL`).
    Warning = 1,
    /// What the driver does, step by step (`DPFLTR_TRACE_LEVEL`).
    Trace = 2,
    /// What may be good to know (`DPFLTR_INFO_LEVEL`).
    Info = 3,
}

/// The highest level that is still sent.
static LIMIT: AtomicU32 = AtomicU32::new(Level::Warning as u32);

/// Sends messages of levels up to `limit` from now on, a number as in [`Level`]. Until then it is 1:
/// errors and warnings.
///
/// # IRQL
/// Any.
///
/// ```
/// wdm::log::set_limit(wdm::log::Level::Info as u32);
/// ```
pub fn set_limit(limit: u32) {
    LIMIT.store(limit, Ordering::Relaxed);
}

/// Sends a line to the kernel debugger, as component `IHVDRIVER` (`DbgPrintEx`), which many drivers
/// share: let the line say whose it is.
///
/// A line longer than 200 bytes is cut. The debugger too filters by component and level:
/// `ed nt!Kd_IHVDRIVER_Mask 0xf` shows all.
///
/// WDK: "`DbgPrintEx` function".
///
/// # IRQL
/// At most `DISPATCH_LEVEL`, and no spin lock held.
///
/// ```no_run
/// fn started(irql: &mut wdm::PassiveLevel) {
///     wdm::log::write(wdm::log::Level::Info, irql, format_args!("mydriver: started"));
/// }
/// ```
pub fn write<L: NoSpinLockHeld>(level: Level, _irql: &mut L, message: fmt::Arguments<'_>) {
    send(level, message);
}

/// Says that a value which has to wait was dropped at an IRQL at which it cannot.
pub(crate) fn dropped_above_passive(what: &str, made_at: &core::panic::Location<'_>, irql: u8) {
    send(
        Level::Error,
        format_args!(
            "wdm: dropped at IRQL {irql}, and has to wait: {what}, made at {}:{}",
            made_at.file(),
            made_at.line()
        ),
    );
}

/// Says that a driver dropped an IRP that it should have completed.
pub(crate) fn dropped_irp<L: NoSpinLockHeld>(_irql: &mut L) {
    send(
        Level::Error,
        format_args!("wdm: an IRP was dropped, and is completed with STATUS_INTERNAL_ERROR"),
    );
}

/// Says which spin lock is taken by a processor that has it already.
#[cfg(feature = "lock-debug")]
pub(crate) fn spin_lock_already_owned(lock: &str) {
    send(
        Level::Error,
        format_args!("wdm: SPIN_LOCK_ALREADY_OWNED by this processor: {lock}"),
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
    // A line that does not fit is cut, and that is no error.
    let _ = line.write_fmt(message);
    // SAFETY: the format takes one string, and the line ends with a zero byte: `write_str` leaves the last
    // one alone. DbgPrintEx may be called at any IRQL up to DIRQL.
    unsafe {
        nt::DbgPrintEx(
            nt::DPFLTR_IHVDRIVER_ID,
            level as u32,
            c"%s\n".as_ptr(),
            line.bytes.as_ptr(),
        );
    }
}

/// A zero-terminated line in the making.
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
