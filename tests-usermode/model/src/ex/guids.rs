//! GUIDs as text, in the form `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`.

use std::sync::atomic::Ordering;

use nt::{
    GUID, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NO_MEMORY, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{ex::strings::TAG, host::Call};

/// Returns the GUID that is written in text, if it has the form.
fn parse(text: &str) -> Option<GUID> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let parts: Vec<&str> = inner.split('-').collect();
    let is_formed = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
    let is_hexadecimal = inner
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    if !is_formed || !is_hexadecimal {
        return None;
    }
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let node = number(parts[3])? << 48 | number(parts[4])?;
    Some(GUID {
        Data1: u32::try_from(number(parts[0])?).ok()?,
        Data2: u16::try_from(number(parts[1])?).ok()?,
        Data3: u16::try_from(number(parts[2])?).ok()?,
        Data4: node.to_be_bytes(),
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlguidfromstring)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlGUIDFromString(string: *const UNICODE_STRING, guid: *mut GUID) -> NTSTATUS {
    let call = Call::enter_noted("RtlGUIDFromString").at_most(0);
    call.require_room(guid);
    // SAFETY: the caller passes a string.
    let text = String::from_utf16_lossy(unsafe { call.units(string) });
    let Some(found) = parse(&text) else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: the caller passes memory for a GUID.
    unsafe { guid.write(found) };
    STATUS_SUCCESS
}

/// The UUIDs are of version 4, but numbered, so that an exploration repeats them.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-exuuidcreate)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExUuidCreate(uuid: *mut GUID) -> NTSTATUS {
    const APC_LEVEL: u8 = 1;
    let call = Call::enter("ExUuidCreate").at_most(APC_LEVEL);
    call.require_room(uuid);
    let number = call.kernel.ex().last_uuid.fetch_add(1, Ordering::Relaxed) + 1;
    let made = GUID {
        Data1: number,
        Data2: 0,
        Data3: 0x4000,
        Data4: [0x80, 0, 0, 0, 0, 0, 0, 1],
    };
    // SAFETY: the caller passes memory for a UUID.
    unsafe { uuid.write(made) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlstringfromguid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlStringFromGUID(guid: *const GUID, string: *mut UNICODE_STRING) -> NTSTATUS {
    const LENGTH: u16 = 2 * 38;
    let call = Call::enter_noted("RtlStringFromGUID").at_most(0);
    call.require_room(guid.cast_mut());
    call.require_room(string);
    // SAFETY: the caller passes a GUID.
    let guid = unsafe { guid.read() };
    let node = u64::from_be_bytes(guid.Data4);
    let text = format!(
        "{{{:08x}-{:04x}-{:04x}-{:04x}-{:012x}}}",
        guid.Data1,
        guid.Data2,
        guid.Data3,
        node >> 48,
        node & 0xffff_ffff_ffff,
    );
    let block = call.allocate_pool(usize::from(LENGTH) + 2, TAG, true);
    if block.is_null() {
        return STATUS_NO_MEMORY;
    }
    let buffer = block.cast::<u16>();
    for (index, unit) in text.encode_utf16().chain([0]).enumerate() {
        // SAFETY: the block has room for the text and a zero.
        unsafe { buffer.wrapping_add(index).write(unit) };
    }
    let made = UNICODE_STRING {
        Length: LENGTH,
        MaximumLength: LENGTH + 2,
        Buffer: buffer,
    };
    // SAFETY: the caller passes memory for a string.
    unsafe { string.write(made) };
    STATUS_SUCCESS
}
