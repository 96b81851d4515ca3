//! Counted strings of the run-time library. [Microsoft's
//! page](https://learn.microsoft.com/windows-hardware/drivers/kernel/strings)

use std::{char, ffi::c_void, ptr::null_mut};

use nt::{
    ANSI_STRING, NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_NO_MEMORY,
    STATUS_SUCCESS, UNICODE_STRING,
};

use crate::host::{Call, fault};

/// The tag of a string that a routine allocates.
pub(in crate::ex) const TAG: u32 = u32::from_le_bytes(*b"Strg");

/// The maximum length of a `UNICODE_STRING` without the terminating zero.
const MOST_BYTES: u16 = 0xfffc;

/// Returns the units before the terminating zero.
///
/// # Safety
/// A zero ends them, or the pointer is NULL.
pub(crate) unsafe fn terminated<'a>(start: *const u16) -> &'a [u16] {
    if start.is_null() {
        return &[];
    }
    let unit = |place| {
        let unit = start.wrapping_add(place);
        // SAFETY: the pointer is not NULL.
        unsafe { fault::touch(unit.cast(), 2) };
        // SAFETY: guaranteed by the caller.
        unsafe { unit.read() }
    };
    let mut length = 0;
    while length < usize::from(MOST_BYTES / 2) && unit(length) != 0 {
        length += 1;
    }
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// Returns a unit in upper case, if the upper case is one unit too.
fn upper(unit: u16) -> u16 {
    let Some(letter) = char::from_u32(unit.into()) else {
        return unit;
    };
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => u16::try_from(u32::from(upper)).unwrap_or(unit),
        _ => unit,
    }
}

/// Compares two strings as the routine does. Returns the difference of the first units that differ, or of the lengths.
fn compare(one: &[u16], other: &[u16], case_insensitive: bool) -> i32 {
    let fold = |unit: &u16| {
        if case_insensitive {
            upper(*unit)
        } else {
            *unit
        }
    };
    let pairs = one.iter().map(fold).zip(other.iter().map(fold));
    let difference = pairs
        .map(|(one, other)| i32::from(one) - i32::from(other))
        .find(|difference| *difference != 0);
    let lengths = |units: &[u16]| i32::try_from(units.len()).unwrap_or(i32::MAX);
    difference.unwrap_or_else(|| lengths(one) - lengths(other))
}

impl Call {
    /// Returns the characters of a string in Latin-1, as units.
    ///
    /// # Safety
    /// The string is valid.
    unsafe fn characters(&self, string: *const ANSI_STRING) -> Vec<u16> {
        // SAFETY: guaranteed by the caller.
        let string = unsafe { self.view_new::<ANSI_STRING, _>(string.cast_mut()) };
        // SAFETY: as above.
        let bytes = unsafe { self.elements(string.Buffer, string.Length.into()) };
        bytes.iter().copied().map(u16::from).collect()
    }

    fn append(&self, string: *mut UNICODE_STRING, more: &[u16]) -> NTSTATUS {
        self.require_room(string);
        // SAFETY: the caller passes a string.
        let string = unsafe { &mut *string };
        let length = usize::from(string.Length) + 2 * more.len();
        if length > usize::from(string.MaximumLength) {
            return STATUS_BUFFER_TOO_SMALL;
        }
        let end = string.Buffer.wrapping_add(usize::from(string.Length / 2));
        let maximum = usize::from(string.MaximumLength / 2);
        self.require_array(string.Buffer, maximum);
        // SAFETY: the buffer has room, as `MaximumLength` says. The source may be a part of it.
        unsafe { self.fill(end, more) };
        string.Length = u16::try_from(length).unwrap_or(string.Length);
        if length + 2 <= usize::from(string.MaximumLength) {
            // SAFETY: as above.
            unsafe { end.wrapping_add(more.len()).write(0) };
        }
        STATUS_SUCCESS
    }

    /// Returns a buffer for a string of a number of bytes and the terminating zero: a new block, or the existing buffer.
    fn room(
        &self,
        is_new: bool,
        (buffer, maximum): (*mut c_void, u16),
        size: usize,
    ) -> Result<(*mut c_void, u16), NTSTATUS> {
        let fits = u16::try_from(size);
        match (is_new, fits) {
            (_, Err(_)) => Err(nt::STATUS_INVALID_PARAMETER),
            (true, Ok(size)) => {
                let block = self.allocate_pool(size.into(), TAG, true);
                if block.is_null() {
                    return Err(STATUS_NO_MEMORY);
                }
                Ok((block, size))
            }
            (false, Ok(size)) if size <= maximum => {
                self.require_array(buffer.cast::<u8>(), maximum.into());
                Ok((buffer, maximum))
            }
            (false, Ok(_)) => Err(STATUS_BUFFER_OVERFLOW),
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlinitunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlInitUnicodeString(string: *mut UNICODE_STRING, source: *const u16) {
    let call = Call::enter_noted("RtlInitUnicodeString");
    call.require_room(string);
    // SAFETY: the caller passes a source that ends with a zero, or NULL.
    let length = 2 * unsafe { terminated(source) }.len();
    let length = u16::try_from(length).unwrap_or(MOST_BYTES);
    let value = UNICODE_STRING {
        Length: length,
        MaximumLength: if source.is_null() { 0 } else { length + 2 },
        Buffer: source.cast_mut(),
    };
    // SAFETY: the caller passes memory for a string.
    unsafe { string.write(value) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlinitansistring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlInitAnsiString(string: *mut ANSI_STRING, source: *const u8) {
    let call = Call::enter_noted("RtlInitAnsiString").at_most(nt::DISPATCH_LEVEL);
    call.require_room(string);
    let mut length = 0_u16;
    if !source.is_null() {
        let byte = |place: u16| {
            let byte = source.wrapping_add(place.into());
            // SAFETY: the pointer is not NULL.
            unsafe { fault::touch(byte, 1) };
            // SAFETY: the caller passes a source that ends with a zero.
            unsafe { byte.read() }
        };
        while byte(length) != 0 && length < 0xfffe {
            length += 1;
        }
    }
    let value = ANSI_STRING {
        Length: length,
        MaximumLength: if source.is_null() { 0 } else { length + 1 },
        Buffer: source.cast_mut(),
    };
    // SAFETY: the caller passes memory for a string.
    unsafe { string.write(value) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlcopyunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCopyUnicodeString(to: *mut UNICODE_STRING, from: *const UNICODE_STRING) {
    let call = Call::enter_noted("RtlCopyUnicodeString");
    call.require_room(to);
    let from = if from.is_null() {
        &[]
    } else {
        // SAFETY: the caller passes a string.
        unsafe { call.units(from) }
    };
    // SAFETY: the caller passes a string.
    let string = unsafe { &mut *to };
    string.Length = 0;
    let fits = usize::from(string.MaximumLength / 2).min(from.len());
    call.append(to, &from[..fits]);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlappendunicodetostring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAppendUnicodeToString(to: *mut UNICODE_STRING, from: *const u16) -> NTSTATUS {
    let call = Call::enter_noted("RtlAppendUnicodeToString");
    // SAFETY: the caller passes a source that ends with a zero, or NULL.
    call.append(to, unsafe { terminated(from) })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlappendunicodestringtostring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAppendUnicodeStringToString(
    to: *mut UNICODE_STRING,
    from: *const UNICODE_STRING,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlAppendUnicodeStringToString");
    // SAFETY: the caller passes a string.
    call.append(to, unsafe { call.units(from) })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlcompareunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCompareUnicodeString(
    one: *const UNICODE_STRING,
    other: *const UNICODE_STRING,
    case_insensitive: u8,
) -> i32 {
    let call = Call::enter_noted("RtlCompareUnicodeString").at_most(0);
    // SAFETY: the caller passes strings.
    let [one, other] = [one, other].map(|string| unsafe { call.units(string) });
    compare(one, other, case_insensitive != 0)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlequalunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlEqualUnicodeString(
    one: *const UNICODE_STRING,
    other: *const UNICODE_STRING,
    case_insensitive: u8,
) -> u8 {
    let call = Call::enter_noted("RtlEqualUnicodeString").at_most(0);
    // SAFETY: the caller passes strings.
    let [one, other] = [one, other].map(|string| unsafe { call.units(string) });
    u8::from(compare(one, other, case_insensitive != 0) == 0)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-rtlcomparestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCompareString(
    one: *const ANSI_STRING,
    other: *const ANSI_STRING,
    case_insensitive: u8,
) -> i32 {
    let call = Call::enter_noted("RtlCompareString").at_most(0);
    // SAFETY: the caller passes strings.
    let [one, other] = [one, other].map(|string| unsafe { call.characters(string) });
    compare(&one, &other, case_insensitive != 0)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-rtlequalstring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlEqualString(
    one: *const ANSI_STRING,
    other: *const ANSI_STRING,
    case_insensitive: u8,
) -> u8 {
    let call = Call::enter_noted("RtlEqualString").at_most(0);
    // SAFETY: the caller passes strings.
    let [one, other] = [one, other].map(|string| unsafe { call.characters(string) });
    u8::from(compare(&one, &other, case_insensitive != 0) == 0)
}

/// The caller frees the buffer with `RtlFreeUnicodeString`.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlcreateunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCreateUnicodeString(to: *mut UNICODE_STRING, source: *const u16) -> u8 {
    let call = Call::enter_noted("RtlCreateUnicodeString").at_most(0);
    call.require_room(to);
    // SAFETY: the caller passes a source that ends with a zero.
    let source = unsafe { terminated(source) };
    let Ok((buffer, size)) = call.room(true, (null_mut(), 0), 2 * source.len() + 2) else {
        return 0;
    };
    let buffer = buffer.cast::<u16>();
    // SAFETY: the block has room for the source and a zero.
    unsafe { buffer.copy_from_nonoverlapping(source.as_ptr(), source.len()) };
    // SAFETY: as above.
    unsafe { buffer.wrapping_add(source.len()).write(0) };
    let made = UNICODE_STRING {
        Length: size - 2,
        MaximumLength: size,
        Buffer: buffer,
    };
    // SAFETY: the caller passes memory for a string.
    unsafe { to.write(made) };
    1
}

/// The model's code page is Latin-1.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlansistringtounicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAnsiStringToUnicodeString(
    to: *mut UNICODE_STRING,
    from: *const ANSI_STRING,
    allocate: u8,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlAnsiStringToUnicodeString").at_most(0);
    call.require_room(to);
    // SAFETY: the caller passes strings.
    let to = unsafe { &mut *to };
    // SAFETY: as above.
    let from = unsafe { call.characters(from) };
    let length = from.len();
    let room = call.room(
        allocate != 0,
        (to.Buffer.cast(), to.MaximumLength),
        2 * length + 2,
    );
    let (buffer, maximum) = match room {
        Ok(room) => room,
        Err(status) => return status,
    };
    let buffer = buffer.cast::<u16>();
    for (place, unit) in from.iter().chain(&[0]).enumerate() {
        // SAFETY: the buffer has room for the same number of units, and a zero.
        unsafe { buffer.wrapping_add(place).write(*unit) };
    }
    *to = UNICODE_STRING {
        Length: u16::try_from(2 * length).unwrap_or_default(),
        MaximumLength: maximum,
        Buffer: buffer,
    };
    STATUS_SUCCESS
}

/// The model's code page is Latin-1. A character that it lacks becomes a question mark.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlunicodestringtoansistring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlUnicodeStringToAnsiString(
    to: *mut ANSI_STRING,
    from: *const UNICODE_STRING,
    allocate: u8,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlUnicodeStringToAnsiString").at_most(0);
    call.require_room(to);
    // SAFETY: the caller passes strings.
    let to = unsafe { &mut *to };
    // SAFETY: as above.
    let from = unsafe { call.units(from) };
    let room = call.room(
        allocate != 0,
        (to.Buffer.cast(), to.MaximumLength),
        from.len() + 1,
    );
    let (buffer, maximum) = match room {
        Ok(room) => room,
        Err(status) => return status,
    };
    let buffer = buffer.cast::<u8>();
    for (place, unit) in from.iter().chain(&[0]).enumerate() {
        let byte = u8::try_from(*unit).unwrap_or(b'?');
        // SAFETY: the buffer has room for the same number of bytes, and a zero.
        unsafe { buffer.wrapping_add(place).write(byte) };
    }
    *to = ANSI_STRING {
        Length: u16::try_from(from.len()).unwrap_or_default(),
        MaximumLength: maximum,
        Buffer: buffer,
    };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlfreeansistring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFreeAnsiString(string: *mut ANSI_STRING) {
    let call = Call::enter_noted("RtlFreeAnsiString").at_most(1);
    call.require_room(string);
    // SAFETY: the caller passes a string.
    let buffer = unsafe { std::mem::take(&mut (*string).Buffer) };
    if !buffer.is_null() {
        call.free_pool(buffer.cast(), 0);
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlcomparememory)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCompareMemory(one: *const c_void, other: *const c_void, length: usize) -> usize {
    let call = Call::enter_noted("RtlCompareMemory");
    // SAFETY: the caller passes blocks of this length.
    let [one, other] =
        [one, other].map(|start| unsafe { call.elements(start.cast::<u8>(), length) });
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlinitstring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlInitString(string: *mut ANSI_STRING, source: *const u8) {
    RtlInitAnsiString(string, source);
}

/// The units of strings are compared as `RtlEqualUnicodeString` does.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-rtlprefixunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlPrefixUnicodeString(
    prefix: *const UNICODE_STRING,
    string: *const UNICODE_STRING,
    case_insensitive: u8,
) -> u8 {
    let call = Call::enter_noted("RtlPrefixUnicodeString").at_most(0);
    // SAFETY: the caller passes strings.
    let [prefix, string] = [prefix, string].map(|string| unsafe { call.units(string) });
    let start = string.get(..prefix.len());
    u8::from(start.is_some_and(|start| compare(prefix, start, case_insensitive != 0) == 0))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlupcaseunicodechar)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlUpcaseUnicodeChar(unit: u16) -> u16 {
    let _call = Call::enter_noted("RtlUpcaseUnicodeChar").at_most(1);
    upper(unit)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-rtlupcaseunicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlUpcaseUnicodeString(
    to: *mut UNICODE_STRING,
    from: *const UNICODE_STRING,
    allocate: u8,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlUpcaseUnicodeString").at_most(1);
    call.require_room(to);
    // SAFETY: the caller passes strings.
    let to = unsafe { &mut *to };
    // SAFETY: as above.
    let from = unsafe { call.units(from) };
    let room = call.room(
        allocate != 0 && !from.is_empty(),
        (to.Buffer.cast(), to.MaximumLength),
        2 * from.len(),
    );
    let (buffer, maximum) = match room {
        Ok(room) => room,
        Err(status) => return status,
    };
    let buffer = buffer.cast::<u16>();
    for (place, unit) in from.iter().enumerate() {
        // SAFETY: the buffer has room for the same number of units.
        unsafe { buffer.wrapping_add(place).write(upper(*unit)) };
    }
    *to = UNICODE_STRING {
        Length: u16::try_from(2 * from.len()).unwrap_or_default(),
        MaximumLength: maximum,
        Buffer: buffer,
    };
    STATUS_SUCCESS
}
