//! The functions of the C run-time library that take the size of a buffer, and functions for single characters and for memory.
//!
//! If the buffer is too small, a function writes an empty string and returns an error. The kernel has no handler for invalid
//! parameters.
//!
//! [Their description](https://learn.microsoft.com/cpp/c-runtime-library/security-features-in-the-crt)

use super::{Unit, at, copy, format, length, strlen};

const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
/// The count of a copy that may be truncated, and the result of a truncated copy.
const TRUNCATE: usize = usize::MAX;
const STRUNCATE: i32 = 80;

/// Writes an empty string if the buffer has room for it; returns the error.
fn refuse<U: Unit>(to: *mut U, size: usize, error: i32) -> i32 {
    if !to.is_null() && size != 0 {
        // SAFETY: the image passes a buffer of this size.
        unsafe { to.write(U::default()) };
    }
    error
}

/// Copies up to `count` units of a string to the index `place` of a buffer with `size` units.
fn copy_to<U: Unit>(to: *mut U, size: usize, place: usize, from: *const U, count: usize) -> i32 {
    if to.is_null() || size == 0 {
        return EINVAL;
    }
    if from.is_null() || place >= size {
        return refuse(to, size, EINVAL);
    }
    let units = length(from, count);
    let room = size - place - 1;
    if units > room && count != TRUNCATE {
        return refuse(to, size, ERANGE);
    }
    let copied = units.min(room);
    copy(to.wrapping_add(place), from, copied);
    // SAFETY: the image passes a buffer of this size.
    unsafe { to.wrapping_add(place + copied).write(U::default()) };
    if copied < units { STRUNCATE } else { 0 }
}

fn strcpy_s<U: Unit>(to: *mut U, size: usize, from: *const U) -> i32 {
    // A count that no string reaches. Unlike `TRUNCATE`, it makes a string that does not fit an error.
    copy_to(to, size, 0, from, TRUNCATE - 1)
}

fn strncpy_s<U: Unit>(to: *mut U, size: usize, from: *const U, count: usize) -> i32 {
    copy_to(to, size, 0, from, count)
}

fn strcat_s<U: Unit>(to: *mut U, size: usize, from: *const U) -> i32 {
    strncat_s(to, size, from, TRUNCATE - 1)
}

fn strncat_s<U: Unit>(to: *mut U, size: usize, from: *const U, count: usize) -> i32 {
    let place = if to.is_null() { 0 } else { length(to, size) };
    copy_to(to, size, place, from, count)
}

fn memcpy_s(to: *mut u8, size: usize, from: *const u8, count: usize) -> i32 {
    if count == 0 {
        return 0;
    }
    if to.is_null() {
        return EINVAL;
    }
    if from.is_null() || size < count {
        // SAFETY: the image passes a buffer of this size.
        unsafe { to.write_bytes(0, size) };
        return if from.is_null() { EINVAL } else { ERANGE };
    }
    // SAFETY: the image passes memory of this size.
    unsafe { to.copy_from(from, count) };
    0
}

fn memmove_s(to: *mut u8, size: usize, from: *const u8, count: usize) -> i32 {
    if count == 0 {
        return 0;
    }
    if to.is_null() || from.is_null() {
        return EINVAL;
    }
    if size < count {
        return ERANGE;
    }
    // SAFETY: the image passes memory of this size.
    unsafe { to.copy_from(from, count) };
    0
}

/// Formats arguments into a buffer with `size` units: up to `count` units and a null terminator. Returns the number of units, or -1 if
/// there are more.
fn format_s<U: Unit>(
    to: *mut U,
    size: usize,
    count: usize,
    text: *const U,
    arguments: *const u64,
) -> i32 {
    if to.is_null() || size == 0 {
        return -1;
    }
    let most = count.min(size - 1);
    let written = format(to, most, text, arguments);
    if written < 0 && count >= size && count != TRUNCATE {
        return refuse(to, size, -1);
    }
    let end = usize::try_from(written).unwrap_or(most);
    // SAFETY: the image passes a buffer of this size.
    unsafe { to.wrapping_add(end).write(U::default()) };
    written
}

fn vsprintf_s<U: Unit>(to: *mut U, size: usize, text: *const U, arguments: *const u64) -> i32 {
    format_s(to, size, size, text, arguments)
}

/// As `variadic`, for the functions that take the size of the buffer.
macro_rules! variadic_s {
    ($name:ident, $count:expr, ($($fixed:ident),*), $unit:ty) => {
        extern "win64" fn $name(
            to: *mut $unit, size: usize, $($fixed: usize,)* text: *const $unit,
            a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64, i: u64, j: u64,
        ) -> i32 {
            let arguments = [a, b, c, d, e, f, g, h, i, j];
            format_s(to, size, $count(size, $($fixed),*), text, arguments.as_ptr())
        }
    };
}

fn whole(size: usize) -> usize {
    size
}

fn part(_size: usize, count: usize) -> usize {
    count
}

variadic_s!(sprintf_s, whole, (), u8);
variadic_s!(swprintf_s, whole, (), u16);
variadic_s!(snprintf_s, part, (count), u8);
variadic_s!(snwprintf_s, part, (count), u16);

/// Converts each unit of a string.
fn change<U: Unit>(text: *mut U, to: impl Fn(U) -> U) -> *mut U {
    for index in 0..strlen(text) {
        let place = text.wrapping_add(index);
        // SAFETY: the image passes a string of this length.
        let unit = unsafe { at(text, index) };
        // SAFETY: as above.
        unsafe { place.write(to(unit)) };
    }
    text
}

fn strlwr(text: *mut u8) -> *mut u8 {
    change(text, |unit| unit.to_ascii_lowercase())
}

fn strupr(text: *mut u8) -> *mut u8 {
    change(text, |unit| unit.to_ascii_uppercase())
}

fn wcslwr(text: *mut u16) -> *mut u16 {
    change(text, super::towlower)
}

fn wcsupr(text: *mut u16) -> *mut u16 {
    change(text, super::towupper)
}

/// Returns how many units at the start of a string are among the wanted ones.
fn strspn<U: Unit>(text: *const U, wanted: *const U) -> usize {
    let is_wanted = |index: &usize| {
        // SAFETY: the text has this length.
        let unit = unsafe { at(text, *index) };
        let mut places = 0..strlen(wanted);
        // SAFETY: as above.
        places.any(|place| unsafe { at(wanted, place) } == unit)
    };
    (0..strlen(text)).take_while(is_wanted).count()
}

fn memchr(memory: *const u8, wanted: i32, count: usize) -> *const u8 {
    let [wanted, ..] = wanted.to_le_bytes();
    let mut places = 0..count;
    // SAFETY: the image passes memory of this length.
    let found = places.find(|place| unsafe { at(memory, *place) } == wanted);
    found.map_or(std::ptr::null(), |place| memory.wrapping_add(place))
}

/// Reads the decimal number at the start of a string, after spaces and an optional sign.
fn atoi<U: Unit>(text: *const U) -> i32 {
    // SAFETY: the text has this length.
    let units = (0..strlen(text)).map(|index| unsafe { at(text, index) }.number());
    let mut units = units
        .skip_while(|unit| matches!(unit, 9..=13 | 32))
        .peekable();
    let sign = units.next_if(|unit| [u16::from(b'-'), b'+'.into()].contains(unit));
    let digits = units.map_while(|unit| {
        let digit = unit.checked_sub(b'0'.into())?;
        (digit < 10).then_some(i32::from(digit))
    });
    let number = digits.fold(0_i32, |number, digit| {
        number.wrapping_mul(10).wrapping_add(digit)
    });
    if sign == Some(b'-'.into()) {
        number.wrapping_neg()
    } else {
        number
    }
}

fn is(unit: i32, test: fn(&u8) -> bool) -> i32 {
    u8::try_from(unit).map_or(0, |byte| test(&byte).into())
}

/// Returns the names of the functions, and the address that an image calls for each.
pub(super) fn functions() -> Vec<(&'static str, usize)> {
    let mut functions: Vec<(&str, usize)> = functions! {
        "strcpy_s": strcpy_s, (to: *mut u8, size: usize, from: *const u8) -> i32;
        "wcscpy_s": strcpy_s, (to: *mut u16, size: usize, from: *const u16) -> i32;
        "strncpy_s": strncpy_s, (to: *mut u8, size: usize, from: *const u8, count: usize) -> i32;
        "wcsncpy_s": strncpy_s, (to: *mut u16, size: usize, from: *const u16, count: usize) -> i32;
        "strcat_s": strcat_s, (to: *mut u8, size: usize, from: *const u8) -> i32;
        "wcscat_s": strcat_s, (to: *mut u16, size: usize, from: *const u16) -> i32;
        "strncat_s": strncat_s, (to: *mut u8, size: usize, from: *const u8, count: usize) -> i32;
        "wcsncat_s": strncat_s, (to: *mut u16, size: usize, from: *const u16, count: usize) -> i32;
        "memcpy_s": memcpy_s, (to: *mut u8, size: usize, from: *const u8, count: usize) -> i32;
        "memmove_s": memmove_s, (to: *mut u8, size: usize, from: *const u8, count: usize) -> i32;
        "vsprintf_s": vsprintf_s, (to: *mut u8, size: usize, text: *const u8, arguments: *const u64) -> i32;
        "vswprintf_s": vsprintf_s, (to: *mut u16, size: usize, text: *const u16, arguments: *const u64) -> i32;
        "_vsnprintf_s": format_s, (to: *mut u8, size: usize, count: usize, text: *const u8, arguments: *const u64) -> i32;
        "_vsnwprintf_s": format_s, (to: *mut u16, size: usize, count: usize, text: *const u16, arguments: *const u64) -> i32;
        "_strlwr": strlwr, (text: *mut u8) -> *mut u8;
        "_strupr": strupr, (text: *mut u8) -> *mut u8;
        "_wcslwr": wcslwr, (text: *mut u16) -> *mut u16;
        "_wcsupr": wcsupr, (text: *mut u16) -> *mut u16;
        "strspn": strspn, (text: *const u8, wanted: *const u8) -> usize;
        "wcsspn": strspn, (text: *const u16, wanted: *const u16) -> usize;
        "memchr": memchr, (memory: *const u8, wanted: i32, count: usize) -> *const u8;
        "atoi": atoi, (text: *const u8) -> i32;
        "atol": atoi, (text: *const u8) -> i32;
        "_wtoi": atoi, (text: *const u16) -> i32;
        "_wtol": atoi, (text: *const u16) -> i32;
    };
    functions.extend(functions! {
        "isdigit": (|unit| is(unit, u8::is_ascii_digit)), (unit: i32) -> i32;
        "islower": (|unit| is(unit, u8::is_ascii_lowercase)), (unit: i32) -> i32;
        "isprint": (|unit| is(unit, |byte| matches!(byte, 0x20..=0x7e))), (unit: i32) -> i32;
        "isspace": (|unit| is(unit, |byte| matches!(byte, 9..=13 | 32))), (unit: i32) -> i32;
        "isupper": (|unit| is(unit, u8::is_ascii_uppercase)), (unit: i32) -> i32;
        "isxdigit": (|unit| is(unit, u8::is_ascii_hexdigit)), (unit: i32) -> i32;
    });
    functions.extend([
        ("sprintf_s", sprintf_s as *const () as usize),
        ("swprintf_s", swprintf_s as *const () as usize),
        ("_snprintf_s", snprintf_s as *const () as usize),
        ("_snwprintf_s", snwprintf_s as *const () as usize),
    ]);
    functions
}

#[cfg(test)]
mod tests {
    use super::{
        EINVAL, ERANGE, STRUNCATE, TRUNCATE, atoi, format_s, memcpy_s, memmove_s, strcat_s,
        strcpy_s, strlwr, strncpy_s, strspn, vsprintf_s,
    };

    fn room() -> [u8; 6] {
        *b"xxxxxx"
    }

    /// As the page of `strcpy_s` says: `ERANGE` if the buffer is too small, and `EINVAL` for NULL.
    #[test]
    fn text_that_does_not_fit_is_refused() {
        let (text, mut to) = (c"abcde".as_ptr().cast::<u8>(), room());
        assert_eq!((strcpy_s(to.as_mut_ptr(), 6, text), &to), (0, b"abcde\0"));
        let mut to = room();
        let status = strcpy_s(to.as_mut_ptr(), 5, text);
        assert_eq!((status, &to), (ERANGE, b"\0xxxxx"));
        let status = strcpy_s(to.as_mut_ptr(), 6, std::ptr::null());
        assert_eq!(status, EINVAL);
        assert_eq!(strcpy_s(std::ptr::null_mut(), 6, text), EINVAL);
        let mut to = *b"ab\0xxx";
        let status = strcat_s(to.as_mut_ptr(), 6, c"cde".as_ptr().cast());
        assert_eq!((status, &to), (0, b"abcde\0"));
        let status = strcat_s(to.as_mut_ptr(), 6, c"f".as_ptr().cast());
        assert_eq!((status, to[0]), (ERANGE, 0));
    }

    /// As the page of `strncpy_s` says: `_TRUNCATE` copies as much as fits.
    #[test]
    fn string_is_truncated_on_request() {
        let (text, mut to) = (c"abcdefgh".as_ptr().cast::<u8>(), room());
        let status = strncpy_s(to.as_mut_ptr(), 6, text, TRUNCATE);
        assert_eq!((status, &to), (STRUNCATE, b"abcde\0"));
        let mut to = room();
        let status = strncpy_s(to.as_mut_ptr(), 6, text, 3);
        assert_eq!((status, &to), (0, b"abc\0xx"));
        assert_eq!(strncpy_s(to.as_mut_ptr(), 6, text, 6), ERANGE);
    }

    /// As the pages of `sprintf_s` and `_snprintf_s` say.
    #[test]
    fn formatted_string_is_null_terminated() {
        let text = c"%d-%d".as_ptr().cast::<u8>();
        let arguments = [123_u64, 45];
        let mut to = room();
        let written = vsprintf_s(to.as_mut_ptr(), 6, text, arguments.as_ptr());
        assert_eq!((written, to[0]), (-1, 0), "six units and the zero");
        let arguments = [12_u64, 45];
        let written = vsprintf_s(to.as_mut_ptr(), 6, text, arguments.as_ptr());
        assert_eq!((written, &to), (5, b"12-45\0"));
        let written = format_s(to.as_mut_ptr(), 6, 3, text, arguments.as_ptr());
        assert_eq!((written, &to[..4]), (-1, &b"12-\0"[..]));
        let arguments = [123_u64, 45];
        let written = format_s(to.as_mut_ptr(), 6, TRUNCATE, text, arguments.as_ptr());
        assert_eq!((written, &to), (-1, b"123-4\0"));
    }

    /// As the pages of `memcpy_s` and `memmove_s` say: `memcpy_s` zeroes the buffer.
    #[test]
    fn memory_that_does_not_fit_is_not_copied() {
        let (from, mut to) = (*b"abcdef", room());
        let status = memmove_s(to.as_mut_ptr(), 5, from.as_ptr(), 6);
        assert_eq!((status, to), (ERANGE, room()));
        let status = memcpy_s(to.as_mut_ptr(), 5, from.as_ptr(), 6);
        assert_eq!((status, &to), (ERANGE, b"\0\0\0\0\0x"));
        let status = memcpy_s(to.as_mut_ptr(), 6, from.as_ptr(), 6);
        assert_eq!((status, to), (0, from));
    }

    #[test]
    fn numbers_are_parsed_and_letters_converted() {
        assert_eq!(atoi(c"  -120x".as_ptr().cast::<u8>()), -120);
        assert_eq!(atoi(c"x1".as_ptr().cast::<u8>()), 0);
        let mut text = *b"A1bC\0\0";
        strlwr(text.as_mut_ptr());
        assert_eq!(&text, b"a1bc\0\0");
        let wanted = c"ab1".as_ptr().cast::<u8>();
        assert_eq!(strspn(text.as_ptr(), wanted), 3);
    }
}
