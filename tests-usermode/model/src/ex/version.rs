//! The version of the system: Windows 10, version 2004, for workstations, without a service pack.

use nt::{
    NTSTATUS, RTL_OSVERSIONINFOEXW, RTL_OSVERSIONINFOW, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH, STATUS_SUCCESS,
};

use crate::host::Call;

/// The version of the system, and the number of its build.
pub(crate) const VERSION: [u32; 3] = [10, 0, 19041];

/// `VER_PLATFORM_WIN32_NT`
const PLATFORM: u32 = 2;

/// `NTDDI_WIN10_VB`
const NTDDI_VERSION: u32 = 0x0a00_0008;

/// `VER_NT_WORKSTATION`
const WORKSTATION: u8 = 1;

/// The bits of a type mask, from `VER_MINORVERSION` to `VER_PRODUCT_TYPE`.
const MINOR: u32 = 1;
const MAJOR: u32 = 2;
const BUILD: u32 = 4;
const PLATFORM_ID: u32 = 8;
const SERVICE_PACK_MINOR: u32 = 0x10;
const SERVICE_PACK_MAJOR: u32 = 0x20;
const SUITE: u32 = 0x40;
const PRODUCT: u32 = 0x80;

/// The number of bits of each type in a condition mask, in the order of the types.
const CONDITION_BITS: u32 = 3;

/// Returns the condition for a type: `VER_EQUAL` (1), `VER_GREATER`, `VER_GREATER_EQUAL`, `VER_LESS`, `VER_LESS_EQUAL`, `VER_AND` or
/// `VER_OR`.
const fn condition(mask: u64, kind: u32) -> u64 {
    mask >> (CONDITION_BITS * kind.trailing_zeros()) & 7
}

/// Returns whether the system's value meets a condition, or `None` if the condition does not apply to such values.
fn meets<T: Ord>(condition: u64, system: &T, wanted: &T) -> Option<bool> {
    match condition {
        1 => Some(system == wanted),
        2 => Some(system > wanted),
        3 => Some(system >= wanted),
        4 => Some(system < wanted),
        5 => Some(system <= wanted),
        _ => None,
    }
}

/// Compares the fields that the mask selects. The versions and the service packs are compared as one number, from the major version down.
fn verify(wanted: &RTL_OSVERSIONINFOEXW, types: u32, conditions: u64) -> Option<bool> {
    let [major, minor, build] = VERSION;
    let mut holds = true;
    let numbers = [
        (BUILD, build, wanted.dwBuildNumber),
        (PLATFORM_ID, PLATFORM, wanted.dwPlatformId),
        (PRODUCT, WORKSTATION.into(), wanted.wProductType.into()),
    ];
    for (kind, system, wanted) in numbers {
        if types & kind != 0 {
            holds &= meets(condition(conditions, kind), &system, &wanted)?;
        }
    }
    if types & SUITE != 0 {
        // The system has no suite.
        holds &= match condition(conditions, SUITE) {
            6 | 7 => wanted.wSuiteMask == 0,
            _ => return None,
        };
    }
    let parts = [
        (MAJOR, major, wanted.dwMajorVersion),
        (MINOR, minor, wanted.dwMinorVersion),
        (SERVICE_PACK_MAJOR, 0, wanted.wServicePackMajor.into()),
        (SERVICE_PACK_MINOR, 0, wanted.wServicePackMinor.into()),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(kind, ..)| types & kind != 0)
        .collect();
    if let Some((highest, ..)) = parts.first() {
        let system: Vec<u32> = parts.iter().map(|(_, system, _)| *system).collect();
        let wanted: Vec<u32> = parts.iter().map(|(.., wanted)| *wanted).collect();
        holds &= meets(condition(conditions, *highest), &system, &wanted)?;
    }
    Some(holds)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlverifyversioninfo)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlVerifyVersionInfo(
    wanted: *const RTL_OSVERSIONINFOEXW,
    types: u32,
    conditions: u64,
) -> NTSTATUS {
    let call = Call::enter_noted("RtlVerifyVersionInfo").at_most(0);
    call.require_room(wanted.cast_mut());
    // SAFETY: the caller passes the structure.
    let wanted = unsafe { &*wanted };
    match verify(wanted, types, conditions) {
        Some(true) if types != 0 => STATUS_SUCCESS,
        Some(false) => STATUS_REVISION_MISMATCH,
        _ => STATUS_INVALID_PARAMETER,
    }
}

/// The routine of the macro `VER_SET_CONDITION`.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn VerSetConditionMask(mask: u64, types: u32, condition: u8) -> u64 {
    let kinds = (0..8).filter(|kind| types >> kind & 1 != 0);
    kinds.fold(mask, |mask, kind| {
        mask | u64::from(condition & 7) << (CONDITION_BITS * kind)
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlisntddiversionavailable)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlIsNtDdiVersionAvailable(version: u32) -> u8 {
    let _call = Call::enter_noted("RtlIsNtDdiVersionAvailable").at_most(0);
    u8::from(version <= NTDDI_VERSION)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlgetversion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlGetVersion(version: *mut RTL_OSVERSIONINFOW) -> NTSTATUS {
    let call = Call::enter_noted("RtlGetVersion").at_most(0);
    let [major, minor, build] = VERSION;
    call.require_room(version);
    // SAFETY: the caller passes a structure whose size it has set.
    let size = unsafe { (*version).dwOSVersionInfoSize };
    let result = RTL_OSVERSIONINFOW {
        dwOSVersionInfoSize: size,
        dwMajorVersion: major,
        dwMinorVersion: minor,
        dwBuildNumber: build,
        dwPlatformId: PLATFORM,
        szCSDVersion: [0; 128],
    };
    // SAFETY: as above.
    unsafe { version.write(result) };
    // wServicePackMajor, wServicePackMinor, wSuiteMask, wProductType (VER_NT_WORKSTATION) and wReserved of the longer structure.
    if size as usize > size_of::<RTL_OSVERSIONINFOW>() {
        call.require_array(version.cast::<u8>(), size as usize);
        let rest = version.wrapping_add(1).cast::<[u8; 8]>();
        // SAFETY: as above; the longer structure continues with these.
        unsafe { rest.write([0, 0, 0, 0, 0, 0, 1, 0]) };
    }
    STATUS_SUCCESS
}
