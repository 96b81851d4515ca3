//! The formats of `DbgPrint` and of the C run-time library. Nothing is allocated, since a driver calls the routines at any IRQL.
//!
//! [The formats](https://learn.microsoft.com/cpp/c-runtime-library/format-specification-syntax-printf-and-wprintf-functions)

use std::{
    ffi::{CStr, c_char},
    fmt::{self, Write},
};

use crate::touch::touch;

/// The maximum number of bytes that `DbgPrint` prints.
const MOST: usize = 512;

/// Text that is given by its address: units of a byte, or of two.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    start: *const u8,
    is_wide: bool,
    /// The number of units, if they do not end with a zero.
    length: Option<usize>,
}

impl Text {
    /// Text of bytes that ends with a zero.
    pub(crate) const fn narrow(start: *const c_char) -> Self {
        Self {
            start: start.cast(),
            is_wide: false,
            length: None,
        }
    }

    /// Text of UTF-16 units that ends with a zero.
    pub(crate) const fn wide(start: *const u16) -> Self {
        Self {
            start: start.cast(),
            is_wide: true,
            length: None,
        }
    }

    /// Returns a unit; zero after the last one.
    ///
    /// # Safety
    /// The text is valid, and no unit before this one is the zero that ends it.
    unsafe fn at(&self, index: usize) -> u16 {
        if self.length.is_some_and(|length| index >= length) {
            return 0;
        }
        if self.is_wide {
            let unit = self.start.cast::<[u8; 2]>().wrapping_add(index);
            // SAFETY: guaranteed by the caller.
            u16::from_le_bytes(unsafe { read(unit) })
        } else {
            // SAFETY: guaranteed by the caller.
            u16::from(unsafe { read(self.start.wrapping_add(index)) })
        }
    }

    /// Returns the number of units, of which there are no more than `most`.
    ///
    /// # Safety
    /// The text is valid.
    unsafe fn units(&self, most: usize) -> usize {
        let most = self.length.map_or(most, |length| length.min(most));
        let is_end = |index: &usize| {
            // SAFETY: guaranteed by the caller, since the units before this one are no zero.
            self.length.is_none() && unsafe { self.at(*index) } == 0
        };
        (0..most).find(is_end).unwrap_or(most)
    }
}

/// Reads memory of the driver. If there is none, the handler for faults reports a violation.
///
/// # Safety
/// The value is valid.
unsafe fn read<T>(place: *const T) -> T {
    // SAFETY: the pointer is not NULL.
    unsafe { touch(place.cast(), size_of::<T>()) };
    // SAFETY: guaranteed by the caller.
    unsafe { place.read() }
}

/// A format that is read from left to right.
struct Reader {
    text: Text,
    place: usize,
}

impl Reader {
    /// Returns the next unit.
    ///
    /// # Safety
    /// The format is valid.
    unsafe fn peek(&self) -> u16 {
        // SAFETY: guaranteed by the caller; the reader does not pass the end.
        unsafe { self.text.at(self.place) }
    }

    /// Skips the next unit if it is this one.
    ///
    /// # Safety
    /// As for [`Reader::peek`].
    unsafe fn take(&mut self, letter: u8) -> bool {
        // SAFETY: guaranteed by the caller.
        let is_next = unsafe { self.peek() } == u16::from(letter);
        self.place += usize::from(is_next);
        is_next
    }

    /// Skips a prefix if it is next.
    ///
    /// # Safety
    /// As for [`Reader::peek`].
    unsafe fn take_all(&mut self, prefix: &[u8]) -> bool {
        let start = self.place;
        // SAFETY: guaranteed by the caller.
        let is_next = prefix.iter().all(|letter| unsafe { self.take(*letter) });
        if !is_next {
            self.place = start;
        }
        is_next
    }
}

/// Something that arguments are written to by a format, character by character.
pub(crate) struct Writer<'a> {
    out: &'a mut dyn FnMut(char),
    /// Whether an argument was text of UTF-16 units.
    pub(crate) has_wide: bool,
}

/// The digits of a number.
struct Digits {
    bytes: [u8; 24],
    length: usize,
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The specification between a `%` and its letter.
#[derive(Default)]
struct Specification {
    left: bool,
    zeros: bool,
    prefix: bool,
    sign: Option<u8>,
    width: usize,
    precision: Option<usize>,
    /// The number of bits of a number.
    bits: u32,
    /// Whether the size says that text is wide, or narrow.
    wide: Option<bool>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut dyn FnMut(char)) -> Self {
        Self {
            out,
            has_wide: false,
        }
    }

    fn push(&mut self, text: &str) {
        text.chars().for_each(&mut *self.out);
    }

    fn repeat(&mut self, character: char, times: usize) {
        for _ in 0..times {
            (self.out)(character);
        }
    }

    /// Writes arguments by a format. In a format of UTF-16 units `%s` is text of such units, else of bytes, and `%S` the other.
    ///
    /// # Safety
    /// The format is valid, the arguments match it, and its strings are valid.
    pub(crate) unsafe fn format(&mut self, format: Text, arguments: &mut dyn FnMut() -> u64) {
        let mut reader = Reader {
            text: format,
            place: 0,
        };
        loop {
            // SAFETY: guaranteed by the caller.
            let unit = unsafe { reader.peek() };
            if unit == 0 {
                return;
            }
            reader.place += 1;
            if unit != u16::from(b'%') {
                (self.out)(character(unit));
                continue;
            }
            // SAFETY: guaranteed by the caller.
            let specification = unsafe { Specification::read(&mut reader, arguments) };
            // SAFETY: as above.
            let letter = u8::try_from(unsafe { reader.peek() }).unwrap_or(b'?');
            if letter == 0 {
                return;
            }
            reader.place += 1;
            if letter == b'%' {
                self.push("%");
                continue;
            }
            let argument = arguments();
            let by_letter = format.is_wide != letter.is_ascii_uppercase();
            let is_wide = specification.wide.unwrap_or(by_letter);
            match letter {
                // SAFETY: guaranteed by the caller.
                b's' | b'S' => unsafe { self.string(&specification, argument, is_wide) },
                b'Z' => {
                    let is_wide = specification.wide == Some(true);
                    // SAFETY: guaranteed by the caller.
                    unsafe { self.counted(&specification, argument, is_wide) };
                }
                b'c' | b'C' => {
                    let [low, high, ..] = argument.to_le_bytes();
                    self.has_wide |= is_wide;
                    let unit = u16::from_le_bytes([low, if is_wide { high } else { 0 }]);
                    let mut encoded = [0; 4];
                    self.padded(
                        &specification,
                        "",
                        character(unit).encode_utf8(&mut encoded),
                    );
                }
                _ => self.number(letter, specification, argument),
            }
        }
    }

    /// Writes text that ends with a zero.
    ///
    /// # Safety
    /// `argument` is NULL or the address of such text.
    unsafe fn string(&mut self, specification: &Specification, argument: u64, is_wide: bool) {
        let place = usize::try_from(argument).unwrap_or_default();
        let text = Text {
            start: std::ptr::with_exposed_provenance(place),
            is_wide,
            length: None,
        };
        // SAFETY: guaranteed by the caller.
        unsafe { self.text(specification, text) };
    }

    /// Writes a counted string.
    ///
    /// # Safety
    /// `argument` is NULL or the address of a counted string.
    unsafe fn counted(&mut self, specification: &Specification, argument: u64, is_wide: bool) {
        if argument == 0 {
            return self.padded(specification, "", "(null)");
        }
        let place = usize::try_from(argument).unwrap_or_default();
        let string = std::ptr::with_exposed_provenance::<nt::UNICODE_STRING>(place);
        // SAFETY: guaranteed by the caller. An ANSI string has its fields in the same places.
        let string = unsafe { read(string) };
        let text = Text {
            start: string.Buffer.cast_const().cast(),
            is_wide,
            length: Some(usize::from(string.Length) / if is_wide { 2 } else { 1 }),
        };
        // SAFETY: guaranteed by the caller.
        unsafe { self.text(specification, text) };
    }

    /// # Safety
    /// The text is valid, or its address is NULL.
    unsafe fn text(&mut self, specification: &Specification, text: Text) {
        self.has_wide |= text.is_wide;
        if text.start.is_null() {
            return self.padded(specification, "", "(null)");
        }
        // SAFETY: guaranteed by the caller.
        let units = unsafe { text.units(specification.precision.unwrap_or(usize::MAX)) };
        let padding = specification.width.saturating_sub(units);
        if !specification.left {
            self.repeat(' ', padding);
        }
        for index in 0..units {
            // SAFETY: as above.
            (self.out)(character(unsafe { text.at(index) }));
        }
        if specification.left {
            self.repeat(' ', padding);
        }
    }

    fn number(&mut self, letter: u8, mut specification: Specification, argument: u64) {
        let mut digits = Digits {
            bytes: [0; 24],
            length: 0,
        };
        let unused = 64 - specification.bits;
        let unsigned = argument << unused >> unused;
        let signed = argument.cast_signed() << unused >> unused;
        let mut sign = "";
        // The digits have room for each number.
        let _ = match letter {
            b'd' | b'i' => {
                if signed < 0 {
                    sign = "-";
                } else if let Some(plus) = specification.sign {
                    sign = if plus == b'+' { "+" } else { " " };
                }
                write!(digits, "{}", signed.unsigned_abs())
            }
            b'x' => {
                sign = if specification.prefix { "0x" } else { "" };
                write!(digits, "{unsigned:x}")
            }
            b'X' => {
                sign = if specification.prefix { "0X" } else { "" };
                write!(digits, "{unsigned:X}")
            }
            b'o' => write!(digits, "{unsigned:o}"),
            b'p' | b'P' => write!(digits, "{argument:016X}"),
            _ => write!(digits, "{unsigned}"),
        };
        let digits = str::from_utf8(&digits.bytes[..digits.length]).unwrap_or_default();
        let Some(least) = specification.precision else {
            return self.padded(&specification, sign, digits);
        };
        // The precision of a number is its least number of digits.
        let zeros = least.saturating_sub(digits.len());
        specification.zeros = false;
        let padding = specification
            .width
            .saturating_sub(sign.len() + zeros + digits.len());
        if !specification.left {
            self.repeat(' ', padding);
        }
        self.push(sign);
        self.repeat('0', zeros);
        self.push(digits);
        if specification.left {
            self.repeat(' ', padding);
        }
    }

    fn padded(&mut self, specification: &Specification, sign: &str, text: &str) {
        let length = sign.len() + text.chars().count();
        let padding = specification.width.saturating_sub(length);
        let zeros = specification.zeros && !specification.left;
        if !zeros && !specification.left {
            self.repeat(' ', padding);
        }
        self.push(sign);
        if zeros {
            self.repeat('0', padding);
        }
        self.push(text);
        if specification.left {
            self.repeat(' ', padding);
        }
    }
}

/// Returns the character of a unit. A surrogate stands for no character.
fn character(unit: u16) -> char {
    char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER)
}

impl Specification {
    /// Reads the specification before the letter.
    ///
    /// # Safety
    /// The format is valid.
    unsafe fn read(reader: &mut Reader, arguments: &mut dyn FnMut() -> u64) -> Self {
        let mut this = Self {
            bits: 32,
            ..Self::default()
        };
        loop {
            // SAFETY: guaranteed by the caller.
            let flag = u8::try_from(unsafe { reader.peek() }).unwrap_or_default();
            match flag {
                b'-' => this.left = true,
                b'#' => this.prefix = true,
                b'0' => this.zeros = true,
                b'+' | b' ' => this.sign = this.sign.max(Some(flag)),
                _ => break,
            }
            reader.place += 1;
        }
        // SAFETY: guaranteed by the caller.
        this.width = unsafe { Self::number(reader, arguments) };
        // SAFETY: as above.
        if unsafe { reader.take(b'.') } {
            // SAFETY: as above.
            this.precision = Some(unsafe { Self::number(reader, arguments) });
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
            // SAFETY: as above.
            if unsafe { reader.take_all(prefix) } {
                this.bits = bits;
                this.wide = match prefix {
                    b"l" | b"w" => Some(true),
                    b"h" => Some(false),
                    _ => None,
                };
                break;
            }
        }
        this
    }

    /// Reads a number, or takes it from the arguments.
    ///
    /// # Safety
    /// The format is valid.
    unsafe fn number(reader: &mut Reader, arguments: &mut dyn FnMut() -> u64) -> usize {
        // SAFETY: guaranteed by the caller.
        if unsafe { reader.take(b'*') } {
            return usize::try_from(arguments() & 0xffff).unwrap_or_default();
        }
        let mut value = 0_usize;
        loop {
            // SAFETY: guaranteed by the caller.
            let digit = u8::try_from(unsafe { reader.peek() }).unwrap_or_default();
            if !digit.is_ascii_digit() {
                return value;
            }
            value = value
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'));
            reader.place += 1;
        }
    }
}

/// A line that `DbgPrint` prints, of at most 512 bytes. Text that does not fit is dropped.
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

impl Line {
    fn push(&mut self, character: char) {
        let mut encoded = [0; 4];
        let encoded = character.encode_utf8(&mut encoded);
        let end = self.length + encoded.len();
        // The last byte stays zero.
        if end < MOST {
            self.bytes[self.length..end].copy_from_slice(encoded.as_bytes());
            self.length = end;
        }
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
    pub(crate) unsafe fn format(&mut self, format: *const c_char, arguments: &[u64]) {
        let mut arguments = arguments.iter().copied();
        let mut push = |character| self.push(character);
        let mut writer = Writer::new(&mut push);
        let mut next = || arguments.next().unwrap_or_default();
        // SAFETY: guaranteed by the caller.
        unsafe { writer.format(Text::narrow(format), &mut next) };
        self.is_wide = writer.has_wide;
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::Line;

    fn formatted(format: &str, arguments: &[u64]) -> String {
        let format = CString::new(format).expect("it has no zero");
        let mut line = Line::default();
        // SAFETY: each test passes arguments that match its format.
        unsafe { line.format(format.as_ptr(), arguments) };
        line.end().to_string_lossy().into_owned()
    }

    #[test]
    fn numbers_have_the_size_of_their_type() {
        let minus = u64::MAX;
        assert_eq!(formatted("%d %u\n", &[minus, minus]), "-1 4294967295");
        assert_eq!(formatted("%ld|%lx", &[minus, minus]), "-1|ffffffff");
        let text = formatted("%I64d %llu %Ix", &[minus, minus, minus]);
        assert_eq!(text, "-1 18446744073709551615 ffffffffffffffff");
        assert_eq!(formatted("%hu %hhu", &[minus, minus]), "65535 255");
        assert_eq!(formatted("%p", &[0x12ab]), "00000000000012AB");
    }

    #[test]
    fn numbers_are_padded() {
        let text = formatted("[%5d][%-5d][%05d]", &[42, 42, 42]);
        assert_eq!(text, "[   42][42   ][00042]");
        let text = formatted("%#010x %08X %+d", &[0xbeef, 0xbeef, 7]);
        assert_eq!(text, "0x0000beef 0000BEEF +7");
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
        let text = formatted("%s|%.3s|%8s", &[narrow; 3]);
        assert_eq!(text, "narrow|nar|  narrow");
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
