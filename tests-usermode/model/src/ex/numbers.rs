//! Numbers as text.

use nt::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::host::Call;

/// Returns the number that text begins with, in a base, or in that of its prefix if the base is zero.
fn parse(text: &str, base: u32) -> u32 {
    let text = text.trim_start_matches(|letter: char| letter <= ' ');
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let by_prefix = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .find_map(|(prefix, base)| Some((text.strip_prefix(prefix)?, *base)));
    let (text, base) = if base == 0 {
        by_prefix.unwrap_or((text, 10))
    } else {
        (text, base)
    };
    let digits = text.chars().map_while(|letter| letter.to_digit(base));
    let value = digits.fold(0_u32, |value, digit| {
        value.wrapping_mul(base).wrapping_add(digit)
    });
    if is_negative {
        value.wrapping_neg()
    } else {
        value
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlunicodestringtointeger)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlUnicodeStringToInteger(
    string: *const UNICODE_STRING,
    base: u32,
    value: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlUnicodeStringToInteger").at_most(0);
    call.require_room(value);
    // SAFETY: the caller passes a string.
    let text = String::from_utf16_lossy(unsafe { call.units(string) });
    if text.is_empty() || ![0, 2, 8, 10, 16].contains(&base) {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the caller passes memory for the number.
    unsafe { value.write(parse(&text, base)) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlintegertounicodestring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlIntegerToUnicodeString(
    value: u32,
    base: u32,
    string: *mut UNICODE_STRING,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlIntegerToUnicodeString").at_most(0);
    call.require_room(string);
    let text = match base {
        0 | 10 => format!("{value}"),
        2 => format!("{value:b}"),
        8 => format!("{value:o}"),
        16 => format!("{value:X}"),
        _ => return STATUS_INVALID_PARAMETER,
    };
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    // SAFETY: the caller passes a string.
    let string = unsafe { &mut *string };
    if 2 * units.len() > usize::from(string.MaximumLength) {
        return STATUS_BUFFER_OVERFLOW;
    }
    // SAFETY: the buffer has room, as `MaximumLength` says.
    unsafe { call.fill(string.Buffer, &units) };
    string.Length = u16::try_from(2 * text.len()).unwrap_or_default();
    STATUS_SUCCESS
}
