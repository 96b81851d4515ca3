//! The registry: the key of the driver's service, its key `Parameters`, the keys of devices, and those that the driver creates.

mod hive;
mod keys;
mod query;
mod relative;
mod values;

pub(in crate::io) use hive::Registry;
pub(crate) use hive::SERVICE;

use std::{ffi::c_void, sync::Arc};

use hive::Hive;
use nt::{
    DEVICE_OBJECT, HANDLE, NTSTATUS, OBJECT_ATTRIBUTES, PLUGPLAY_REGKEY_CURRENT_HWPROFILE,
    PLUGPLAY_REGKEY_DEVICE, PLUGPLAY_REGKEY_DRIVER, STATUS_ACCESS_DENIED, STATUS_BUFFER_OVERFLOW,
    STATUS_BUFFER_TOO_SMALL, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    host::{Call, Kernel},
    mutex::locked,
    verifier::Rule,
};

/// The accesses to a key.
const QUERY_VALUE: u32 = 1;
const SET_VALUE: u32 = 2;
const CREATE_SUB_KEY: u32 = 4;
const ENUMERATE_SUB_KEYS: u32 = 8;
const DELETE: u32 = 0x1_0000;

/// The accesses that `GENERIC_READ`, `GENERIC_WRITE`, `GENERIC_EXECUTE`, `GENERIC_ALL` and `MAXIMUM_ALLOWED` stand for.
const GENERIC: [(u32, u32); 5] = [
    (0x8000_0000, QUERY_VALUE | ENUMERATE_SUB_KEYS),
    (0x4000_0000, SET_VALUE | CREATE_SUB_KEY),
    (0x2000_0000, QUERY_VALUE | ENUMERATE_SUB_KEYS),
    (0x1000_0000, u32::MAX),
    (0x0200_0000, u32::MAX),
];

/// What a handle of a key refers to: the key, by its path, and the access that it was opened with.
pub(crate) struct Key {
    path: String,
    access: u32,
}

impl Key {
    fn new(path: String, access: u32) -> Arc<Self> {
        let generic = GENERIC.iter().filter(|(bit, _)| access & bit != 0);
        let access = generic.fold(access, |all, (_, more)| all | more);
        Arc::new(Self { path, access })
    }
}

impl Kernel {
    /// Calls a function with the registry.
    fn with_hive<T>(&self, work: impl FnOnce(&mut Hive) -> T) -> T {
        let mut hive = locked(&self.io().registry.0);
        work(hive.get_or_insert_with(|| Hive::new(&self.config)))
    }

    /// Sets a value of a key, which is made if it does not exist: its `REG_XXX` type and its data. The key is a path that begins with
    /// `\Registry`, or one relative to the key of the driver's service, such as `Parameters`.
    pub fn set_registry_value(&self, key: &str, name: &str, kind: u32, data: &[u8]) {
        let path = hive::below(SERVICE, key);
        self.with_hive(|hive| {
            hive.add(&path);
            hive.set(&path, name, kind, data);
        });
    }

    /// Returns the `REG_XXX` type and the data of a value, for a test of what the driver has written. The key is given as in
    /// [`Kernel::set_registry_value`].
    #[must_use]
    pub fn registry_value(&self, key: &str, name: &str) -> Option<(u32, Vec<u8>)> {
        let path = hive::below(SERVICE, key);
        self.with_hive(|hive| {
            let value = hive.value(&path, name)?;
            Some((value.kind, value.data.clone()))
        })
    }
}

impl Call {
    /// Stops the system if a driver opens a handle while it serves a request of a process, and the process can use the handle.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwopenkey)
    pub(in crate::io) fn require_kernel_handle(&self, attributes: u32) {
        let serving = self.serving.get();
        let is_of_process = self.is_user() && serving.is_some_and(|serving| serving.is_of_file);
        let is_kernels = attributes & nt::OBJ_KERNEL_HANDLE != 0;
        self.require(!is_of_process || is_kernels, Rule::KernelHandle, || {
            "a handle is opened without OBJ_KERNEL_HANDLE in the context of a process, which can use the handle or close it"
        });
    }

    /// Enters a routine that uses the registry, at `PASSIVE_LEVEL`.
    fn enter_registry(routine: &'static str) -> Self {
        let call = Self::enter(routine);
        call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
        call
    }

    /// Returns the path of the key of a handle that was opened for an access.
    fn key(&self, handle: HANDLE, access: u32) -> Result<String, NTSTATUS> {
        let key = self.kernel.object_of::<Key>(handle);
        let key = key.ok_or(STATUS_INVALID_HANDLE)?;
        if key.access & access == access {
            Ok(key.path.clone())
        } else {
            Err(STATUS_ACCESS_DENIED)
        }
    }

    /// Returns the path that the attributes of an object name, and whether it is relative to a key that can get no subkeys.
    fn named(&self, attributes: *mut OBJECT_ATTRIBUTES) -> Result<(String, bool), NTSTATUS> {
        // SAFETY: the caller passes attributes.
        let attributes = unsafe { self.view::<OBJECT_ATTRIBUTES, _>(attributes) };
        self.require_kernel_handle(attributes.Attributes);
        // SAFETY: the attributes have a name.
        let name = unsafe { self.text(attributes.ObjectName) };
        let root = attributes.RootDirectory;
        if root.is_null() {
            return Ok((name, false));
        }
        let is_fixed = self.key(root, CREATE_SUB_KEY).is_err();
        let root = self.key(root, 0)?;
        let path = if name.is_empty() {
            root
        } else {
            format!(r"{root}\{name}")
        };
        Ok((path, is_fixed))
    }

    fn open_key(&self, path: String, access: u32, handle: *mut HANDLE) -> NTSTATUS {
        self.require_room(handle);
        let key = Key::new(path, access);
        // SAFETY: the caller passes memory for a handle.
        unsafe { handle.write(self.kernel.open_handle(key)) };
        STATUS_SUCCESS
    }

    /// Answers a query with information whose fixed part has a length.
    fn answer(
        &self,
        (answer, fixed): (&[u8], usize),
        (buffer, length): (*mut c_void, u32),
        result_length: *mut u32,
    ) -> NTSTATUS {
        self.require_room(result_length);
        let needed = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        // SAFETY: the caller passes memory for the length.
        unsafe { result_length.write(needed) };
        if (length as usize) < fixed {
            return STATUS_BUFFER_TOO_SMALL;
        }
        let written = answer.len().min(length as usize);
        self.require_array(buffer.cast::<u8>(), length as usize);
        // SAFETY: the caller passes a buffer of this length.
        unsafe { self.fill(buffer.cast(), &answer[..written]) };
        if written < answer.len() {
            STATUS_BUFFER_OVERFLOW
        } else {
            STATUS_SUCCESS
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwOpenKey(
    handle: *mut HANDLE,
    access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    let call = Call::enter_registry("ZwOpenKey");
    match call.named(attributes) {
        Ok((path, _)) if call.kernel.with_hive(|hive| hive.contains(&path)) => {
            call.open_key(path, access, handle)
        }
        Ok(_) => STATUS_OBJECT_NAME_NOT_FOUND,
        Err(status) => status,
    }
}

/// The new key is a subkey of one that exists, and that was opened for `KEY_CREATE_SUB_KEY` if it is named by a handle.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwcreatekey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwCreateKey(
    handle: *mut HANDLE,
    access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
    _title: u32,
    _class: *mut UNICODE_STRING,
    _options: u32,
    disposition: *mut u32,
) -> NTSTATUS {
    const REG_CREATED_NEW_KEY: u32 = 1;
    const REG_OPENED_EXISTING_KEY: u32 = 2;
    let call = Call::enter_registry("ZwCreateKey");
    let (path, is_fixed) = match call.named(attributes) {
        Ok(named) => named,
        Err(status) => return status,
    };
    let exists = call.kernel.with_hive(|hive| hive.contains(&path));
    if !exists {
        if is_fixed {
            return STATUS_ACCESS_DENIED;
        }
        if call.kernel.fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let created = call.kernel.with_hive(|hive| hive.create(&path));
        if !created {
            return STATUS_OBJECT_NAME_NOT_FOUND;
        }
    }
    if !disposition.is_null() {
        call.require_room(disposition);
        let done = if exists {
            REG_OPENED_EXISTING_KEY
        } else {
            REG_CREATED_NEW_KEY
        };
        // SAFETY: the caller passes memory for the answer, or NULL.
        unsafe { disposition.write(done) };
    }
    call.open_key(path, access, handle)
}

/// Every device has both keys.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceregistrykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoOpenDeviceRegistryKey(
    pdo: *mut DEVICE_OBJECT,
    kind: u32,
    access: u32,
    handle: *mut HANDLE,
) -> NTSTATUS {
    let call = Call::enter_registry("IoOpenDeviceRegistryKey");
    call.require_live_device(pdo);
    let is_physical = call.kernel.io().devices.is_physical(pdo);
    let config = &call.kernel.config;
    let (path, values) = match kind & !PLUGPLAY_REGKEY_CURRENT_HWPROFILE {
        PLUGPLAY_REGKEY_DEVICE if is_physical => (hive::hardware(pdo.addr()), &config.hardware_key),
        PLUGPLAY_REGKEY_DRIVER if is_physical => (hive::software(pdo.addr()), &config.software_key),
        _ => return STATUS_INVALID_PARAMETER,
    };
    call.kernel.with_hive(|hive| hive.add_with(&path, values));
    call.open_key(path, access, handle)
}

/// The key of a device interface is made when it is opened.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioopendeviceinterfaceregistrykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoOpenDeviceInterfaceRegistryKey(
    name: *mut UNICODE_STRING,
    access: u32,
    handle: *mut HANDLE,
) -> NTSTATUS {
    let call = Call::enter_registry("IoOpenDeviceInterfaceRegistryKey");
    // SAFETY: the caller passes a name.
    let name = unsafe { call.units(name) };
    if !call.kernel.io().interfaces.contains(name) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    let path = hive::interface(&String::from_utf16_lossy(name));
    call.kernel.with_hive(|hive| hive.add(&path));
    call.open_key(path, access, handle)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlFreeUnicodeString(string: *mut UNICODE_STRING) {
    let call = Call::enter("RtlFreeUnicodeString");
    call.require_at_most(1, Rule::Irql, 0xe5);
    call.require_room(string);
    // SAFETY: the caller passes a string.
    let buffer = unsafe { std::mem::take(&mut (*string).Buffer) };
    if !buffer.is_null() {
        call.free_pool(buffer.cast(), 0);
    }
}
