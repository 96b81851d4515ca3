//! Messages to the kernel debugger.

use core::{
    num::NonZero,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Error, ke::irql::NoSpinLockHeld};

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

/// A part of a line. `core::fmt` would be several kilobytes of every driver that logs a number.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Part<'a> {
    /// A text.
    Text(&'a str),
    /// A text from another source, which may contain anything; bytes that are not printable ASCII are written as `.`.
    Bytes(&'a [u8]),
    /// A number, which is written in decimal.
    Number(u64),
    /// A number, which is written as `0x` and eight hexadecimal digits, such as a status or an I/O control code.
    Hex(u32),
}

impl<'a> From<&'a str> for Part<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Part<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Part<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<Error> for Part<'_> {
    fn from(error: Error) -> Self {
        Self::Hex(error.to_raw().cast_unsigned())
    }
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
/// fn started(version: u32, irql: &mut wdm::PassiveLevel) {
///     wdm::log::write(wdm::log::Level::Info, irql, &["mydriver: started, version ".into(), version.into()]);
/// }
/// ```
#[doc(alias = "DbgPrintEx")]
pub fn write<L: NoSpinLockHeld>(level: Level, _irql: &mut L, line: &[Part<'_>]) {
    send(level, line);
}

/// Reports that a value whose drop has to wait was dropped above `PASSIVE_LEVEL`.
pub(crate) fn dropped_above_passive(what: &str, made_at: &core::panic::Location<'_>, irql: u8) {
    send(
        Level::Error,
        &[
            "wdm: dropped at IRQL ".into(),
            u32::from(irql).into(),
            ", which must be PASSIVE_LEVEL: ".into(),
            what.into(),
            ", made at ".into(),
            made_at.file().into(),
            ":".into(),
            made_at.line().into(),
        ],
    );
}

/// Reports that the driver dropped an IRP instead of completing it.
pub(crate) fn dropped_irp<L: NoSpinLockHeld>(_irql: &mut L) {
    send(
        Level::Error,
        &["wdm: the driver dropped an IRP, which is completed with STATUS_INTERNAL_ERROR".into()],
    );
}

/// Reports a spin lock that its owner's processor acquires again.
#[cfg(feature = "lock-debug")]
pub(crate) fn spin_lock_already_owned(lock: &str) {
    send(
        Level::Error,
        &[
            "wdm: SPIN_LOCK_ALREADY_OWNED: this processor already holds the lock ".into(),
            lock.into(),
        ],
    );
}

#[inline(never)]
fn send(level: Level, parts: &[Part<'_>]) {
    if level as u32 > LIMIT.load(Ordering::Relaxed) {
        return;
    }
    let mut line = Line {
        bytes: [0; Line::CAPACITY],
        length: 0,
    };
    for &part in parts {
        match part {
            Part::Text(text) => text.bytes().for_each(|byte| line.push(byte)),
            Part::Bytes(bytes) => bytes.iter().for_each(|&byte| {
                let is_printable = byte == b' ' || byte.is_ascii_graphic();
                line.push(if is_printable { byte } else { b'.' });
            }),
            Part::Number(number) => line.push_digits(number, Line::DECIMAL, 1),
            Part::Hex(number) => {
                line.push(b'0');
                line.push(b'x');
                line.push_digits(number.into(), Line::HEXADECIMAL, 8);
            }
        }
    }
    // SAFETY: the format takes one string, and the line ends with a zero byte, since `push` never writes the last
    // byte. DbgPrintEx may be called at any IRQL up to DIRQL.
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
    const DECIMAL: NonZero<u64> = NonZero::new(10).unwrap();
    const HEXADECIMAL: NonZero<u64> = NonZero::new(16).unwrap();

    /// Appends a byte, unless the line is full.
    #[inline(never)]
    fn push(&mut self, byte: u8) {
        let mut room = self.bytes.iter_mut().take(Self::CAPACITY - 1);
        if let Some(place) = room.nth(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// Appends a number with at least this many digits.
    fn push_digits(&mut self, mut number: u64, base: NonZero<u64>, least: usize) {
        // The digits of `u64::MAX` in base 10.
        const MOST: usize = 20;
        let mut digits = [b'0'; MOST];
        let mut length = 0;
        for place in digits.iter_mut().rev() {
            let digit = usize::try_from(number % base).unwrap_or(0);
            *place = b"0123456789abcdef".get(digit).copied().unwrap_or(b'?');
            number /= base;
            length += 1;
            if number == 0 && length >= least {
                break;
            }
        }
        for digit in digits.iter().skip(MOST - length) {
            self.push(*digit);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{
        format,
        string::{String, ToString},
    };

    use super::{Line, NonZero};

    fn digits(number: u64, base: NonZero<u64>, least: usize) -> String {
        let mut line = Line {
            bytes: [0; Line::CAPACITY],
            length: 0,
        };
        line.push_digits(number, base, least);
        String::from_utf8(line.bytes[..line.length].to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_core_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 4711, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(digits(number, Line::DECIMAL, 1), number.to_string());
        }
        for number in [0, 0xf, 0x10, 0xc000_0010, u64::from(u32::MAX)] {
            assert_eq!(
                digits(number, Line::HEXADECIMAL, 8),
                format!("{number:08x}")
            );
        }
    }

    #[test]
    fn a_full_line_is_null_terminated() {
        let mut line = Line {
            bytes: [0; Line::CAPACITY],
            length: 0,
        };
        (0..500).for_each(|_| line.push(b'a'));
        assert_eq!(line.length, Line::CAPACITY - 1);
        assert_eq!(line.bytes.last(), Some(&0));
    }
}
