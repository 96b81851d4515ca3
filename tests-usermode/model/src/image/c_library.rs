//! The functions of the C run-time library that the kernel exports: text, and its formats. Their code page is Latin-1.
//!
//! [The functions](https://learn.microsoft.com/cpp/c-runtime-library/reference/crt-alphabetical-function-reference)

use std::{cmp::Ordering, ffi::c_char, ptr::null};

use crate::format::{Text, Writer};

/// A unit of text: a byte, or a UTF-16 unit.
trait Unit: Copy + Default + PartialEq + 'static {
    /// Returns the unit of a character. A character that has no unit becomes a question mark.
    fn of(character: char) -> Self;

    /// Returns the number of the unit, in lower case if it is an ASCII letter.
    fn folded(self) -> u16;

    fn number(self) -> u16;

    /// Returns the format that starts at an address.
    fn format(start: *const Self) -> Text;
}

impl Unit for u8 {
    fn of(character: char) -> Self {
        Self::try_from(u32::from(character)).unwrap_or(b'?')
    }

    fn folded(self) -> u16 {
        self.to_ascii_lowercase().into()
    }

    fn number(self) -> u16 {
        self.into()
    }

    fn format(start: *const Self) -> Text {
        Text::narrow(start.cast::<c_char>())
    }
}

impl Unit for u16 {
    fn of(character: char) -> Self {
        Self::try_from(u32::from(character)).unwrap_or(b'?'.into())
    }

    fn folded(self) -> u16 {
        u8::try_from(self).map_or(self, |byte| byte.to_ascii_lowercase().into())
    }

    fn number(self) -> u16 {
        self
    }

    fn format(start: *const Self) -> Text {
        Text::wide(start)
    }
}

/// Returns a unit of text.
///
/// # Safety
/// The text has this unit.
unsafe fn at<U: Unit>(text: *const U, index: usize) -> U {
    // SAFETY: guaranteed by the caller.
    unsafe { text.wrapping_add(index).read() }
}

/// The image gives text that ends with a zero, or is `most` units long.
fn length<U: Unit>(text: *const U, most: usize) -> usize {
    // SAFETY: no unit before this one is the zero that ends the text.
    let is_end = |index: &usize| unsafe { at(text, *index) } == U::default();
    (0..most).find(is_end).unwrap_or(most)
}

fn strlen<U: Unit>(text: *const U) -> usize {
    length(text, usize::MAX)
}

/// Compares up to `most` units, by their numbers.
fn compare<U: Unit>(one: *const U, other: *const U, most: usize, number: fn(U) -> u16) -> i32 {
    for index in 0..most {
        // SAFETY: no unit before this one is the zero that ends either text.
        let [one, other] = [one, other].map(|text| number(unsafe { at(text, index) }));
        match one.cmp(&other) {
            Ordering::Equal if one == 0 => return 0,
            Ordering::Equal => {}
            different => return different as i32,
        }
    }
    0
}

fn strcmp<U: Unit>(one: *const U, other: *const U) -> i32 {
    compare(one, other, usize::MAX, U::number)
}

fn strncmp<U: Unit>(one: *const U, other: *const U, most: usize) -> i32 {
    compare(one, other, most, U::number)
}

fn stricmp<U: Unit>(one: *const U, other: *const U) -> i32 {
    compare(one, other, usize::MAX, U::folded)
}

fn strnicmp<U: Unit>(one: *const U, other: *const U, most: usize) -> i32 {
    compare(one, other, most, U::folded)
}

/// Copies units to text. The image passes memory for them.
fn copy<U: Unit>(to: *mut U, from: *const U, length: usize) {
    // SAFETY: the image gives a string and memory of this length.
    unsafe { to.copy_from(from, length) };
}

fn strcpy<U: Unit>(to: *mut U, from: *const U) -> *mut U {
    copy(to, from, strlen(from) + 1);
    to
}

/// Fills the rest of the buffer with zeros. Longer text is not ended with a zero.
fn strncpy<U: Unit>(to: *mut U, from: *const U, count: usize) -> *mut U {
    let units = length(from, count);
    copy(to, from, units);
    for index in units..count {
        // SAFETY: the image passes memory of this length.
        unsafe { to.wrapping_add(index).write(U::default()) };
    }
    to
}

fn strcat<U: Unit>(to: *mut U, from: *const U) -> *mut U {
    strcpy(to.wrapping_add(strlen(to)), from);
    to
}

fn strncat<U: Unit>(to: *mut U, from: *const U, count: usize) -> *mut U {
    let (end, units) = (to.wrapping_add(strlen(to)), length(from, count));
    copy(end, from, units);
    // SAFETY: the image passes memory for the zero.
    unsafe { end.wrapping_add(units).write(U::default()) };
    to
}

/// Returns where a unit is in text, or in the zero that ends it.
fn find<U: Unit>(text: *const U, is_last: bool, is_wanted: impl Fn(U) -> bool) -> *const U {
    // SAFETY: the text has this length.
    let is_there = |index: &usize| is_wanted(unsafe { at(text, *index) });
    let mut places = 0..=strlen(text);
    let found = if is_last {
        places.rev().find(is_there)
    } else {
        places.find(is_there)
    };
    found.map_or(null(), |index| text.wrapping_add(index))
}

fn strchr(text: *const u8, unit: i32) -> *const u8 {
    let [wanted, ..] = unit.to_le_bytes();
    find(text, false, |unit| unit == wanted)
}

fn strrchr(text: *const u8, unit: i32) -> *const u8 {
    let [wanted, ..] = unit.to_le_bytes();
    find(text, true, |unit| unit == wanted)
}

fn wcschr(text: *const u16, wanted: u16) -> *const u16 {
    find(text, false, |unit| unit == wanted)
}

fn wcsrchr(text: *const u16, wanted: u16) -> *const u16 {
    find(text, true, |unit| unit == wanted)
}

fn strstr<U: Unit>(text: *const U, wanted: *const U) -> *const U {
    let length = strlen(wanted);
    let mut places = 0..=strlen(text);
    let is_there = |index: &usize| strncmp(text.wrapping_add(*index), wanted, length) == 0;
    let found = places.find(is_there);
    found.map_or(null(), |index| text.wrapping_add(index))
}

fn towupper(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, |byte| byte.to_ascii_uppercase().into())
}

fn towlower(unit: u16) -> u16 {
    unit.folded()
}

fn toupper(unit: i32) -> i32 {
    u8::try_from(unit).map_or(unit, |byte| byte.to_ascii_uppercase().into())
}

fn tolower(unit: i32) -> i32 {
    u8::try_from(unit).map_or(unit, |byte| byte.to_ascii_lowercase().into())
}

/// Writes arguments by a format into room for a number of units, with the zero if it fits; returns the number without it, or -1
/// if there is too much. `arguments` is the `va_list` of the convention: the address of a quadword for each.
fn format<U: Unit>(to: *mut U, count: usize, format: *const U, arguments: *const u64) -> i32 {
    let (mut written, mut argument) = (0_usize, arguments);
    let mut next = || {
        let value = argument;
        argument = value.wrapping_add(1);
        // SAFETY: the image passes the arguments of the format.
        unsafe { value.read() }
    };
    let mut push = |character| {
        if written < count {
            // SAFETY: the image passes memory of this length.
            unsafe { to.wrapping_add(written).write(U::of(character)) };
        }
        written += 1;
    };
    let mut writer = Writer::new(&mut push);
    // SAFETY: the image passes a format and its arguments.
    unsafe { writer.format(U::format(format), &mut next) };
    if written > count {
        return -1;
    }
    if written < count {
        // SAFETY: as above.
        unsafe { to.wrapping_add(written).write(U::default()) };
    }
    i32::try_from(written).unwrap_or(-1)
}

/// The first variable arguments of a function, which are in registers, and the others, which are on the stack, are passed in its
/// parameters. There can be fewer than the function reads, which are then other values on the stack of the image.
macro_rules! variadic {
    ($name:ident, $count:expr, ($($fixed:ident: $type:ty),*) => ($to:expr, $format:expr), $unit:ty) => {
        extern "win64" fn $name(
            $($fixed: $type,)*
            a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64, i: u64, j: u64,
        ) -> i32 {
            let arguments = [a, b, c, d, e, f, g, h, i, j];
            format::<$unit>($to, $count, $format, arguments.as_ptr())
        }
    };
}

variadic!(snprintf, count, (to: *mut u8, count: usize, text: *const u8) => (to, text), u8);
variadic!(snwprintf, count, (to: *mut u16, count: usize, text: *const u16) => (to, text), u16);
variadic!(sprintf, usize::MAX, (to: *mut u8, text: *const u8) => (to, text), u8);
variadic!(swprintf, usize::MAX, (to: *mut u16, text: *const u16) => (to, text), u16);

/// Defines a function of the convention of an image for each name, and returns the names with their addresses.
macro_rules! functions {
    ($($name:literal: $function:expr, ($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        vec![$(
            ($name, {
                extern "win64" fn thunk($($argument: $type),*) -> $result {
                    $function($($argument),*)
                }
                thunk as *const () as usize
            }),
        )*]
    };
}

mod secure;

/// Returns the names of the functions, and the address that an image calls for each.
pub(super) fn functions() -> Vec<(&'static str, usize)> {
    let mut functions: Vec<(&str, usize)> = functions! {
        "strlen": strlen, (text: *const u8) -> usize;
        "wcslen": strlen, (text: *const u16) -> usize;
        "strnlen": length, (text: *const u8, most: usize) -> usize;
        "wcsnlen": length, (text: *const u16, most: usize) -> usize;
        "strcmp": strcmp, (one: *const u8, other: *const u8) -> i32;
        "wcscmp": strcmp, (one: *const u16, other: *const u16) -> i32;
        "strncmp": strncmp, (one: *const u8, other: *const u8, most: usize) -> i32;
        "wcsncmp": strncmp, (one: *const u16, other: *const u16, most: usize) -> i32;
        "_stricmp": stricmp, (one: *const u8, other: *const u8) -> i32;
        "_wcsicmp": stricmp, (one: *const u16, other: *const u16) -> i32;
        "_strnicmp": strnicmp, (one: *const u8, other: *const u8, most: usize) -> i32;
        "_wcsnicmp": strnicmp, (one: *const u16, other: *const u16, most: usize) -> i32;
        "strcpy": strcpy, (to: *mut u8, from: *const u8) -> *mut u8;
        "wcscpy": strcpy, (to: *mut u16, from: *const u16) -> *mut u16;
        "strncpy": strncpy, (to: *mut u8, from: *const u8, count: usize) -> *mut u8;
        "wcsncpy": strncpy, (to: *mut u16, from: *const u16, count: usize) -> *mut u16;
        "strcat": strcat, (to: *mut u8, from: *const u8) -> *mut u8;
        "wcscat": strcat, (to: *mut u16, from: *const u16) -> *mut u16;
        "strncat": strncat, (to: *mut u8, from: *const u8, count: usize) -> *mut u8;
        "wcsncat": strncat, (to: *mut u16, from: *const u16, count: usize) -> *mut u16;
        "strchr": strchr, (text: *const u8, unit: i32) -> *const u8;
        "wcschr": wcschr, (text: *const u16, unit: u16) -> *const u16;
        "strrchr": strrchr, (text: *const u8, unit: i32) -> *const u8;
        "wcsrchr": wcsrchr, (text: *const u16, unit: u16) -> *const u16;
        "strstr": strstr, (text: *const u8, wanted: *const u8) -> *const u8;
        "wcsstr": strstr, (text: *const u16, wanted: *const u16) -> *const u16;
        "toupper": toupper, (unit: i32) -> i32;
        "tolower": tolower, (unit: i32) -> i32;
        "towupper": towupper, (unit: u16) -> u16;
        "towlower": towlower, (unit: u16) -> u16;
        "_vsnprintf": format, (to: *mut u8, count: usize, text: *const u8, arguments: *const u64) -> i32;
        "_vsnwprintf": format, (to: *mut u16, count: usize, text: *const u16, arguments: *const u64) -> i32;
    };
    functions.extend(secure::functions());
    functions.extend([
        ("_snprintf", snprintf as *const () as usize),
        ("_snwprintf", snwprintf as *const () as usize),
        ("sprintf", sprintf as *const () as usize),
        ("swprintf", swprintf as *const () as usize),
    ]);
    functions
}

#[cfg(test)]
mod tests {
    use super::{format, strncpy, strstr};

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().chain([0]).collect()
    }

    /// As the pages of `_vsnprintf` and `_vsnwprintf` say.
    #[test]
    fn format_that_is_too_long_is_truncated() {
        let text = c"%s-%d".to_bytes_with_nul();
        let arguments = [c"ab".as_ptr().expose_provenance() as u64, 12];
        let formatted = |count| {
            let mut room = [b'x'; 8];
            let written = format(room.as_mut_ptr(), count, text.as_ptr(), arguments.as_ptr());
            (written, room)
        };
        assert_eq!(formatted(6), (5, *b"ab-12\0xx"));
        assert_eq!(formatted(5), (5, *b"ab-12xxx"), "without the zero");
        assert_eq!(formatted(4), (-1, *b"ab-1xxxx"));
    }

    /// In a wide function `%s` is wide, and `%S` and `%hs` are not.
    #[test]
    fn text_of_a_wide_format_is_wide() {
        let (text, argument) = (wide("%s %S %hs %c"), wide("wide"));
        let narrow = c"narrow".as_ptr().expose_provenance() as u64;
        let argument = argument.as_ptr().expose_provenance() as u64;
        let arguments = [argument, narrow, narrow, u64::from(b'!')];
        let mut room = [0_u16; 32];
        let written = format(room.as_mut_ptr(), 32, text.as_ptr(), arguments.as_ptr());
        let expected = "wide narrow narrow !";
        assert_eq!(written, 20);
        assert_eq!(String::from_utf16_lossy(&room[..20]), expected);
    }

    #[test]
    fn text_is_copied_and_found() {
        let mut room = [b'x'; 6];
        strncpy(room.as_mut_ptr(), c"abc".as_ptr().cast(), 5);
        assert_eq!(&room, b"abc\0\0x", "the rest is filled with zeros");
        let text: *const u8 = c"abcbc".as_ptr().cast();
        let found = strstr(text, c"bc".as_ptr().cast());
        assert_eq!(found, text.wrapping_add(1));
        assert!(strstr(text, c"bd".as_ptr().cast()).is_null());
        assert_eq!(strstr(text, c"".as_ptr().cast()), text);
    }
}
