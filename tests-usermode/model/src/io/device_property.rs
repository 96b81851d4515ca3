//! The properties of a device, which is enumerated by the root of the device tree and installed.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdeviceproperty)

use std::ffi::c_void;

use nt::{
    DEVICE_OBJECT, NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};

use crate::host::Call;

const STATUS_INVALID_PARAMETER_2: NTSTATUS = 0xc000_00f0_u32.cast_signed();

/// Properties of the enumeration `DEVICE_REGISTRY_PROPERTY`.
const HARDWARE_ID: i32 = 0x1;
const PHYSICAL_DEVICE_OBJECT_NAME: i32 = 0xb;
const ENUMERATOR_NAME: i32 = 0xf;
const ADDRESS: i32 = 0x10;
const UI_NUMBER: i32 = 0x11;
const INSTALL_STATE: i32 = 0x12;
const REMOVAL_POLICY: i32 = 0x13;
const LAST: i32 = 0x16;

/// The address and the number of a device whose bus driver has not supplied one.
const NOT_SUPPLIED: u32 = u32::MAX;

/// `InstallStateInstalled` and `RemovalPolicyExpectNoRemoval`
const INSTALLED: u32 = 0;
const NO_REMOVAL: u32 = 1;

/// Returns a property, or the error for one that the device lacks or that does not exist.
fn property(pdo: *mut DEVICE_OBJECT, property: i32) -> Result<Vec<u8>, NTSTATUS> {
    let string = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    Ok(match property {
        HARDWARE_ID => string("ROOT\\DRIVER\0\0"),
        PHYSICAL_DEVICE_OBJECT_NAME => {
            string(&format!("\\Device\\{:08x}\0", pdo.addr() & 0xffff_ffff))
        }
        ENUMERATOR_NAME => string("ROOT\0"),
        ADDRESS | UI_NUMBER => NOT_SUPPLIED.to_le_bytes().into(),
        INSTALL_STATE => INSTALLED.to_le_bytes().into(),
        REMOVAL_POLICY => NO_REMOVAL.to_le_bytes().into(),
        0..=LAST => return Err(STATUS_OBJECT_NAME_NOT_FOUND),
        _ => return Err(STATUS_INVALID_PARAMETER_2),
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetDeviceProperty(
    pdo: *mut DEVICE_OBJECT,
    wanted: i32,
    length: u32,
    buffer: *mut c_void,
    result_length: *mut u32,
) -> NTSTATUS {
    let call = Call::enter("IoGetDeviceProperty").at_most(0);
    call.require_live_device(pdo);
    call.require_room(result_length);
    if !call.kernel.io().devices.is_physical(pdo) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    let value = match property(pdo, wanted) {
        Ok(value) => value,
        Err(status) => return status,
    };
    // SAFETY: the caller passes memory for the length.
    unsafe { result_length.write(u32::try_from(value.len()).unwrap_or(u32::MAX)) };
    if value.len() > length as usize {
        return STATUS_BUFFER_TOO_SMALL;
    }
    call.require_array(buffer.cast::<u8>(), length as usize);
    // SAFETY: the caller passes a buffer of this length.
    unsafe { call.fill(buffer.cast(), &value) };
    STATUS_SUCCESS
}
