//! The run-time library (`Rtl`): counted strings, the calendar, and the version of the system.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

mod bitmap;

pub use bitmap::*;

use core::ffi::c_void;

use crate::{GUID, NTSTATUS, UNICODE_STRING};

/// A counted string of bytes in the system's code page.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ANSI_STRING {
    pub Length: u16,
    pub MaximumLength: u16,
    pub Buffer: *mut u8,
}

/// A time, in the parts of the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TIME_FIELDS {
    pub Year: i16,
    pub Month: i16,
    pub Day: i16,
    pub Hour: i16,
    pub Minute: i16,
    pub Second: i16,
    pub Milliseconds: i16,
    /// 0 is Sunday.
    pub Weekday: i16,
}

/// The version of the system. The size is that of this structure, or of `RTL_OSVERSIONINFOEXW`, which is longer.
#[repr(C)]
pub struct RTL_OSVERSIONINFOW {
    pub dwOSVersionInfoSize: u32,
    pub dwMajorVersion: u32,
    pub dwMinorVersion: u32,
    pub dwBuildNumber: u32,
    pub dwPlatformId: u32,
    pub szCSDVersion: [u16; 128],
}

/// The version of the system, and of its service pack.
#[repr(C)]
pub struct RTL_OSVERSIONINFOEXW {
    pub dwOSVersionInfoSize: u32,
    pub dwMajorVersion: u32,
    pub dwMinorVersion: u32,
    pub dwBuildNumber: u32,
    pub dwPlatformId: u32,
    pub szCSDVersion: [u16; 128],
    pub wServicePackMajor: u16,
    pub wServicePackMinor: u16,
    pub wSuiteMask: u16,
    pub wProductType: u8,
    pub wReserved: u8,
}

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// Makes a UUID.
    pub fn ExUuidCreate(Uuid: *mut GUID) -> NTSTATUS;
    /// Returns a number from 0 to `MAXLONG` - 1, and changes the seed.
    pub fn RtlRandom(Seed: *mut u32) -> u32;
    /// As `RtlRandom`, by another algorithm.
    pub fn RtlRandomEx(Seed: *mut u32) -> u32;
    /// Makes an absolute security descriptor, whose room is `SECURITY_DESCRIPTOR_MIN_LENGTH` bytes long.
    pub fn RtlCreateSecurityDescriptor(SecurityDescriptor: *mut c_void, Revision: u32) -> NTSTATUS;
    /// `Dacl` may be NULL.
    pub fn RtlSetDaclSecurityDescriptor(
        SecurityDescriptor: *mut c_void,
        DaclPresent: u8,
        Dacl: *mut c_void,
        DaclDefaulted: u8,
    ) -> NTSTATUS;
    pub fn RtlCreateAcl(Acl: *mut c_void, AclLength: u32, AclRevision: u32) -> NTSTATUS;
    pub fn RtlAddAccessAllowedAce(
        Acl: *mut c_void,
        AceRevision: u32,
        AccessMask: u32,
        Sid: *mut c_void,
    ) -> NTSTATUS;
    pub fn RtlLengthSid(Sid: *mut c_void) -> u32;
    pub fn RtlGetVersion(lpVersionInformation: *mut RTL_OSVERSIONINFOW) -> NTSTATUS;
    /// `ConditionMask` is made by `VerSetConditionMask`.
    pub fn RtlVerifyVersionInfo(
        VersionInfo: *const RTL_OSVERSIONINFOEXW,
        TypeMask: u32,
        ConditionMask: u64,
    ) -> NTSTATUS;
    pub fn VerSetConditionMask(ConditionMask: u64, TypeMask: u32, Condition: u8) -> u64;
    pub fn RtlIsNtDdiVersionAvailable(Version: u32) -> u8;
    /// Returns `FALSE` if `Time` is out of range.
    pub fn RtlTimeToSecondsSince1970(Time: *const i64, ElapsedSeconds: *mut u32) -> u8;
    /// Returns `FALSE` if `Time` is out of range.
    pub fn RtlTimeToSecondsSince1980(Time: *const i64, ElapsedSeconds: *mut u32) -> u8;
    pub fn RtlSecondsSince1970ToTime(ElapsedSeconds: u32, Time: *mut i64);
    pub fn RtlSecondsSince1980ToTime(ElapsedSeconds: u32, Time: *mut i64);
    /// Returns `FALSE` if there is no memory.
    pub fn RtlCreateUnicodeString(
        DestinationString: *mut UNICODE_STRING,
        SourceString: *const u16,
    ) -> u8;
    /// `Time` is a `LARGE_INTEGER`, in units of 100 ns since the start of 1601.
    pub fn RtlTimeToTimeFields(Time: *const i64, TimeFields: *mut TIME_FIELDS);
    /// Returns `FALSE` if there is no such time. `Weekday` is not used.
    pub fn RtlTimeFieldsToTime(TimeFields: *const TIME_FIELDS, Time: *mut i64) -> u8;
    pub fn RtlAnsiStringToUnicodeString(
        DestinationString: *mut UNICODE_STRING,
        SourceString: *const ANSI_STRING,
        AllocateDestinationString: u8,
    ) -> NTSTATUS;
    pub fn RtlAppendUnicodeStringToString(
        Destination: *mut UNICODE_STRING,
        Source: *const UNICODE_STRING,
    ) -> NTSTATUS;
    pub fn RtlAppendUnicodeToString(
        Destination: *mut UNICODE_STRING,
        Source: *const u16,
    ) -> NTSTATUS;
    pub fn RtlCompareMemory(Source1: *const c_void, Source2: *const c_void, Length: usize)
    -> usize;
    pub fn RtlCompareString(
        String1: *const ANSI_STRING,
        String2: *const ANSI_STRING,
        CaseInSensitive: u8,
    ) -> i32;
    pub fn RtlCompareUnicodeString(
        String1: *const UNICODE_STRING,
        String2: *const UNICODE_STRING,
        CaseInSensitive: u8,
    ) -> i32;
    pub fn RtlCopyUnicodeString(
        DestinationString: *mut UNICODE_STRING,
        SourceString: *const UNICODE_STRING,
    );
    pub fn RtlEqualString(
        String1: *const ANSI_STRING,
        String2: *const ANSI_STRING,
        CaseInSensitive: u8,
    ) -> u8;
    pub fn RtlEqualUnicodeString(
        String1: *const UNICODE_STRING,
        String2: *const UNICODE_STRING,
        CaseInSensitive: u8,
    ) -> u8;
    pub fn RtlFreeAnsiString(AnsiString: *mut ANSI_STRING);
    /// The string is in the form `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`.
    pub fn RtlGUIDFromString(GuidString: *const UNICODE_STRING, Guid: *mut GUID) -> NTSTATUS;
    pub fn RtlStringFromGUID(Guid: *const GUID, GuidString: *mut UNICODE_STRING) -> NTSTATUS;
    pub fn RtlInitString(DestinationString: *mut ANSI_STRING, SourceString: *const u8);
    pub fn RtlIntegerToUnicodeString(
        Value: u32,
        Base: u32,
        String: *mut UNICODE_STRING,
    ) -> NTSTATUS;
    pub fn RtlUnicodeStringToInteger(
        String: *const UNICODE_STRING,
        Base: u32,
        Value: *mut u32,
    ) -> NTSTATUS;
    pub fn RtlPrefixUnicodeString(
        String1: *const UNICODE_STRING,
        String2: *const UNICODE_STRING,
        CaseInSensitive: u8,
    ) -> u8;
    pub fn RtlUpcaseUnicodeChar(SourceCharacter: u16) -> u16;
    pub fn RtlUpcaseUnicodeString(
        DestinationString: *mut UNICODE_STRING,
        SourceString: *const UNICODE_STRING,
        AllocateDestinationString: u8,
    ) -> NTSTATUS;
    pub fn RtlInitAnsiString(DestinationString: *mut ANSI_STRING, SourceString: *const u8);
    pub fn RtlInitUnicodeString(DestinationString: *mut UNICODE_STRING, SourceString: *const u16);
    pub fn RtlUnicodeStringToAnsiString(
        DestinationString: *mut ANSI_STRING,
        SourceString: *const UNICODE_STRING,
        AllocateDestinationString: u8,
    ) -> NTSTATUS;
}
