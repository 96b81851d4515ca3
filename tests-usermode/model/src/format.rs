//! The formats of `DbgPrint`. The output is a line of at most 512 bytes, as on Windows. Nothing is allocated, since a
//! driver calls the routine at any IRQL.
//!
//! [The formats](https://learn.microsoft.com/cpp/c-runtime-library/format-specification-syntax-printf-and-wprintf-functions)

use std::{
    ffi::CStr,
    fmt::{self, Write},
};

/// The maximum number of bytes that Windows prints.
const MOST: usize = 512;

/// A line that is being written. Text that does not fit is dropped.
pub(crate) struct Line {
    bytes: [u8; MOST],
    length: usize,
    /// Whether the format had an argument of UTF-16 units.
    pub(crate) is_wide: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; MOST],
            length: 0,
            is_wide: false,
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// The specification between a `%` and its letter.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the format"
)]
struct Specification {
    left: bool,
    zeros: bool,
    prefix: bool,
    sign: Option<u8>,
    width: usize,
    precision: Option<usize>,
    /// The number of bits of a number.
    bits: u32,
    wide: bool,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        // The last byte stays zero.
        let room = MOST - 1 - self.length;
        let taken = bytes.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
    }

    /// Returns the text without a new line at the end.
    pub(crate) fn end(&mut self) -> &CStr {
        while self.length > 0 && matches!(self.bytes[self.length - 1], b'\n' | b'\r') {
            self.length -= 1;
        }
        self.bytes[self.length] = 0;
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    /// Writes arguments by a format.
    ///
    /// # Safety
    /// The arguments match the format, and its strings are valid.
    pub(crate) unsafe fn format(&mut self, mut format: &[u8], arguments: &[u64]) {
        let mut arguments = arguments.iter().copied();
        while let Some((&byte, rest)) = format.split_first() {
            format = rest;
            if byte != b'%' {
                self.push(&[byte]);
                continue;
            }
            let (specification, rest) = Specification::read(format, &mut arguments);
            let Some((&letter, rest)) = rest.split_first() else {
                return;
            };
            format = rest;
            if letter == b'%' {
                self.push(b"%");
                continue;
            }
            let argument = arguments.next().unwrap_or_default();
            match letter {
                b's' | b'S' | b'Z' => {
                    // SAFETY: guaranteed by the caller.
                    unsafe { self.string(letter, &specification, argument) };
                }
                b'c' | b'C' => {
                    self.is_wide |= letter == b'C' || specification.wide;
                    let [byte, ..] = argument.to_le_bytes();
                    self.padded(&specification, b"", &[byte]);
                }
                _ => self.number(letter, specification, argument),
            }
        }
    }

    /// Writes a string unit by unit.
    ///
    /// # Safety
    /// `argument` is NULL or the address of a string of the letter's type.
    unsafe fn string(&mut self, letter: u8, specification: &Specification, argument: u64) {
        let wide = specification.wide != (letter == b'S');
        self.is_wide |= wide;
        let place = usize::try_from(argument).unwrap_or_default();
        let (address, counted) = if argument != 0 && letter == b'Z' {
            let string = std::ptr::with_exposed_provenance::<nt::UNICODE_STRING>(place);
            // SAFETY: the argument is a counted string. An ANSI string has its fields in the same places.
            let string = unsafe { string.read() };
            let length = usize::from(string.Length) / if wide { 2 } else { 1 };
            (string.Buffer.cast_const().cast(), Some(length))
        } else {
            (std::ptr::with_exposed_provenance::<u8>(place), None)
        };
        let mut text = Self::default();
        if address.is_null() {
            text.push(b"(null)");
        }
        let most = counted
            .unwrap_or(MOST)
            .min(specification.precision.unwrap_or(MOST));
        for index in 0..if address.is_null() { 0 } else { most } {
            let unit = if wide {
                let [low, high] = [2 * index, 2 * index + 1].map(|place| {
                    // SAFETY: the string has this length, or ends with a zero.
                    unsafe { address.wrapping_add(place).read() }
                });
                u16::from_le_bytes([low, high])
            } else {
                // SAFETY: as above.
                u16::from(unsafe { address.wrapping_add(index).read() })
            };
            if unit == 0 && counted.is_none() {
                break;
            }
            let character = char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER);
            let _ = text.write_char(character);
        }
        let length = text.length;
        self.padded(specification, b"", &text.bytes[..length]);
    }

    fn number(&mut self, letter: u8, mut specification: Specification, argument: u64) {
        let mut digits = Self::default();
        let unused = 64 - specification.bits;
        let unsigned = argument << unused >> unused;
        let signed = argument.cast_signed() << unused >> unused;
        let mut sign: &[u8] = b"";
        let plus = [specification.sign.unwrap_or_default()];
        // Writing to a line does not fail.
        let _ = match letter {
            b'd' | b'i' => {
                if signed < 0 {
                    sign = b"-";
                } else if specification.sign.is_some() {
                    sign = &plus;
                }
                write!(digits, "{}", signed.unsigned_abs())
            }
            b'x' => {
                sign = if specification.prefix { b"0x" } else { b"" };
                write!(digits, "{unsigned:x}")
            }
            b'X' => {
                sign = if specification.prefix { b"0X" } else { b"" };
                write!(digits, "{unsigned:X}")
            }
            b'o' => write!(digits, "{unsigned:o}"),
            b'p' | b'P' => write!(digits, "{argument:016X}"),
            _ => write!(digits, "{unsigned}"),
        };
        let length = digits.length;
        let zeros = specification
            .precision
            .map_or(0, |digits| digits.saturating_sub(length));
        if zeros == 0 {
            return self.padded(&specification, sign, &digits.bytes[..length]);
        }
        specification.zeros = false;
        let mut long = Self::default();
        for _ in 0..zeros.min(MOST) {
            long.push(b"0");
        }
        long.push(&digits.bytes[..length]);
        let length = long.length;
        self.padded(&specification, sign, &long.bytes[..length]);
    }

    fn padded(&mut self, specification: &Specification, sign: &[u8], text: &[u8]) {
        let padding = specification
            .width
            .saturating_sub(sign.len() + text.len())
            .min(MOST);
        let pad = |line: &mut Self, byte: u8| {
            for _ in 0..padding {
                line.push(&[byte]);
            }
        };
        let zeros = specification.zeros && !specification.left;
        if !zeros && !specification.left {
            pad(self, b' ');
        }
        self.push(sign);
        if zeros {
            pad(self, b'0');
        }
        self.push(text);
        if specification.left {
            pad(self, b' ');
        }
    }
}

impl Specification {
    /// Reads the specification before the letter; returns it and the rest of the format.
    fn read<'a>(mut text: &'a [u8], arguments: &mut impl Iterator<Item = u64>) -> (Self, &'a [u8]) {
        let mut this = Self {
            bits: 32,
            ..Self::default()
        };
        while let [flag @ (b'-' | b'+' | b' ' | b'#' | b'0'), rest @ ..] = text {
            match flag {
                b'-' => this.left = true,
                b'#' => this.prefix = true,
                b'0' => this.zeros = true,
                sign => this.sign = this.sign.max(Some(*sign)),
            }
            text = rest;
        }
        let mut number = |text: &mut &'a [u8]| {
            let mut value = 0_usize;
            if let [b'*', rest @ ..] = *text {
                *text = rest;
                return usize::try_from(arguments.next().unwrap_or_default() & 0xffff)
                    .unwrap_or_default();
            }
            while let [digit @ b'0'..=b'9', rest @ ..] = *text {
                value = value
                    .saturating_mul(10)
                    .saturating_add(usize::from(digit - b'0'));
                *text = rest;
            }
            value
        };
        this.width = number(&mut text);
        if let [b'.', rest @ ..] = text {
            text = rest;
            this.precision = Some(number(&mut text));
        }
        for (prefix, bits) in [
            (&b"I64"[..], 64),
            (b"I32", 32),
            (b"ll", 64),
            (b"hh", 8),
            (b"I", 64),
            (b"z", 64),
            (b"j", 64),
            (b"t", 64),
            (b"h", 16),
            (b"l", 32),
            (b"w", 32),
        ] {
            if let Some(rest) = text.strip_prefix(prefix) {
                text = rest;
                this.bits = bits;
                this.wide = matches!(prefix, b"l" | b"w");
                break;
            }
        }
        (this, text)
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    fn formatted(format: &str, arguments: &[u64]) -> String {
        let mut line = Line::default();
        // SAFETY: each test passes arguments that match its format.
        unsafe { line.format(format.as_bytes(), arguments) };
        line.end().to_string_lossy().into_owned()
    }

    #[test]
    fn numbers_are_as_long_as_their_type() {
        let minus = u64::MAX;
        assert_eq!(formatted("%d %u\n", &[minus, minus]), "-1 4294967295");
        assert_eq!(formatted("%ld|%lx", &[minus, minus]), "-1|ffffffff");
        assert_eq!(
            formatted("%I64d %llu %Ix", &[minus, minus, minus]),
            "-1 18446744073709551615 ffffffffffffffff"
        );
        assert_eq!(formatted("%hu %hhu", &[minus, minus]), "65535 255");
        assert_eq!(formatted("%p", &[0x12ab]), "00000000000012AB");
    }

    #[test]
    fn numbers_are_padded() {
        assert_eq!(
            formatted("[%5d][%-5d][%05d]", &[42, 42, 42]),
            "[   42][42   ][00042]"
        );
        assert_eq!(
            formatted("%#010x %08X %+d", &[0xbeef, 0xbeef, 7]),
            "0x0000beef 0000BEEF +7"
        );
        assert_eq!(formatted("%.3d %*d %%", &[7, 4, 9]), "007    9 %");
    }

    #[test]
    fn strings_are_narrow_wide_or_counted() {
        let wide: Vec<u16> = "wide\0".encode_utf16().collect();
        let string = nt::UNICODE_STRING {
            Length: 4,
            MaximumLength: 8,
            Buffer: wide.as_ptr().cast_mut(),
        };
        let wide = wide.as_ptr().expose_provenance() as u64;
        let narrow = c"narrow".as_ptr().expose_provenance() as u64;
        let counted = (&raw const string).expose_provenance() as u64;
        assert_eq!(
            formatted("%s|%.3s|%8s", &[narrow; 3]),
            "narrow|nar|  narrow"
        );
        assert_eq!(formatted("%ws %S %ls", &[wide; 3]), "wide wide wide");
        assert_eq!(formatted("%wZ %s", &[counted, 0]), "wi (null)");
        assert_eq!(formatted("%c%c", &[u64::from(b'o'), u64::from(b'k')]), "ok");
    }

    #[test]
    fn a_line_ends_at_512_bytes() {
        let long = "x".repeat(600);
        assert_eq!(formatted(&long, &[]).len(), 511);
        assert_eq!(formatted("%", &[]), "");
    }
}
