//! The registry: the key of the driver's service, its key `Parameters`, the keys of devices, and the values in them.

use std::{ffi::c_void, sync::Arc};

use nt::{
    DEVICE_OBJECT, HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, PLUGPLAY_REGKEY_CURRENT_HWPROFILE,
    PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER, REG_DWORD, STATUS_BUFFER_OVERFLOW,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    host::{Call, Config},
    verifier::{BugCheck, Rule},
};

const STATUS_OBJECT_NAME_NOT_FOUND: NTSTATUS = 0xc000_0034_u32.cast_signed();
const STATUS_BUFFER_TOO_SMALL: NTSTATUS = 0xc000_0023_u32.cast_signed();
const STATUS_INVALID_HANDLE: NTSTATUS = 0xc000_0008_u32.cast_signed();

/// The path of the key of a driver's service.
pub(crate) const SERVICE: &str = r"\Registry\Machine\System\CurrentControlSet\Services\driver";

/// A key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Service,
    Parameters,
    Hardware,
    Software,
}

impl Key {
    /// Returns the values in the key.
    fn values(self, config: &Config) -> &[(String, u32)] {
        match self {
            Self::Service => &[],
            Self::Parameters => &config.parameters,
            Self::Hardware => &config.hardware_key,
            Self::Software => &config.software_key,
        }
    }
}

/// Returns the text of a string.
///
/// # Safety
/// `string` and its buffer are valid.
pub(crate) unsafe fn text(string: *const UNICODE_STRING) -> String {
    // SAFETY: guaranteed by the caller.
    String::from_utf16_lossy(unsafe { units(string) })
}

/// Returns the UTF-16 units of a string.
///
/// # Safety
/// As for [`text`], as long as the units are used.
pub(crate) unsafe fn units<'a>(string: *const UNICODE_STRING) -> &'a [u16] {
    // SAFETY: guaranteed by the caller.
    let string = unsafe { &*string };
    if string.Buffer.is_null() {
        return &[];
    }
    let length = usize::from(string.Length / 2);
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(string.Buffer, length) }
}

impl Call {
    /// Stops the system if a driver opens a handle while it serves a request of a process, and the process can use the handle.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwopenkey)
    pub(in crate::io) fn require_kernel_handle(&self, attributes: u32) {
        let serving = self.serving.get();
        let is_of_process = self.is_user() && serving.is_some_and(|serving| serving.is_of_file);
        let is_kernels = attributes & nt::OBJ_KERNEL_HANDLE != 0;
        self.require(!is_of_process || is_kernels, Rule::KernelHandle, || {
            let what = "a handle is opened without OBJ_KERNEL_HANDLE in the context of a process, which can use the handle or close it";
            (BugCheck(0, [0; 4]), what.into())
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwOpenKey(
    handle: *mut HANDLE,
    _access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    let call = Call::enter("ZwOpenKey");
    call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
    // SAFETY: the caller passes attributes.
    let attributes = unsafe { call.view::<OBJECT_ATTRIBUTES, _>(attributes) };
    call.require_kernel_handle(attributes.Attributes);
    // SAFETY: the attributes have a name.
    let name = unsafe { text(attributes.ObjectName) };
    let root = attributes.RootDirectory;
    let below_service = if root.is_null() {
        let start = name.get(..SERVICE.len());
        let is_service = start.is_some_and(|start| start.eq_ignore_ascii_case(SERVICE));
        is_service.then(|| name.split_at(SERVICE.len()).1)
    } else {
        let is_service = call.kernel.object_of(root).as_deref() == Some(&Key::Service);
        is_service.then_some(&*name)
    };
    let has_parameters = !call.kernel.config.parameters.is_empty();
    let key = below_service.and_then(|below| match (below, root.is_null()) {
        ("", true) => Some(Key::Service),
        (below, is_whole) => {
            let below = if is_whole {
                below.strip_prefix('\\')?
            } else {
                below
            };
            let found = has_parameters && below.eq_ignore_ascii_case("Parameters");
            found.then_some(Key::Parameters)
        }
    });
    let Some(key) = key else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    call.require_room(handle);
    // SAFETY: the caller passes room for a handle.
    unsafe { handle.write(call.kernel.open_handle(Arc::new(key))) };
    STATUS_SUCCESS
}

/// Every device has both keys.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoOpenDeviceRegistryKey(
    pdo: *mut DEVICE_OBJECT,
    kind: u32,
    _access: u32,
    handle: *mut HANDLE,
) -> NTSTATUS {
    let call = Call::enter("IoOpenDeviceRegistryKey");
    call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
    call.require_live_device(pdo);
    let is_physical = call.kernel.io().devices.pdo_of(pdo.addr()) == Some(pdo.addr());
    let key = match kind & !PLUGPLAY_REGKEY_CURRENT_HWPROFILE {
        PLUGPLAY_REGKEY_DEVICE if is_physical => Key::Hardware,
        PLUGPLAY_REGKEY_DRIVER if is_physical => Key::Software,
        _ => return STATUS_INVALID_PARAMETER,
    };
    call.require_room(handle);
    // SAFETY: the caller passes room for a handle.
    unsafe { handle.write(call.kernel.open_handle(Arc::new(key))) };
    STATUS_SUCCESS
}

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
    let call = Call::enter("ZwQueryValueKey");
    call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
    let Some(key) = call.kernel.object_of::<Key>(handle) else {
        return STATUS_INVALID_HANDLE;
    };
    // SAFETY: the caller passes a name.
    let name = unsafe { text(name) };
    let mut values = key.values(&call.kernel.config).iter();
    let Some((_, value)) = values.find(|(other, _)| other.eq_ignore_ascii_case(&name)) else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    let Some((answer, fixed)) = value_information(class, &name, *value) else {
        return STATUS_INVALID_PARAMETER;
    };
    call.require_room(result_length);
    let needed = u32::try_from(answer.len()).unwrap_or(u32::MAX);
    // SAFETY: the caller passes room for the length.
    unsafe { result_length.write(needed) };
    if (length as usize) < fixed {
        return STATUS_BUFFER_TOO_SMALL;
    }
    let written = answer.len().min(length as usize);
    // SAFETY: the caller passes a buffer of this length.
    unsafe {
        information.cast::<u8>().copy_from(answer.as_ptr(), written);
    }
    if written < answer.len() {
        STATUS_BUFFER_OVERFLOW
    } else {
        STATUS_SUCCESS
    }
}

/// Returns what is known of a value by a `KEY_VALUE_INFORMATION_CLASS`, and the length of its fixed part; `None` if there is no
/// such class.
fn value_information(class: i32, name: &str, value: u32) -> Option<(Vec<u8>, usize)> {
    const BASIC: i32 = 0;
    const FULL: i32 = 1;
    const PARTIAL: i32 = 2;
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    // The data of the full information follow the name, aligned.
    let data = (20 + name_length).next_multiple_of(4);
    let fixed: &[u32] = match class {
        BASIC => &[0, REG_DWORD, name_length],
        FULL => &[0, REG_DWORD, data, 4, name_length],
        PARTIAL => &[0, REG_DWORD, 4],
        _ => return None,
    };
    let mut answer: Vec<u8> = fixed.iter().flat_map(|word| word.to_le_bytes()).collect();
    let fixed = answer.len();
    if class != PARTIAL {
        answer.extend_from_slice(&name);
    }
    if class != BASIC {
        answer.resize(answer.len().next_multiple_of(4), 0);
        answer.extend_from_slice(&value.to_le_bytes());
    }
    Some((answer, fixed))
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFreeUnicodeString(string: *mut UNICODE_STRING) {
    let call = Call::enter("RtlFreeUnicodeString");
    call.require_at_most(1, Rule::Irql, 0xe5);
    // SAFETY: the caller passes a string.
    let buffer = unsafe { std::mem::take(&mut (*string).Buffer) };
    if !buffer.is_null() {
        call.free_pool(buffer.cast(), 0);
    }
}
