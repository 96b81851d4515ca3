//! Security descriptors of device objects, and who may open one.
//!
//! The model uses only the DACL of a descriptor. The layout of a self-relative one is in
//! [MS-DTYP](https://learn.microsoft.com/openspecs/windows_protocols/ms-dtyp/7d4dac05-9cef-4563-a058-f108abecce1d).

use std::{ffi::c_void, ptr::without_provenance, sync::Arc};

use nt::{
    DACL_SECURITY_INFORMATION, FILE_ALL_ACCESS, FILE_GENERIC_EXECUTE, FILE_GENERIC_READ,
    FILE_GENERIC_WRITE, HANDLE, NTSTATUS, SE_DACL_PRESENT, SE_SELF_RELATIVE, STATUS_ACCESS_DENIED,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_INVALID_SECURITY_DESCR, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS, WRITE_DAC,
};

use crate::{ex::object_types, host::Call, verifier::Rule};

/// The user that opens a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The system account, which services run under.
    System,
    /// An administrator.
    Administrator,
    /// A user who is not an administrator.
    Ordinary,
}

/// S-1-1-0, everyone; S-1-5-11, authenticated users; S-1-5-4, interactive users; S-1-5-32-545, users; S-1-5-18, the system;
/// S-1-5-32-544, the administrators.
const WORLD: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
const AUTHENTICATED: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 11, 0, 0, 0];
const INTERACTIVE: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 4, 0, 0, 0];
const USERS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x21, 2, 0, 0];
const SYSTEM: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
const ADMINISTRATORS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];

impl User {
    /// Returns whether a SID is in the user's token.
    fn is(self, sid: &[u8]) -> bool {
        let groups: &[&[u8]] = match self {
            Self::System => &[SYSTEM, ADMINISTRATORS, AUTHENTICATED, WORLD],
            Self::Administrator => &[ADMINISTRATORS, USERS, INTERACTIVE, AUTHENTICATED, WORLD],
            Self::Ordinary => &[USERS, INTERACTIVE, AUTHENTICATED, WORLD],
        };
        groups.contains(&sid)
    }
}

/// The offset of the DACL's offset in a self-relative descriptor, and of its address in an absolute one on 64-bit Windows.
const RELATIVE_DACL: usize = 16;
const ABSOLUTE_DACL: usize = 32;

/// An entry of a DACL.
#[derive(Clone, Debug)]
struct Entry {
    allows: bool,
    mask: u32,
    sid: Vec<u8>,
}

/// A DACL.
#[derive(Clone, Debug)]
pub(crate) struct Dacl(Vec<Entry>);

impl Default for Dacl {
    /// Returns the DACL that [most device
    /// objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/controlling-device-access) get: all access for
    /// administrators, and read, write and execute access for everyone else.
    fn default() -> Self {
        let entry = |sid: &[u8], mask| Entry {
            allows: true,
            mask,
            sid: sid.into(),
        };
        let everyone = FILE_GENERIC_READ | FILE_GENERIC_WRITE | FILE_GENERIC_EXECUTE;
        Self(vec![
            entry(SYSTEM, FILE_ALL_ACCESS),
            entry(ADMINISTRATORS, FILE_ALL_ACCESS),
            entry(WORLD, everyone),
        ])
    }
}

impl Dacl {
    /// Returns whether a user gets an access.
    pub(crate) fn allows(&self, user: User, access: u32) -> bool {
        let mut missing = access;
        for entry in self.0.iter().filter(|entry| user.is(&entry.sid)) {
            if entry.allows {
                missing &= !entry.mask;
            } else if missing & entry.mask != 0 {
                return false;
            }
        }
        missing == 0
    }

    /// Reads the DACL of a security descriptor, which is self-relative or absolute. Returns `None` if it has none or is invalid.
    ///
    /// # Safety
    /// `descriptor` is valid for its whole length.
    unsafe fn read(call: &Call, descriptor: *mut u8) -> Option<Self> {
        // SAFETY: guaranteed by the caller.
        let [revision, _, control @ ..] = *unsafe { call.view_new::<[u8; 4], _>(descriptor) };
        let control = u16::from_le_bytes(control);
        if revision != 1 || control & SE_DACL_PRESENT == 0 {
            return None;
        }
        if control & SE_SELF_RELATIVE == 0 {
            let place = descriptor.wrapping_add(ABSOLUTE_DACL);
            // SAFETY: as above. An absolute descriptor has the address of the DACL there.
            let address = u64::from_le_bytes(*unsafe { call.view_new::<[u8; 8], _>(place) });
            let address = usize::try_from(address).ok()?;
            let list = std::ptr::with_exposed_provenance_mut::<u8>(address);
            if list.is_null() {
                return Some(Self::of_everyone());
            }
            // SAFETY: as above.
            return unsafe { Self::read_list(call, list) };
        }
        let place = descriptor.wrapping_add(RELATIVE_DACL);
        // SAFETY: as above. A self-relative descriptor has the offset of the DACL there.
        let offset = u32::from_le_bytes(*unsafe { call.view_new::<[u8; 4], _>(place) });
        let list = descriptor.wrapping_add(usize::try_from(offset).ok()?);
        // SAFETY: as above.
        (offset != 0).then(|| unsafe { Self::read_list(call, list) })?
    }

    /// The DACL of a descriptor with a NULL DACL, which grants all access to everyone.
    fn of_everyone() -> Self {
        Self(vec![Entry {
            allows: true,
            mask: u32::MAX,
            sid: WORLD.into(),
        }])
    }

    /// Reads an access control list. Returns `None` if it is invalid.
    ///
    /// # Safety
    /// `list` is valid for its whole length.
    unsafe fn read_list(call: &Call, list: *mut u8) -> Option<Self> {
        let byte = |offset: usize| {
            let byte = list.wrapping_add(offset);
            // SAFETY: guaranteed by the caller.
            *unsafe { call.view_new::<u8, _>(byte) }
        };
        let bytes =
            |start: usize, count: usize| -> Vec<u8> { (start..start + count).map(byte).collect() };
        let word = |offset| u16::from_le_bytes([byte(offset), byte(offset + 1)]);
        let long = |offset| u32::from_le_bytes([0, 1, 2, 3].map(|index| byte(offset + index)));
        let end = usize::from(word(2));
        let mut entries = Vec::new();
        let mut at = 8;
        for _ in 0..word(4) {
            let size = usize::from(word(at + 2));
            if size < 16 || !size.is_multiple_of(4) || at + size > end {
                return None;
            }
            let length = 8 + 4 * usize::from(byte(at + 9));
            let fits = 8 + length <= size && byte(at + 8) == 1;
            let kind = byte(at);
            if !fits || kind > 1 {
                return None;
            }
            entries.push(Entry {
                allows: kind == 0,
                mask: specific(long(at + 4)),
                sid: bytes(at + 8, length),
            });
            at += size;
        }
        (byte(0) == 2 || byte(0) == 4).then_some(Self(entries))
    }
}

/// The groups of [SDDL for device objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/sddl-for-device-objects). No user
/// of the model is in one whose SID is empty here.
const GROUPS: [(&str, &[u8]); 14] = [
    ("SY", SYSTEM),
    ("LS", &[]),
    ("NS", &[]),
    ("BA", ADMINISTRATORS),
    ("BU", USERS),
    ("BG", &[]),
    ("AU", AUTHENTICATED),
    ("AN", &[]),
    ("IU", INTERACTIVE),
    ("NU", &[]),
    ("SU", &[]),
    ("WD", WORLD),
    ("UD", &[]),
    ("RC", &[]),
];

/// The rights of the same page.
const RIGHTS: [(&str, u32); 8] = [
    ("GA", 1 << 28),
    ("GX", 1 << 29),
    ("GW", 1 << 30),
    ("GR", 1 << 31),
    ("RC", 0x2_0000),
    ("SD", 0x1_0000),
    ("WD", WRITE_DAC),
    ("WO", 0x8_0000),
];

/// Returns the access mask of text such as `GRGW` or `0x120089`.
fn mask(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    let mut mask = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let code = rest.get(..2)?;
        mask |= RIGHTS.iter().find(|(name, _)| *name == code)?.1;
        rest = &rest[2..];
    }
    Some(mask)
}

/// Returns the entry of text such as `A;;GA;;;SY`.
fn entry(text: &str) -> Option<Entry> {
    let fields: Vec<&str> = text.split(';').collect();
    let ["A", "", rights, "", "", group] = fields[..] else {
        return None;
    };
    let (_, sid) = GROUPS.iter().find(|(name, _)| *name == group)?;
    Some(Entry {
        allows: true,
        mask: specific(mask(rights)?),
        sid: sid.to_vec(),
    })
}

impl Dacl {
    /// Reads the DACL in the form of SDDL that `IoCreateDeviceSecure` accepts, such as `D:P(A;;GA;;;SY)`.
    pub(in crate::io) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix("D:P")?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (first, after) = rest.strip_prefix('(')?.split_once(')')?;
            entries.push(entry(first)?);
            rest = after;
        }
        Some(Self(entries))
    }
}

/// Returns the rights to a device object that a mask grants. The mask can contain generic rights.
pub(in crate::io) fn specific(mask: u32) -> u32 {
    let generic = [
        (1 << 31, FILE_GENERIC_READ),
        (1 << 30, FILE_GENERIC_WRITE),
        (1 << 29, FILE_GENERIC_EXECUTE),
        (1 << 28, FILE_ALL_ACCESS),
    ];
    let rights = generic.iter().filter(|(bit, _)| mask & bit != 0);
    rights.fold(mask & 0x0fff_ffff, |mask, (_, rights)| mask | rights)
}

/// A handle to a device object, and the access that it was opened with.
struct DeviceHandle {
    device: usize,
    access: u32,
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-obopenobjectbypointer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ObOpenObjectByPointer(
    object: *mut c_void,
    attributes: u32,
    _state: *mut c_void,
    access: u32,
    kind: *mut c_void,
    _mode: i8,
    handle: *mut HANDLE,
) -> NTSTATUS {
    let call = Call::enter("ObOpenObjectByPointer").at_most(1);
    call.require_kernel_handle(attributes);
    call.require_live_device(object.cast());
    call.require_room(handle);
    if !object_types::DEVICE.suits(kind) {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let device = object.addr();
    let opened = Arc::new(DeviceHandle { device, access });
    // SAFETY: the caller passes memory for a handle.
    unsafe { handle.write(call.kernel.open_handle(opened)) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwsetsecurityobject)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwSetSecurityObject(
    handle: HANDLE,
    information: u32,
    descriptor: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_shared("ZwSetSecurityObject");
    call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
    let Some(opened) = call.kernel.object_of::<DeviceHandle>(handle) else {
        return STATUS_INVALID_HANDLE;
    };
    if information != DACL_SECURITY_INFORMATION {
        return STATUS_INVALID_PARAMETER;
    }
    if opened.access & WRITE_DAC == 0 {
        return STATUS_ACCESS_DENIED;
    }
    call.require_room(descriptor.cast::<u32>());
    // SAFETY: the caller gives a security descriptor.
    let Some(dacl) = (unsafe { Dacl::read(&call, descriptor.cast()) }) else {
        return STATUS_INVALID_SECURITY_DESCR;
    };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    call.kernel.io().namespace.set_dacl(opened.device, dacl);
    call.switch_after(
        "ZwSetSecurityObject",
        without_provenance::<u8>(opened.device),
    );
    STATUS_SUCCESS
}
