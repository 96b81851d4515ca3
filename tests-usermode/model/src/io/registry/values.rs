//! The values of a key: `ZwQueryValueKey`, `ZwEnumerateValueKey`, `ZwSetValueKey` and `ZwDeleteValueKey`.

use std::ffi::c_void;

use nt::{
    HANDLE, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_NO_MORE_ENTRIES, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};

use super::{QUERY_VALUE, SET_VALUE, hive::Value};
use crate::host::Call;

/// `STATUS_KEY_DELETED`
pub(super) const KEY_DELETED: NTSTATUS = 0xc000_017c_u32.cast_signed();

impl Call {
    /// Answers with information of a value.
    fn answer_value(
        &self,
        value: &Value,
        class: i32,
        buffer: (*mut c_void, u32),
        result_length: *mut u32,
    ) -> NTSTATUS {
        match information(class, value) {
            Some((answer, fixed)) => self.answer((&answer, fixed), buffer, result_length),
            None => STATUS_INVALID_PARAMETER,
        }
    }

    /// Returns the name of a value, which is empty if the pointer is NULL.
    ///
    /// # Safety
    /// The pointer is NULL or that of a valid string.
    unsafe fn name_of_value(&self, name: *const UNICODE_STRING) -> String {
        if name.is_null() {
            return String::new();
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.text(name) }
    }
}

/// Returns the information about a value of a `KEY_VALUE_INFORMATION_CLASS`, and the length of its fixed part; `None` if there is no
/// such class.
fn information(class: i32, value: &Value) -> Option<(Vec<u8>, usize)> {
    const BASIC: i32 = 0;
    const FULL: i32 = 1;
    const PARTIAL: i32 = 2;
    let name: Vec<u8> = value
        .name
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let length = u32::try_from(value.data.len()).unwrap_or(u32::MAX);
    // The data of the full information follow the name, aligned.
    let data = (20 + name_length).next_multiple_of(4);
    let fixed: &[u32] = match class {
        BASIC => &[0, value.kind, name_length],
        FULL => &[0, value.kind, data, length, name_length],
        PARTIAL => &[0, value.kind, length],
        _ => return None,
    };
    let mut answer: Vec<u8> = fixed.iter().flat_map(|word| word.to_le_bytes()).collect();
    let fixed = answer.len();
    if class != PARTIAL {
        answer.extend_from_slice(&name);
    }
    if class != BASIC {
        answer.resize(answer.len().next_multiple_of(4), 0);
        answer.extend_from_slice(&value.data);
    }
    Some((answer, fixed))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwqueryvaluekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwQueryValueKey(
    handle: HANDLE,
    name: *mut UNICODE_STRING,
    class: i32,
    information: *mut c_void,
    length: u32,
    result_length: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_registry("ZwQueryValueKey");
    let path = match call.key(handle, QUERY_VALUE) {
        Ok(path) => path,
        Err(status) => return status,
    };
    // SAFETY: the caller passes a name.
    let name = unsafe { call.name_of_value(name) };
    let value = call
        .kernel
        .with_hive(|hive| hive.value(&path, &name).cloned());
    let Some(mut value) = value else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    value.name = name;
    call.answer_value(&value, class, (information, length), result_length)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwenumeratevaluekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwEnumerateValueKey(
    handle: HANDLE,
    index: u32,
    class: i32,
    information: *mut c_void,
    length: u32,
    result_length: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_registry("ZwEnumerateValueKey");
    let path = match call.key(handle, QUERY_VALUE) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let value = call.kernel.with_hive(|hive| {
        let values = &hive.node(&path)?.values;
        values.get(index as usize).cloned()
    });
    match value {
        Some(value) => call.answer_value(&value, class, (information, length), result_length),
        None => STATUS_NO_MORE_ENTRIES,
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwsetvaluekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwSetValueKey(
    handle: HANDLE,
    name: *mut UNICODE_STRING,
    _title: u32,
    kind: u32,
    data: *mut c_void,
    size: u32,
) -> NTSTATUS {
    let call = Call::enter_registry("ZwSetValueKey");
    let path = match call.key(handle, SET_VALUE) {
        Ok(path) => path,
        Err(status) => return status,
    };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passes a name, or NULL.
    let name = unsafe { call.name_of_value(name) };
    // SAFETY: the caller passes data of this size.
    let data = unsafe { call.elements(data.cast(), size as usize) };
    let is_set = call
        .kernel
        .with_hive(|hive| hive.set(&path, &name, kind, data));
    if is_set { STATUS_SUCCESS } else { KEY_DELETED }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-zwdeletevaluekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwDeleteValueKey(handle: HANDLE, name: *mut UNICODE_STRING) -> NTSTATUS {
    let call = Call::enter_registry("ZwDeleteValueKey");
    let path = match call.key(handle, SET_VALUE) {
        Ok(path) => path,
        Err(status) => return status,
    };
    // SAFETY: the caller passes a name.
    let name = unsafe { call.name_of_value(name) };
    let is_removed = call.kernel.with_hive(|hive| hive.remove(&path, &name));
    if is_removed {
        STATUS_SUCCESS
    } else {
        STATUS_OBJECT_NAME_NOT_FOUND
    }
}
