//! The calendar, and the version of the system: Windows 10, version 2004, whose time zone is UTC.

use nt::{NTSTATUS, RTL_OSVERSIONINFOW, STATUS_SUCCESS, TIME_FIELDS};

use crate::{host::Call, verifier::Rule};

/// The version of the system, and the number of its build.
pub(crate) const VERSION: [u32; 3] = [10, 0, 19041];

/// `VER_PLATFORM_WIN32_NT`
const PLATFORM: u32 = 2;

const UNITS_PER_MILLISECOND: i64 = 10_000;
const MILLISECONDS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// The year of which the first day is the first of the system time, and the first of a period of 400 years.
const FIRST_YEAR: i64 = 1601;
/// The last year that `RtlTimeFieldsToTime` accepts.
const LAST_YEAR: i64 = 30827;

/// The first day of the system time was a Monday.
const FIRST_WEEKDAY: i64 = 1;

/// Returns the number of days before a year.
const fn days_before(year: i64) -> i64 {
    let years = year - FIRST_YEAR;
    years * 365 + years / 4 - years / 100 + years / 400
}

/// Returns the lengths of the months of a year.
const fn months(year: i64) -> [i64; 12] {
    let february = 28 + days_before(year + 1) - days_before(year) - 365;
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

fn fields_of(time: i64) -> TIME_FIELDS {
    let milliseconds = time.div_euclid(UNITS_PER_MILLISECOND);
    let days = milliseconds.div_euclid(MILLISECONDS_PER_DAY);
    let in_day = milliseconds.rem_euclid(MILLISECONDS_PER_DAY);
    // At most one too many, since a year has more than 365 days on average only.
    let mut year = FIRST_YEAR + days / 365;
    while days_before(year) > days {
        year -= 1;
    }
    let (mut month, mut day) = (1, days - days_before(year));
    for length in months(year) {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let field = |value: i64| i16::try_from(value).unwrap_or(i16::MAX);
    TIME_FIELDS {
        Year: field(year),
        Month: field(month),
        Day: field(day + 1),
        Hour: field(in_day / 3_600_000),
        Minute: field(in_day / 60_000 % 60),
        Second: field(in_day / 1000 % 60),
        Milliseconds: field(in_day % 1000),
        Weekday: field((days + FIRST_WEEKDAY) % 7),
    }
}

fn time_of(fields: TIME_FIELDS) -> Option<i64> {
    let year = i64::from(fields.Year);
    if !(FIRST_YEAR..=LAST_YEAR).contains(&year) {
        return None;
    }
    let months = months(year);
    let month = usize::try_from(fields.Month).ok()?.checked_sub(1)?;
    let length = *months.get(month)?;
    let day = i64::from(fields.Day) - 1;
    let parts = [
        (fields.Hour, 24),
        (fields.Minute, 60),
        (fields.Second, 60),
        (fields.Milliseconds, 1000),
    ];
    let is_valid =
        (0..length).contains(&day) && parts.iter().all(|(part, end)| (0..*end).contains(part));
    is_valid.then(|| {
        let days = days_before(year) + months[..month].iter().sum::<i64>() + day;
        let in_day = parts.iter().fold(0, |sum, (part, end)| {
            sum * i64::from(*end) + i64::from(*part)
        });
        (days * MILLISECONDS_PER_DAY + in_day) * UNITS_PER_MILLISECOND
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtltimetotimefields)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlTimeToTimeFields(time: *const i64, fields: *mut TIME_FIELDS) {
    let call = Call::enter_noted("RtlTimeToTimeFields");
    call.require_room(fields);
    // SAFETY: the caller passes a time.
    let time = unsafe { time.read() };
    // SAFETY: the caller passes room for the fields.
    unsafe { fields.write(fields_of(time)) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtltimefieldstotime)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlTimeFieldsToTime(fields: *const TIME_FIELDS, time: *mut i64) -> u8 {
    let call = Call::enter_noted("RtlTimeFieldsToTime");
    call.require_room(time);
    // SAFETY: the caller passes the fields.
    let Some(result) = time_of(unsafe { fields.read() }) else {
        return 0;
    };
    // SAFETY: the caller passes room for a time.
    unsafe { time.write(result) };
    1
}

fn copy(routine: &'static str, from: *const i64, to: *mut i64) {
    Call::enter_noted(routine).require_room(to);
    // SAFETY: the caller passes a time.
    let time = unsafe { from.read() };
    // SAFETY: the caller passes room for a time.
    unsafe { to.write(time) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exsystemtimetolocaltime)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExSystemTimeToLocalTime(system: *const i64, local: *mut i64) {
    copy("ExSystemTimeToLocalTime", system, local);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exlocaltimetosystemtime)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExLocalTimeToSystemTime(local: *const i64, system: *mut i64) {
    copy("ExLocalTimeToSystemTime", local, system);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlgetversion)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlGetVersion(version: *mut RTL_OSVERSIONINFOW) -> NTSTATUS {
    let call = Call::enter_noted("RtlGetVersion");
    call.require_at_most(0, Rule::Irql, 0xe5);
    let [major, minor, build] = VERSION;
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
        let rest = version.wrapping_add(1).cast::<[u8; 8]>();
        // SAFETY: as above; the longer structure continues with these.
        unsafe { rest.write([0, 0, 0, 0, 0, 0, 1, 0]) };
    }
    STATUS_SUCCESS
}
