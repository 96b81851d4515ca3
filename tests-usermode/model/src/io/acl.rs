//! Security descriptors and access control lists that a driver makes.
//!
//! Their layout is in [MS-DTYP](https://learn.microsoft.com/openspecs/windows_protocols/ms-dtyp/20233ed8-a6c6-4097-aafa-dd545ed24428); an
//! absolute descriptor has addresses in place of offsets.

use std::ffi::c_void;

use nt::{
    NTSTATUS, SE_DACL_PRESENT, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};

use crate::{host::Call, verifier::Rule};

/// An absolute `SECURITY_DESCRIPTOR`.
#[repr(C)]
struct Descriptor {
    revision: u8,
    reserved: u8,
    control: u16,
    owner: *mut c_void,
    group: *mut c_void,
    sacl: *mut c_void,
    dacl: *mut c_void,
}

/// An `ACL`, which its entries follow.
#[repr(C)]
struct Acl {
    revision: u8,
    reserved: u8,
    size: u16,
    count: u16,
    reserved2: u16,
}

/// `SECURITY_DESCRIPTOR_REVISION`
const DESCRIPTOR_REVISION: u32 = 1;
/// `ACL_REVISION` and `ACL_REVISION_DS`
const ACL_REVISION: u32 = 2;
const ACL_REVISION_DS: u32 = 4;
/// `SE_DACL_DEFAULTED`
const DACL_DEFAULTED: u16 = 8;

const STATUS_UNKNOWN_REVISION: NTSTATUS = 0xC000_0058_u32.cast_signed();
const STATUS_INVALID_ACL: NTSTATUS = 0xC000_0077_u32.cast_signed();
const STATUS_ALLOTTED_SPACE_EXCEEDED: NTSTATUS = 0xC000_0099_u32.cast_signed();

impl Call {
    fn enter_acl(routine: &'static str) -> Self {
        let call = Self::enter_noted(routine);
        call.require_at_most(1, Rule::Irql, 0xe5);
        call
    }

    /// Returns the bytes of a SID: the revision, the number of its parts, the authority, and the parts.
    fn sid<'a>(&self, sid: *mut c_void) -> &'a [u8] {
        let sid = sid.cast::<u8>();
        // SAFETY: the caller of the routine passes a SID.
        let [_, parts, ..] = *unsafe { self.view_new::<[u8; 8], _>(sid) };
        // SAFETY: as above.
        unsafe { self.elements(sid, 8 + 4 * usize::from(parts)) }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlcreatesecuritydescriptor)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCreateSecurityDescriptor(descriptor: *mut c_void, revision: u32) -> NTSTATUS {
    let call = Call::enter_acl("RtlCreateSecurityDescriptor");
    if revision != DESCRIPTOR_REVISION {
        return STATUS_UNKNOWN_REVISION;
    }
    let place: *mut Descriptor = descriptor.cast();
    call.require_room(place);
    let null = std::ptr::null_mut();
    let empty = Descriptor {
        revision: 1,
        reserved: 0,
        control: 0,
        owner: null,
        group: null,
        sacl: null,
        dacl: null,
    };
    // SAFETY: the caller passes memory of SECURITY_DESCRIPTOR_MIN_LENGTH bytes.
    unsafe { place.write(empty) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlsetdaclsecuritydescriptor)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlSetDaclSecurityDescriptor(
    descriptor: *mut c_void,
    present: u8,
    dacl: *mut c_void,
    defaulted: u8,
) -> NTSTATUS {
    let call = Call::enter_acl("RtlSetDaclSecurityDescriptor");
    let place: *mut Descriptor = descriptor.cast();
    call.require_room(place);
    // SAFETY: the caller passes an absolute security descriptor.
    let descriptor = unsafe { &mut *place };
    if u32::from(descriptor.revision) != DESCRIPTOR_REVISION {
        return STATUS_UNKNOWN_REVISION;
    }
    if descriptor.control & nt::SE_SELF_RELATIVE != 0 {
        return nt::STATUS_INVALID_SECURITY_DESCR;
    }
    descriptor.control &= !(SE_DACL_PRESENT | DACL_DEFAULTED);
    if present != 0 {
        let flag = if defaulted == 0 { 0 } else { DACL_DEFAULTED };
        descriptor.control |= SE_DACL_PRESENT | flag;
        descriptor.dacl = std::ptr::with_exposed_provenance_mut(dacl.expose_provenance());
    }
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlcreateacl)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCreateAcl(acl: *mut c_void, length: u32, revision: u32) -> NTSTATUS {
    let call = Call::enter_acl("RtlCreateAcl");
    let place: *mut Acl = acl.cast();
    call.require_room(place);
    if (length as usize) < size_of::<Acl>() {
        return STATUS_BUFFER_TOO_SMALL;
    }
    // The size is a multiple of four.
    let size = u16::try_from(length & !3);
    let (Ok(size), true) = (size, (ACL_REVISION..=ACL_REVISION_DS).contains(&revision)) else {
        return STATUS_INVALID_PARAMETER;
    };
    call.require_array(acl.cast::<u8>(), length as usize);
    let empty = Acl {
        revision: u8::try_from(revision).unwrap_or_default(),
        reserved: 0,
        size,
        count: 0,
        reserved2: 0,
    };
    // SAFETY: the caller passes memory of this length.
    unsafe { place.write(empty) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtladdaccessallowedace)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlAddAccessAllowedAce(
    acl: *mut c_void,
    revision: u32,
    mask: u32,
    sid: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_acl("RtlAddAccessAllowedAce");
    let place: *mut Acl = acl.cast();
    call.require_room(place);
    // SAFETY: the caller passes a list.
    let header = unsafe { &mut *place };
    let known = u32::from(header.revision) <= ACL_REVISION_DS;
    if !known || !(ACL_REVISION..=ACL_REVISION_DS).contains(&revision) {
        return STATUS_UNKNOWN_REVISION;
    }
    let start: *mut u8 = acl.cast();
    let mut end = size_of::<Acl>();
    // SAFETY: as above.
    let bytes = unsafe { call.elements(start, header.size.into()) };
    for _ in 0..header.count {
        // Each entry has its size in its third and fourth byte.
        let [Some(low), Some(high)] = [2, 3].map(|place| bytes.get(end + place).copied()) else {
            return STATUS_INVALID_ACL;
        };
        end += usize::from(u16::from_le_bytes([low, high]));
    }
    let sid = call.sid(sid);
    let size = 8 + sid.len();
    if end + size > usize::from(header.size) {
        return STATUS_ALLOTTED_SPACE_EXCEEDED;
    }
    let [low, high, ..] = size.to_le_bytes();
    // ACCESS_ALLOWED_ACE_TYPE without flags, the size, the mask and the SID.
    let entry = [&[0, 0, low, high], &mask.to_le_bytes()[..], sid].concat();
    // SAFETY: the list has room for the entry.
    unsafe { call.fill(start.wrapping_add(end), &entry) };
    header.count += 1;
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtllengthsid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlLengthSid(sid: *mut c_void) -> u32 {
    let call = Call::enter_acl("RtlLengthSid");
    u32::try_from(call.sid(sid).len()).unwrap_or(u32::MAX)
}
