//! Counted strings, pool of a type, and MDLs that a driver makes: their documented behaviour, and mistakes of drivers.

#[macro_use]
mod call;
mod body;

use std::{
    ffi::c_void,
    hint::black_box,
    ptr::{null, null_mut},
};

use body::{passes, stops};
use call::{NO_STRING, broke};
use nt::{
    ANSI_STRING, MDL, NonPagedPool, POOL_ZERO_ALLOCATION, PagedPool, STATUS_BUFFER_TOO_SMALL,
    STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::Rule;

/// Runs code that breaks no rule.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// A string of a text, which stays as long as the units.
fn string(units: &[u16]) -> UNICODE_STRING {
    let mut string = NO_STRING;
    nt!(RtlInitUnicodeString(&raw mut string, units.as_ptr()));
    string
}

const NO_TEXT: ANSI_STRING = ANSI_STRING {
    Length: 0,
    MaximumLength: 0,
    Buffer: null_mut(),
};

/// Returns an empty string whose buffer is `units`.
fn empty_in(units: &mut [u16]) -> UNICODE_STRING {
    UNICODE_STRING {
        Length: 0,
        MaximumLength: u16::try_from(2 * units.len()).expect("it is short"),
        Buffer: units.as_mut_ptr(),
    }
}

fn text(string: &UNICODE_STRING) -> String {
    let length = usize::from(string.Length / 2);
    // SAFETY: the string is valid.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(string.Buffer, length) })
}

#[test]
fn a_string_is_initialised_from_a_terminated_string() {
    passes(|| {
        let units = wide("abc");
        let made = string(&units);
        assert_eq!((made.Length, made.MaximumLength), (6, 8));
        let mut none = made;
        nt!(RtlInitUnicodeString(&raw mut none, null()));
        assert_eq!((none.Length, none.MaximumLength), (0, 0));
        let mut ansi = ANSI_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: null_mut(),
        };
        nt!(RtlInitAnsiString(&raw mut ansi, c"abc".as_ptr().cast()));
        assert_eq!((ansi.Length, ansi.MaximumLength), (3, 4));
    });
}

#[test]
fn a_copy_is_truncated_and_an_append_fails_if_the_buffer_is_too_small() {
    passes(|| {
        let (mut units, source, more) = ([0x7878; 4], wide("abcdef"), wide("ghi"));
        let mut to = empty_in(&mut units);
        let from = string(&source);
        nt!(RtlCopyUnicodeString(&raw mut to, &raw const from));
        assert_eq!(text(&to), "abcd", "as much as fits");
        let status = nt!(RtlAppendUnicodeToString(&raw mut to, more.as_ptr()));
        assert_eq!((status, &*text(&to)), (STATUS_BUFFER_TOO_SMALL, "abcd"));
        nt!(RtlCopyUnicodeString(&raw mut to, null()));
        assert_eq!(to.Length, 0);
        let status = nt!(RtlAppendUnicodeToString(&raw mut to, more.as_ptr()));
        assert_eq!((status, &*text(&to)), (STATUS_SUCCESS, "ghi"));
        let rest = wide("j");
        let rest = string(&rest);
        let status = nt!(RtlAppendUnicodeStringToString(&raw mut to, &raw const rest));
        assert_eq!(
            (status, &*text(&to)),
            (STATUS_SUCCESS, "ghij"),
            "the result has no terminating zero"
        );
    });
}

#[test]
fn strings_are_compared_with_and_without_regard_to_case() {
    passes(|| {
        let [abc, upper, longer] = ["abc", "ABC", "abcd"].map(wide);
        let [abc, upper, longer] = [&abc, &upper, &longer].map(|units| string(units));
        let compare = |one: &UNICODE_STRING, other: &UNICODE_STRING, insensitive: u8| {
            let (one, other) = (&raw const *one, &raw const *other);
            let compared = nt!(RtlCompareUnicodeString(one, other, insensitive));
            let equal = nt!(RtlEqualUnicodeString(one, other, insensitive)) != 0;
            assert_eq!(equal, compared == 0);
            compared.signum()
        };
        assert_eq!(compare(&abc, &upper, 0), 1);
        assert_eq!(compare(&abc, &upper, 1), 0);
        assert_eq!(compare(&abc, &longer, 1), -1);
        let compared = nt!(RtlCompareMemory(
            b"abcd".as_ptr().cast(),
            b"abxd".as_ptr().cast(),
            4
        ));
        assert_eq!(
            compared, 2,
            "the number of bytes before the first difference"
        );
    });
    let body = || {
        let empty = NO_STRING;
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(RtlEqualUnicodeString(&raw const empty, &raw const empty, 0));
        black_box(());
    };
    stops(body, Rule::Irql, 0xc4, 0xe5, "RtlEqualUnicodeString");
}

/// "A signed value that gives the results of the comparison"; "If TRUE, case should be ignored"
#[test]
fn ansi_strings_are_compared_with_and_without_regard_to_case() {
    passes(|| {
        let string = |text: &'static [u8]| ANSI_STRING {
            Length: u16::try_from(text.len()).expect("the text is short"),
            MaximumLength: u16::try_from(text.len()).expect("the text is short"),
            Buffer: text.as_ptr().cast_mut(),
        };
        let [abc, upper, longer] = [&b"abc"[..], b"ABC", b"abcd"].map(string);
        let compare = |one: &ANSI_STRING, other: &ANSI_STRING, insensitive: u8| {
            let (one, other) = (&raw const *one, &raw const *other);
            let compared = nt!(RtlCompareString(one, other, insensitive));
            let equal = nt!(RtlEqualString(one, other, insensitive)) != 0;
            assert_eq!(equal, compared == 0);
            compared.signum()
        };
        assert_eq!(compare(&abc, &upper, 0), 1);
        assert_eq!(compare(&abc, &upper, 1), 0);
        assert_eq!(compare(&abc, &longer, 1), -1);
    });
}

/// `RtlCompareString` and `RtlEqualString`: `PASSIVE_LEVEL`.
#[test]
fn ansi_strings_are_compared_at_passive_level() {
    let compares = || {
        let empty = NO_TEXT;
        let _ = nt!(KfRaiseIrql(1));
        nt!(RtlCompareString(&raw const empty, &raw const empty, 0));
        black_box(());
    };
    stops(compares, Rule::Irql, 0xc4, 0xe5, "RtlCompareString");
    let equals = || {
        let empty = NO_TEXT;
        let _ = nt!(KfRaiseIrql(1));
        nt!(RtlEqualString(&raw const empty, &raw const empty, 0));
        black_box(());
    };
    stops(equals, Rule::Irql, 0xc4, 0xe5, "RtlEqualString");
}

#[test]
fn a_converted_string_is_freed() {
    passes(|| {
        let mut ansi = ANSI_STRING {
            Length: 3,
            MaximumLength: 3,
            Buffer: b"abc".as_ptr().cast_mut(),
        };
        let mut made = NO_STRING;
        let status = nt!(RtlAnsiStringToUnicodeString(
            &raw mut made,
            &raw const ansi,
            1
        ));
        assert_eq!((status, &*text(&made)), (STATUS_SUCCESS, "abc"));
        let status = nt!(RtlUnicodeStringToAnsiString(
            &raw mut ansi,
            &raw const made,
            1
        ));
        assert_eq!((status, ansi.Length), (STATUS_SUCCESS, 3));
        nt!(RtlFreeUnicodeString(&raw mut made));
        nt!(RtlFreeAnsiString(&raw mut ansi));
        assert!(made.Buffer.is_null() && ansi.Buffer.is_null());
    });
    let body = || {
        let ansi = ANSI_STRING {
            Length: 3,
            MaximumLength: 3,
            Buffer: b"abc".as_ptr().cast_mut(),
        };
        let mut made = NO_STRING;
        nt!(RtlAnsiStringToUnicodeString(
            &raw mut made,
            &raw const ansi,
            1
        ));
    };
    let violation = body::found(body);
    broke(&violation, Rule::Pool, 0xc4, &[]);
}

const TAG: u32 = u32::from_le_bytes(*b"test");

#[test]
fn the_pool_type_determines_the_pool() {
    passes(|| {
        for kind in [NonPagedPool, PagedPool, nt::NonPagedPoolNx] {
            let block = nt!(ExAllocatePoolWithTag(kind, 8, TAG)).cast::<u64>();
            // SAFETY: the pool has returned a block of this type.
            assert_ne!(unsafe { block.read() }, 0, "it is not zeroed");
            nt!(ExFreePoolWithTag(block.cast(), TAG));
        }
        let kind = NonPagedPool | POOL_ZERO_ALLOCATION | nt::POOL_QUOTA_FAIL_INSTEAD_OF_RAISE;
        let block = nt!(ExAllocatePoolWithQuotaTag(kind, 8, TAG)).cast::<u64>();
        // SAFETY: as above.
        assert_eq!(unsafe { block.read() }, 0);
        nt!(ExFreePoolWithTag(block.cast(), TAG));
    });
    let body = || {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(ExAllocatePoolWithTag(PagedPool, 8, TAG));
        black_box(());
    };
    let routine = "ExAllocatePoolWithTag";
    stops(body, Rule::IrqlExAllocatePool, 0xc4, 1, routine);
}

/// An MDL of a buffer.
fn allocate(buffer: &mut [u8]) -> *mut MDL {
    let length = u32::try_from(buffer.len()).expect("it is short");
    nt!(IoAllocateMdl(
        buffer.as_mut_ptr().cast(),
        length,
        0,
        0,
        null_mut()
    ))
}

#[test]
fn an_mdl_describes_its_buffer() {
    passes(|| {
        let mut buffer = [7_u8; 0x1800];
        let start: *mut c_void = buffer.as_mut_ptr().cast();
        let mdl = allocate(&mut buffer);
        // SAFETY: the MDL was allocated here.
        let described = unsafe { &*mdl };
        let (count, offset) = (described.ByteCount, described.ByteOffset);
        assert_eq!(
            (count as usize, offset as usize),
            (0x1800, start.addr() % 0x1000)
        );
        nt!(MmProbeAndLockPages(mdl, 0, nt::IoModifyAccess));
        let mapped = nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority));
        // SAFETY: the pages are mapped, and the address is in the last one.
        let last = unsafe { mapped.cast::<u8>().wrapping_add(0x17ff).read() };
        assert_eq!(last, 7);
        // It is mapped once: the second call finds the address.
        assert_eq!(
            nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority)),
            mapped
        );
        nt!(MmUnmapLockedPages(mapped, mdl));
        nt!(MmUnlockPages(mdl));
        nt!(IoFreeMdl(mdl));
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 32, 1));
        // SAFETY: the block has 32 bytes.
        let mdl = allocate(unsafe { std::slice::from_raw_parts_mut(block.cast(), 32) });
        nt!(MmBuildMdlForNonPagedPool(mdl));
        assert_eq!(
            nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority)),
            block
        );
        nt!(IoFreeMdl(mdl));
        nt!(ExFreePoolWithTag(block, 1));
    });
}

#[test]
fn an_mdl_is_locked_unlocked_and_freed_once() {
    let body = || {
        let mdl = allocate(&mut [0; 8]);
        nt!(MmProbeAndLockPages(mdl, 0, nt::IoReadAccess));
        nt!(IoFreeMdl(mdl));
        black_box(());
    };
    stops(body, Rule::Mdl, 0, 0, "IoFreeMdl");
    let body = || {
        nt!(MmUnlockPages(allocate(&mut [0; 8])));
        black_box(());
    };
    stops(body, Rule::Mdl, 0, 0, "MmUnlockPages");
    let body = || {
        let mdl = allocate(&mut [0; 8]);
        nt!(MmProbeAndLockPages(mdl, 0, nt::IoReadAccess));
        nt!(MmProbeAndLockPages(mdl, 0, nt::IoReadAccess));
        black_box(());
    };
    stops(body, Rule::Mdl, 0, 0, "MmProbeAndLockPages");
    let body = || {
        let _ = nt!(MmGetSystemAddressForMdlSafe(allocate(&mut [0; 8]), 16));
        black_box(());
    };
    stops(body, Rule::Mdl, 0, 0, "MmMapLockedPagesSpecifyCache");
    let body = || {
        let mdl = allocate(&mut [0; 8]);
        nt!(IoFreeMdl(mdl));
        nt!(IoFreeMdl(mdl));
        black_box(());
    };
    let violation = body::found(body);
    broke(&violation, Rule::Mdl, 0x50, &[]);
    let violation = body::found(|| _ = allocate(&mut [0; 8]));
    broke(&violation, Rule::Mdl, 0xc4, &[0x62]);
}

/// The examples of [Microsoft's
/// page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlunicodestringtointeger).
#[test]
fn number_is_read_up_to_the_first_other_character() {
    passes(|| {
        let number = |text: &str, base| {
            let units = wide(text);
            let text = string(&units);
            let mut value = 7;
            let status = nt!(RtlUnicodeStringToInteger(
                &raw const text,
                base,
                &raw mut value
            ));
            (status, value.cast_signed())
        };
        for (text, base, expected) in [
            ("123", 10, 123),
            ("  -345", 10, -345),
            ("xyz", 10, 0),
            ("   +678abc", 10, 678),
            ("   +678abc", 16, 6_785_724),
            ("007", 10, 7),
            ("789", 8, 7),
            ("FGH", 16, 15),
            ("      ", 10, 0),
            ("0x1f", 0, 31),
            ("0o17", 0, 15),
            ("0b11", 0, 3),
        ] {
            assert_eq!(number(text, base), (STATUS_SUCCESS, expected), "{text}");
        }
        assert_eq!(number("", 10).0, nt::STATUS_INVALID_PARAMETER);
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlintegertounicodestring)
#[test]
fn number_is_formatted_in_a_base() {
    passes(|| {
        let mut units = [0x7878; 4];
        let mut to = empty_in(&mut units);
        let mut write = |value, base| {
            let status = nt!(RtlIntegerToUnicodeString(value, base, &raw mut to));
            (status, text(&to))
        };
        for (value, base, expected) in
            [(255, 16, "FF"), (7, 8, "7"), (5, 2, "101"), (123, 0, "123")]
        {
            assert_eq!(write(value, base), (STATUS_SUCCESS, expected.into()));
        }
        let status = write(1234, 10).0;
        assert_eq!(status, nt::STATUS_BUFFER_OVERFLOW, "no zero fits");
        assert_eq!(write(1, 3).0, nt::STATUS_INVALID_PARAMETER);
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlstringfromguid)
#[test]
fn guid_is_text_in_braces() {
    passes(|| {
        let form = "{6b29fc40-ca47-1067-b31d-00dd010662da}";
        let units = wide(form);
        let source = string(&units);
        let mut guid = nt::GUID {
            Data1: 0,
            Data2: 0,
            Data3: 0,
            Data4: [0; 8],
        };
        let status = nt!(RtlGUIDFromString(&raw const source, &raw mut guid));
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(
            (guid.Data1, guid.Data2, guid.Data3),
            (0x6b29_fc40, 0xca47, 0x1067)
        );
        assert_eq!(guid.Data4, [0xb3, 0x1d, 0, 0xdd, 1, 6, 0x62, 0xda]);
        let mut made = NO_STRING;
        let status = nt!(RtlStringFromGUID(&raw const guid, &raw mut made));
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(text(&made).to_lowercase(), form);
        nt!(RtlFreeUnicodeString(&raw mut made));
        let units = wide(&form[1..]);
        let wrong = string(&units);
        let status = nt!(RtlGUIDFromString(&raw const wrong, &raw mut guid));
        assert!(status < 0, "{status:#x}");
    });
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-rtlupcaseunicodestring)
#[test]
fn string_has_a_prefix_and_an_upper_case() {
    passes(|| {
        let [prefix, longer] = ["Ab", "abc"].map(wide);
        let [prefix, longer] = [&prefix, &longer].map(|units| string(units));
        let starts = |one: &UNICODE_STRING, other: &UNICODE_STRING, insensitive: u8| {
            nt!(RtlPrefixUnicodeString(
                &raw const *one,
                &raw const *other,
                insensitive
            ))
        };
        assert_eq!(starts(&prefix, &longer, 1), 1);
        assert_eq!(starts(&prefix, &longer, 0), 0);
        assert_eq!(starts(&longer, &prefix, 1), 0, "it is longer");
        assert_eq!(nt!(RtlUpcaseUnicodeChar(u16::from(b'x'))), u16::from(b'X'));
        let mut made = NO_STRING;
        let status = nt!(RtlUpcaseUnicodeString(&raw mut made, &raw const longer, 1));
        assert_eq!((status, &*text(&made)), (STATUS_SUCCESS, "ABC"));
        nt!(RtlFreeUnicodeString(&raw mut made));
        let mut ansi = ANSI_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: null_mut(),
        };
        nt!(RtlInitString(&raw mut ansi, c"abc".as_ptr().cast()));
        assert_eq!((ansi.Length, ansi.MaximumLength), (3, 4));
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlcreateunicodestring>: a copy, which the caller frees.
#[test]
fn string_is_created_as_a_copy() {
    passes(|| {
        let mut source = wide("abc");
        let mut made = NO_STRING;
        let created = nt!(RtlCreateUnicodeString(&raw mut made, source.as_ptr()));
        source.fill(0);
        assert_eq!((created, &*text(&made)), (1, "abc"));
        assert_eq!((made.Length, made.MaximumLength), (6, 8));
        nt!(RtlFreeUnicodeString(&raw mut made));
    });
}

/// A block of a few units without a zero at the end.
#[cfg(target_os = "linux")]
fn full_block() -> UNICODE_STRING {
    const TAG: u32 = u32::from_le_bytes(*b"rtsT");
    let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 16, TAG)).cast::<u16>();
    for place in 0..8 {
        // SAFETY: the block has this length.
        unsafe { block.wrapping_add(place).write(0x7878) };
    }
    UNICODE_STRING {
        Length: 0,
        MaximumLength: 16,
        Buffer: block,
    }
}

/// Without the special pool the bytes after a block are other memory of the program.
#[cfg(target_os = "linux")]
#[test]
fn a_string_ends_in_its_block() {
    let init = || {
        let block = full_block();
        let mut made = NO_STRING;
        nt!(RtlInitUnicodeString(&raw mut made, block.Buffer));
    };
    let init_ansi = || {
        let mut ansi = ANSI_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: null_mut(),
        };
        let block = full_block();
        nt!(RtlInitAnsiString(&raw mut ansi, block.Buffer.cast()));
    };
    let append = || {
        let mut block = full_block();
        block.MaximumLength = 64;
        let more = wide("more than eight");
        nt!(RtlAppendUnicodeToString(&raw mut block, more.as_ptr()));
    };
    let compare = || {
        let mut block = full_block();
        block.Length = 64;
        let block = &raw const block;
        nt!(RtlEqualUnicodeString(block, block, 0));
    };
    let compare_ansi = || {
        let longer = ANSI_STRING {
            Length: 64,
            MaximumLength: 64,
            Buffer: full_block().Buffer.cast(),
        };
        let longer = &raw const longer;
        nt!(RtlEqualString(longer, longer, 0));
    };
    let copy = || {
        let mut block = full_block();
        block.Length = 64;
        let mut units = [0; 40];
        let mut to = empty_in(&mut units);
        nt!(RtlCopyUnicodeString(&raw mut to, &raw const block));
    };
    let compare_memory = || {
        let block = full_block().Buffer.cast();
        nt!(RtlCompareMemory(
            block,
            [0x7878_u16; 16].as_ptr().cast(),
            32
        ));
    };
    for body in [
        init as fn(),
        init_ansi,
        append,
        compare,
        compare_ansi,
        copy,
        compare_memory,
    ] {
        let violation = body::found(body);
        broke(&violation, Rule::Pool, 0xd6, &[]);
        let message = violation.to_string();
        assert!(message.contains("past the end of a block"), "{message}");
    }
}
