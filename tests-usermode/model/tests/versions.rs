//! The version of the system, as drivers for several Windows versions query it.

#[macro_use]
mod call;
mod body;

use body::passes;
use nt::{
    NTSTATUS, RTL_OSVERSIONINFOEXW, STATUS_INVALID_PARAMETER, STATUS_REVISION_MISMATCH,
    STATUS_SUCCESS,
};

/// `VER_MINORVERSION`, `VER_MAJORVERSION`, `VER_BUILDNUMBER`, `VER_SERVICEPACKMAJOR` and `VER_PRODUCT_TYPE`
const MINOR: u32 = 1;
const MAJOR: u32 = 2;
const BUILD: u32 = 4;
const SERVICE_PACK: u32 = 0x20;
const PRODUCT: u32 = 0x80;

/// `VER_EQUAL`, `VER_GREATER_EQUAL` and `VER_LESS`
const EQUAL: u8 = 1;
const AT_LEAST: u8 = 3;
const LESS: u8 = 4;

fn version(major: u32, minor: u32) -> RTL_OSVERSIONINFOEXW {
    let size = size_of::<RTL_OSVERSIONINFOEXW>();
    RTL_OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size).expect("it is small"),
        dwMajorVersion: major,
        dwMinorVersion: minor,
        dwBuildNumber: 19041,
        dwPlatformId: 2,
        szCSDVersion: [0; 128],
        wServicePackMajor: 0,
        wServicePackMinor: 0,
        wSuiteMask: 0,
        wProductType: 1,
        wReserved: 0,
    }
}

fn verify(wanted: &RTL_OSVERSIONINFOEXW, conditions: &[(u32, u8)]) -> NTSTATUS {
    let (mut types, mut mask) = (0, 0);
    for (kind, condition) in conditions {
        types |= kind;
        mask = nt!(VerSetConditionMask(mask, *kind, *condition));
    }
    nt!(RtlVerifyVersionInfo(&raw const *wanted, types, mask))
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlverifyversioninfo>: the system is Windows 10, version 2004,
/// and the comparison of the versions goes from the major version to the service pack.
#[test]
fn version_is_compared_with_the_required_one() {
    passes(|| {
        let at_least = [
            (MAJOR, AT_LEAST),
            (MINOR, AT_LEAST),
            (SERVICE_PACK, AT_LEAST),
        ];
        let mut sevens = version(6, 1);
        sevens.wServicePackMajor = 1;
        assert_eq!(verify(&sevens, &at_least), STATUS_SUCCESS);
        assert_eq!(verify(&version(10, 0), &at_least), STATUS_SUCCESS);
        assert_eq!(verify(&version(10, 1), &at_least), STATUS_REVISION_MISMATCH);
        let less = [(MAJOR, LESS), (MINOR, LESS)];
        assert_eq!(verify(&version(6, 1), &less), STATUS_REVISION_MISMATCH);
        assert_eq!(verify(&version(11, 0), &less), STATUS_SUCCESS);
        let same = [
            (MAJOR, EQUAL),
            (MINOR, EQUAL),
            (BUILD, EQUAL),
            (PRODUCT, EQUAL),
        ];
        assert_eq!(verify(&version(10, 0), &same), STATUS_SUCCESS);
        let mut other = version(10, 0);
        other.wProductType = 3;
        assert_eq!(verify(&other, &same), STATUS_REVISION_MISMATCH);
        other = version(10, 0);
        other.dwBuildNumber = 22000;
        assert_eq!(verify(&other, &same), STATUS_REVISION_MISMATCH);
        assert_eq!(verify(&other, &[]), STATUS_INVALID_PARAMETER);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlisntddiversionavailable>: `NTDDI_VISTA`, `NTDDI_WIN7`,
/// `NTDDI_WIN10`, and the first of Windows 11, `NTDDI_WIN10_CO`.
#[test]
fn the_interface_of_this_and_older_versions_is_available() {
    passes(|| {
        for (version, expected) in [
            (0x0600_0000, 1),
            (0x0601_0000, 1),
            (0x0a00_0000, 1),
            (0x0a00_000b, 0),
        ] {
            assert_eq!(nt!(RtlIsNtDdiVersionAvailable(version)), expected);
        }
    });
}
