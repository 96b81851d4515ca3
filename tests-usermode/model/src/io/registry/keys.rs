//! Information about a key: `ZwQueryKey`, `ZwEnumerateKey`, and its deletion.

use std::ffi::c_void;

use nt::{
    HANDLE, NTSTATUS, STATUS_CANNOT_DELETE, STATUS_INVALID_PARAMETER, STATUS_NO_MORE_ENTRIES,
    STATUS_SUCCESS,
};

use super::{DELETE, ENUMERATE_SUB_KEYS, QUERY_VALUE, hive::Hive, values::KEY_DELETED};
use crate::host::Call;

/// The `KEY_INFORMATION_CLASS`es. The last one is for `ZwQueryKey` only.
const BASIC: i32 = 0;
const NODE: i32 = 1;
const FULL: i32 = 2;
const NAME: i32 = 3;

/// The offset of the class of a key that has none.
const NO_CLASS: u32 = u32::MAX;

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Hive {
    /// Returns the information about a key of a class, and the length of its fixed part; `None` if there is no such class.
    fn information(&self, path: &str, class: i32) -> Option<(Vec<u8>, usize)> {
        let node = self.node(path)?;
        let name = utf_16(&node.name);
        // The time of the last write, which is zero, and the title index.
        let start = [0; 3];
        let (fixed, rest): (Vec<u32>, _) = match class {
            BASIC => ([&start[..], &[length(name.len())]].concat(), name),
            NODE => {
                let fields = [NO_CLASS, 0, length(name.len())];
                ([&start[..], &fields].concat(), name)
            }
            FULL => {
                let subkeys = self.subkeys(path);
                let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
                let in_units = |text: &String| 2 * text.encode_utf16().count();
                let values = &node.values;
                let fields = [
                    NO_CLASS,
                    0,
                    length(subkeys.len()),
                    length(longest(&mut subkeys.iter().map(in_units))),
                    0,
                    length(values.len()),
                    length(longest(
                        &mut values.iter().map(|value| in_units(&value.name)),
                    )),
                    length(longest(&mut values.iter().map(|value| value.data.len()))),
                ];
                ([&start[..], &fields].concat(), Vec::new())
            }
            NAME => {
                let name = utf_16(path);
                (vec![length(name.len())], name)
            }
            _ => return None,
        };
        let mut answer: Vec<u8> = fixed.iter().flat_map(|word| word.to_le_bytes()).collect();
        let fixed = answer.len();
        answer.extend_from_slice(&rest);
        Some((answer, fixed))
    }
}

impl Call {
    fn answer_key(
        &self,
        path: &str,
        class: i32,
        buffer: (*mut c_void, u32),
        result_length: *mut u32,
    ) -> NTSTATUS {
        let found = self.kernel.with_hive(|hive| {
            let exists = hive.contains(path);
            (exists, hive.information(path, class))
        });
        match found {
            (_, Some((answer, fixed))) => self.answer((&answer, fixed), buffer, result_length),
            (false, None) => KEY_DELETED,
            (true, None) => STATUS_INVALID_PARAMETER,
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwquerykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwQueryKey(
    handle: HANDLE,
    class: i32,
    information: *mut c_void,
    length: u32,
    result_length: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_registry("ZwQueryKey");
    let access = if class == NAME { 0 } else { QUERY_VALUE };
    match call.key(handle, access) {
        Ok(path) => call.answer_key(&path, class, (information, length), result_length),
        Err(status) => status,
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwenumeratekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwEnumerateKey(
    handle: HANDLE,
    index: u32,
    class: i32,
    information: *mut c_void,
    length: u32,
    result_length: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_registry("ZwEnumerateKey");
    let path = match call.key(handle, ENUMERATE_SUB_KEYS) {
        Ok(path) => path,
        Err(status) => return status,
    };
    if ![BASIC, NODE, FULL].contains(&class) {
        return STATUS_INVALID_PARAMETER;
    }
    let subkeys = call.kernel.with_hive(|hive| hive.subkeys(&path));
    match subkeys.get(index as usize) {
        Some(name) => {
            let path = format!(r"{path}\{name}");
            call.answer_key(&path, class, (information, length), result_length)
        }
        None => STATUS_NO_MORE_ENTRIES,
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwdeletekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwDeleteKey(handle: HANDLE) -> NTSTATUS {
    let call = Call::enter_registry("ZwDeleteKey");
    match call.key(handle, DELETE) {
        Ok(path) if call.kernel.with_hive(|hive| hive.delete(&path)) => STATUS_SUCCESS,
        Ok(_) => STATUS_CANNOT_DELETE,
        Err(status) => status,
    }
}

/// The model's registry is in memory only.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwflushkey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwFlushKey(handle: HANDLE) -> NTSTATUS {
    let call = Call::enter_registry("ZwFlushKey");
    call.key(handle, 0).err().unwrap_or(STATUS_SUCCESS)
}
