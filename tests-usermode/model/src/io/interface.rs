//! Device interfaces, by which user mode finds the devices that the PnP manager knows.

use std::{slice::from_raw_parts_mut, sync::Mutex};

use nt::{
    DEVICE_OBJECT, GUID, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};
use rustc_hash::FxHashMap;

use crate::{host::Call, io::bus, mutex::locked, verifier::Rule};

const STATUS_OBJECT_NAME_EXISTS: i32 = 0x4000_0000;

/// The tag of a device interface's name.
const INTERFACE_TAG: u32 = u32::from_le_bytes(*b"PnpI");

/// The interfaces, by their names in UTF-16.
#[derive(Default)]
pub(crate) struct Interfaces(Mutex<FxHashMap<Vec<u16>, Interface>>);

struct Interface {
    pdo: usize,
    class: GUID,
    is_enabled: bool,
    /// Whether it was disabled during a surprise removal.
    ended_by_surprise: bool,
}

impl Interfaces {
    /// Whether there is an interface of this name.
    pub(crate) fn contains(&self, name: &[u16]) -> bool {
        locked(&self.0).contains_key(name)
    }

    /// Whether an interface of a physical device is enabled.
    pub(crate) fn is_enabled(&self, pdo: *mut DEVICE_OBJECT) -> bool {
        let interfaces = locked(&self.0);
        interfaces
            .values()
            .any(|interface| interface.pdo == pdo.addr() && interface.is_enabled)
    }

    /// Disables the interfaces of a physical device that is removed; returns them.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/install/enabling-and-disabling-a-device-interface-instance)
    pub(crate) fn disable_all(&self, pdo: *mut DEVICE_OBJECT) -> Vec<InterfaceChange> {
        let mut interfaces = locked(&self.0);
        let of_device = interfaces
            .iter_mut()
            .filter(|(_, interface)| interface.pdo == pdo.addr() && interface.is_enabled);
        let disable = |(name, interface): (&Vec<u16>, &mut Interface)| {
            interface.is_enabled = false;
            InterfaceChange::of(name, interface)
        };
        of_device.map(disable).collect()
    }

    /// Returns the interfaces that are enabled.
    pub(in crate::io) fn enabled(&self) -> Vec<InterfaceChange> {
        let interfaces = locked(&self.0);
        let enabled = interfaces.iter().filter(|(_, one)| one.is_enabled);
        enabled
            .map(|(name, interface)| InterfaceChange::of(name, interface))
            .collect()
    }
}

/// A device interface that was enabled or disabled.
pub(crate) struct InterfaceChange {
    pub(in crate::io) class: GUID,
    pub(in crate::io) name: Vec<u16>,
    pub(in crate::io) is_enabled: bool,
}

impl InterfaceChange {
    fn of(name: &[u16], interface: &Interface) -> Self {
        Self {
            class: interface.class,
            name: name.to_vec(),
            is_enabled: interface.is_enabled,
        }
    }
}

/// Returns whether two classes are the same.
pub(in crate::io) fn is_same(one: &GUID, other: &GUID) -> bool {
    let parts = |guid: &GUID| (guid.Data1, guid.Data2, guid.Data3, guid.Data4);
    parts(one) == parts(other)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdeviceinterfaces)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetDeviceInterfaces(
    class: *const GUID,
    pdo: *mut DEVICE_OBJECT,
    flags: u32,
    list: *mut *mut u16,
) -> NTSTATUS {
    const DEVICE_INTERFACE_INCLUDE_NONACTIVE: u32 = 1;
    let call = Call::enter("IoGetDeviceInterfaces");
    call.require_at_most(0, Rule::IrqlIoPassive3, 0x2_000c);
    call.require_room(class.cast_mut());
    call.require_room(list);
    if !pdo.is_null() && !call.kernel.io().devices.is_physical(pdo) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    // SAFETY: the caller gives a class.
    let class = unsafe { class.read() };
    let includes_all = flags & DEVICE_INTERFACE_INCLUDE_NONACTIVE != 0;
    let mut names: Vec<Vec<u16>> = {
        let interfaces = locked(&call.kernel.io().interfaces.0);
        let wanted = interfaces.iter().filter(|(_, interface)| {
            let is_of_device = pdo.is_null() || interface.pdo == pdo.addr();
            let is_shown = includes_all || interface.is_enabled;
            is_same(&interface.class, &class) && is_of_device && is_shown
        });
        wanted.map(|(name, _)| name.clone()).collect()
    };
    names.sort();
    let mut units: Vec<u16> = names
        .iter()
        .flat_map(|name| [name, &[0][..]].concat())
        .collect();
    units.push(0);
    let block = call
        .allocate_pool(2 * units.len(), INTERFACE_TAG, true)
        .cast::<u16>();
    if block.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the block has this length.
    unsafe { block.copy_from_nonoverlapping(units.as_ptr(), units.len()) };
    // SAFETY: the caller passes memory for the address.
    unsafe { list.write(block) };
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterDeviceInterface(
    pdo: *mut DEVICE_OBJECT,
    class: *const GUID,
    reference: *mut UNICODE_STRING,
    name: *mut UNICODE_STRING,
) -> NTSTATUS {
    let call = Call::enter("IoRegisterDeviceInterface");
    call.require_at_most(0, Rule::IrqlIoPassive3, 0x2_000c);
    call.require_live_device(pdo);
    call.require_room(class.cast_mut());
    call.require_room(name);
    if !call.kernel.io().devices.is_physical(pdo) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    // SAFETY: the caller gives a class.
    let class = unsafe { class.read() };
    let node = u64::from_be_bytes(class.Data4);
    let text = format!(
        r"\??\ROOT#DRIVER#{:x}#{{{:08x}-{:04x}-{:04x}-{node:016x}}}",
        pdo.addr(),
        class.Data1,
        class.Data2,
        class.Data3,
    );
    let mut units: Vec<u16> = text.encode_utf16().collect();
    if !reference.is_null() {
        units.push(u16::from(b'\\'));
        // SAFETY: the caller gives a string.
        units.extend_from_slice(unsafe { call.units(reference) });
    }
    let terminated = [&units[..], &[0]].concat();
    let buffer = call
        .allocate_pool(2 * terminated.len(), INTERFACE_TAG, true)
        .cast::<u16>();
    if buffer.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the block has this length.
    unsafe { buffer.copy_from_nonoverlapping(terminated.as_ptr(), terminated.len()) };
    // SAFETY: the block stays until the caller frees it.
    let made = bus::string_of(unsafe { from_raw_parts_mut(buffer, terminated.len()) });
    // SAFETY: the caller passes memory for a string.
    unsafe { name.write(made) };
    let mut interfaces = locked(&call.kernel.io().interfaces.0);
    if interfaces.contains_key(&units) {
        return STATUS_OBJECT_NAME_EXISTS;
    }
    let interface = Interface {
        pdo: pdo.addr(),
        class,
        is_enabled: false,
        ended_by_surprise: false,
    };
    interfaces.insert(units, interface);
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoSetDeviceInterfaceState(name: *mut UNICODE_STRING, enable: u8) -> NTSTATUS {
    let call = Call::enter_shared("IoSetDeviceInterfaceState");
    call.require_at_most(0, Rule::IrqlIoPassive1, 0x2_000a);
    // SAFETY: the caller gives a name that IoRegisterDeviceInterface made.
    let name = unsafe { call.units(name) };
    if enable != 0 && call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut interfaces = locked(&call.kernel.io().interfaces.0);
    let Some(interface) = interfaces.get_mut(name) else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    let enable = enable != 0;
    match (interface.is_enabled, enable) {
        (true, true) => STATUS_OBJECT_NAME_EXISTS,
        (false, false) => {
            let is_again = interface.ended_by_surprise && call.is_removing(interface.pdo);
            drop(interfaces);
            call.require(!is_again, Rule::InterfaceDisabledAgain, || {
                let name = String::from_utf16_lossy(name);
                format!(
                    "the interface {name} was disabled during IRP_MN_SURPRISE_REMOVAL, and is disabled again during \
                     IRP_MN_REMOVE_DEVICE, when it can be that of a device that is inserted again"
                )
            });
            STATUS_OBJECT_NAME_NOT_FOUND
        }
        _ => {
            interface.is_enabled = enable;
            let change = InterfaceChange::of(name, interface);
            interface.ended_by_surprise = !enable && call.is_surprise_removing(interface.pdo);
            drop(interfaces);
            call.kernel.tell_of_interfaces(vec![change]);
            call.switch_after(call.routine(), name.as_ptr());
            STATUS_SUCCESS
        }
    }
}
