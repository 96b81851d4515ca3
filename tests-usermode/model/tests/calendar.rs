//! The calendar, and the version of the system.

#[macro_use]
mod call;
mod body;

use std::ptr::null_mut;

use body::passes;
use nt::{RTL_OSVERSIONINFOW, TIME_FIELDS};

fn fields(time: i64) -> TIME_FIELDS {
    let mut fields = TIME_FIELDS::default();
    nt!(RtlTimeToTimeFields(&raw const time, &raw mut fields));
    fields
}

fn time(fields: TIME_FIELDS) -> Option<i64> {
    let mut time = 0;
    let valid = nt!(RtlTimeFieldsToTime(&raw const fields, &raw mut time));
    (valid != 0).then_some(time)
}

/// Each second from the start of 1601: <https://learn.microsoft.com/windows/win32/sysinfo/converting-a-time-t-value-to-a-file-time>
/// has 116444736000000000 for the start of 1970.
const UNIX: i64 = 116_444_736_000_000_000;
const SECOND: i64 = 10_000_000;

/// The calendar's own facts: 1 January 1970 was a Thursday, 29 February 2000 a Tuesday, and 1900 had no such day.
#[test]
fn a_time_has_the_fields_of_the_calendar() {
    passes(|| {
        let at = |fields: TIME_FIELDS| {
            [
                fields.Year,
                fields.Month,
                fields.Day,
                fields.Hour,
                fields.Minute,
                fields.Second,
                fields.Milliseconds,
                fields.Weekday,
            ]
        };
        assert_eq!(at(fields(0)), [1601, 1, 1, 0, 0, 0, 0, 1]);
        assert_eq!(at(fields(UNIX)), [1970, 1, 1, 0, 0, 0, 0, 4]);
        // `date -u -d @951868799`
        let last = UNIX + 951_868_799 * SECOND + 9_990_000;
        assert_eq!(at(fields(last)), [2000, 2, 29, 23, 59, 59, 999, 2]);
        assert_eq!(at(fields(last + 10_000)), [2000, 3, 1, 0, 0, 0, 0, 3]);
        // `date -u -d @-2203891201`
        let february = UNIX - 2_203_891_201 * SECOND;
        assert_eq!(at(fields(february)), [1900, 2, 28, 23, 59, 59, 0, 3]);
        assert_eq!(at(fields(february + SECOND)), [1900, 3, 1, 0, 0, 0, 0, 4]);
        // The last day of a period of 400 years.
        assert_eq!(
            at(fields(UNIX + 978_307_199 * SECOND)),
            [2000, 12, 31, 23, 59, 59, 0, 0]
        );
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtltimetosecondssince1970>: from 1970 to 2105. Ten years with
/// the leap days of 1972 and 1976 are 315,532,800 seconds.
#[test]
fn a_time_is_a_number_of_seconds_from_its_year_on() {
    passes(|| {
        let since_1970 = |time: i64| {
            let mut seconds = 7;
            let valid = nt!(RtlTimeToSecondsSince1970(&raw const time, &raw mut seconds));
            (valid, seconds)
        };
        let since_1980 = |time: i64| {
            let mut seconds = 7;
            let valid = nt!(RtlTimeToSecondsSince1980(&raw const time, &raw mut seconds));
            (valid, seconds)
        };
        assert_eq!(since_1970(UNIX), (1, 0));
        assert_eq!(since_1970(UNIX - 1), (0, 7));
        let last = UNIX + i64::from(u32::MAX) * SECOND;
        assert_eq!(since_1970(last + SECOND - 1), (1, u32::MAX));
        assert_eq!(since_1970(last + SECOND), (0, 7));
        let of_1980 = UNIX + 315_532_800 * SECOND;
        assert_eq!(since_1970(of_1980), (1, 315_532_800));
        assert_eq!(since_1980(of_1980 + SECOND), (1, 1));
        assert_eq!(since_1980(of_1980 - 1), (0, 7));
        let mut time = 0;
        nt!(RtlSecondsSince1970ToTime(315_532_800, &raw mut time));
        assert_eq!(time, of_1980);
        nt!(RtlSecondsSince1980ToTime(2, &raw mut time));
        assert_eq!(time, of_1980 + 2 * SECOND);
    });
}

#[test]
fn time_fields_convert_back_to_the_same_time() {
    passes(|| {
        for day in (0..500 * 365).step_by(13) {
            let moment = (day * 86_400 + 3_723) * SECOND + 40_000;
            assert_eq!(time(fields(moment)), Some(moment));
        }
        let valid = fields(UNIX);
        for wrong in [
            TIME_FIELDS { Month: 13, ..valid },
            TIME_FIELDS { Month: 0, ..valid },
            TIME_FIELDS {
                Month: 2,
                Day: 29,
                ..valid
            },
            TIME_FIELDS { Day: 0, ..valid },
            TIME_FIELDS { Hour: 24, ..valid },
            TIME_FIELDS {
                Second: -1,
                ..valid
            },
            TIME_FIELDS {
                Milliseconds: 1000,
                ..valid
            },
            TIME_FIELDS {
                Year: 1600,
                ..valid
            },
        ] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    });
}

/// [`RTL_OSVERSIONINFOEXW`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_osversioninfoexw): the size is 0x11c, and the
/// product type is at 0x11a.
#[test]
fn version_has_the_requested_size() {
    passes(|| {
        let mut memory = [0xee_u8; 0x120];
        let version: *mut RTL_OSVERSIONINFOW = memory.as_mut_ptr().cast();
        for (size, product) in [(0x114_u32, 0xee), (0x11c, 1)] {
            memory[..4].copy_from_slice(&size.to_le_bytes());
            assert_eq!(nt!(RtlGetVersion(version)), nt::STATUS_SUCCESS);
            let (mut major, mut minor, mut build) = (0, 0, 0);
            nt!(PsGetVersion(
                &raw mut major,
                &raw mut minor,
                &raw mut build,
                null_mut()
            ));
            for (place, expected) in [(0, size), (4, major), (8, minor), (12, build), (16, 2)] {
                assert_eq!(memory[place..place + 4], expected.to_le_bytes());
            }
            assert_eq!((memory[0x11a], memory[0x11c]), (product, 0xee));
        }
    });
}
