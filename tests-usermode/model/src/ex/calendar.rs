//! The calendar. The time zone is UTC.

use nt::TIME_FIELDS;

use crate::host::Call;

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
    // The result is at most one too large, since the average year is only slightly longer than 365 days.
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
    // SAFETY: the caller passes memory for the fields.
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
    // SAFETY: the caller passes memory for a time.
    unsafe { time.write(result) };
    1
}

/// The first seconds of 1970 and 1980, since the start of 1601.
const START_OF_1970: i64 = days_before(1970) * 86_400;
const START_OF_1980: i64 = days_before(1980) * 86_400;

const UNITS_PER_SECOND: i64 = 1000 * UNITS_PER_MILLISECOND;

fn seconds_since(start: i64, routine: &'static str, time: *const i64, seconds: *mut u32) -> u8 {
    let call = Call::enter_noted(routine).at_most(1);
    call.require_room(seconds);
    // SAFETY: the caller passes a time.
    let time = unsafe { time.read() };
    let Ok(elapsed) = u32::try_from(time.div_euclid(UNITS_PER_SECOND) - start) else {
        return 0;
    };
    // SAFETY: the caller passes memory for a number.
    unsafe { seconds.write(elapsed) };
    1
}

fn time_after(start: i64, routine: &'static str, seconds: u32, time: *mut i64) {
    let call = Call::enter_noted(routine).at_most(1);
    call.require_room(time);
    // SAFETY: the caller passes memory for a time.
    unsafe { time.write((start + i64::from(seconds)) * UNITS_PER_SECOND) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtltimetosecondssince1970)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlTimeToSecondsSince1970(time: *const i64, seconds: *mut u32) -> u8 {
    seconds_since(START_OF_1970, "RtlTimeToSecondsSince1970", time, seconds)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtltimetosecondssince1980)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlTimeToSecondsSince1980(time: *const i64, seconds: *mut u32) -> u8 {
    seconds_since(START_OF_1980, "RtlTimeToSecondsSince1980", time, seconds)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlsecondssince1970totime)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlSecondsSince1970ToTime(seconds: u32, time: *mut i64) {
    time_after(START_OF_1970, "RtlSecondsSince1970ToTime", seconds, time);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlsecondssince1980totime)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlSecondsSince1980ToTime(seconds: u32, time: *mut i64) {
    time_after(START_OF_1980, "RtlSecondsSince1980ToTime", seconds, time);
}

fn copy(routine: &'static str, from: *const i64, to: *mut i64) {
    Call::enter_noted(routine).require_room(to);
    // SAFETY: the caller passes a time.
    let time = unsafe { from.read() };
    // SAFETY: the caller passes memory for a time.
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
