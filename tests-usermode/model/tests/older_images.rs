//! Images of older tools that Windows loads, and inline functions that later kernels export.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[macro_use]
mod call;
mod common;
mod image_file;

use std::sync::Arc;

use common::found_in;
use image_file::{ImageFile, Section};
use ntmodel::{Config, Driver, Image, Kernel, Rule};

/// `STATUS_UNSUCCESSFUL`, with which each of these drivers fails.
const FAILED: i32 = 0xc000_0001_u32.cast_signed();

fn load(kernel: &Arc<Kernel>, file: &ImageFile) {
    let image = Image::map("older.sys", &file.bytes()).expect("it is an image");
    // SAFETY: each image is a driver that does what the test says.
    let loaded = unsafe { Driver::load_image(kernel, image) };
    assert_eq!(loaded.err(), Some(FAILED));
}

/// `mov eax, FAILED`
const FAILS: [u8; 5] = [0xb8, 1, 0, 0, 0xc0];

/// Acquires and releases a lock in the data section, which is zero.
fn locks(imports: &[&str]) -> ImageFile {
    let with_lock = |code: &mut Vec<u8>, import| {
        // lea rcx, [the data section]
        let next = 0x1000 + u32::try_from(code.len()).expect("it is small") + 7;
        code.extend([0x48, 0x8d, 0x0d]);
        code.extend((0x2000 - next).to_le_bytes());
        code.extend(ImageFile::call(code.len(), import));
    };
    // sub rsp, 28h
    let mut code = vec![0x48, 0x83, 0xec, 0x28];
    with_lock(&mut code, 0);
    // mov dl, al
    code.extend([0x88, 0xc2]);
    with_lock(&mut code, 1);
    // add rsp, 28h
    code.extend([0x48, 0x83, 0xc4, 0x28]);
    code.extend(FAILS);
    code.push(0xc3);
    ImageFile::new(&code).imports(imports)
}

const ACQUIRE: &str = "KeAcquireSpinLockRaiseToDpc";
const RELEASE: &str = "KeReleaseSpinLock";

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializespinlock>: an inline function for x64 before
/// Windows 8, which sets the lock to zero.
#[test]
fn an_image_that_does_not_import_keinitializespinlock_may_use_zeroed_locks() {
    let inline = locks(&[ACQUIRE, RELEASE]);
    load(&Kernel::new(Config::default()), &inline);
    let exported = locks(&[ACQUIRE, RELEASE, "KeInitializeSpinLock"]);
    let violation = found_in(move |kernel| load(kernel, &exported));
    let seen = (violation.rule, violation.code, violation.parameters[0]);
    assert_eq!(
        seen,
        (Rule::LockInitialisation, 0xc4, 0x1002),
        "\n{violation}"
    );
}

/// `IMAGE_SCN_MEM_WRITE`, `_READ`, `_EXECUTE`, `_DISCARDABLE` and `IMAGE_SCN_CNT_CODE`
const INIT: u32 = 0xe200_0020;

/// <https://learn.microsoft.com/windows-hardware/drivers/driversecurity/implement-hvci-compatible-code>: only memory integrity refuses
/// such a section.
#[test]
fn a_discardable_section_can_be_written_and_executed() {
    let mut code = FAILS.to_vec();
    code.push(0xc3);
    let section = Section {
        name: "INIT",
        characteristics: INIT,
    };
    let file = ImageFile::new(&code).with(|file| file.more = Some(section));
    load(&Kernel::new(Config::default()), &file);
    let file = file.with(|file| file.text_characteristics = INIT);
    load(&Kernel::new(Config::default()), &file);
}

/// `lea` or `call` operands: the distance from the end of an instruction to a place in the image.
fn distance(code: &[u8], to: u32) -> [u8; 4] {
    let next = 0x1000 + u32::try_from(code.len()).expect("it is small") + 4;
    to.wrapping_sub(next).to_le_bytes()
}

/// An image with a pageable section at 5000h. It raises the IRQL, lowers it again if `lowers` is set, and executes `instruction`, whose
/// operand is the distance to the section.
fn pageable(lowers: bool, instruction: &[u8]) -> ImageFile {
    // sub rsp, 28h; mov eax, [the section]; mov cl, 2; call KfRaiseIrql
    let mut code = vec![0x48, 0x83, 0xec, 0x28, 0x8b, 0x05];
    code.extend(distance(&code, 0x5000));
    code.extend([0xb1, 2]);
    code.extend(ImageFile::call(code.len(), 0));
    if lowers {
        // mov cl, al; call KeLowerIrql
        code.extend([0x88, 0xc1]);
        code.extend(ImageFile::call(code.len(), 1));
    }
    code.extend(instruction);
    code.extend(distance(&code, 0x5000));
    code.extend([0x48, 0x83, 0xc4, 0x28]);
    code.extend(FAILS);
    code.push(0xc3);
    let section = Section {
        name: "PAGEDATA",
        characteristics: 0xc000_0040,
    };
    let file = ImageFile::new(&code).imports(&["KfRaiseIrql", "KeLowerIrql"]);
    file.with(|file| file.more = Some(section))
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/making-drivers-pageable>
#[test]
fn a_pageable_section_is_not_used_at_dispatch_level() {
    // mov eax, [the section]
    let reads: &[u8] = &[0x8b, 0x05];
    // call the section
    let calls: &[u8] = &[0xe8];
    load(&Kernel::new(Config::default()), &pageable(true, reads));
    for (instruction, what) in [(reads, "accesses"), (calls, "runs")] {
        let file = pageable(false, instruction);
        let violation = found_in(move |kernel| load(kernel, &file));
        let broken = (violation.rule, violation.code);
        assert_eq!(broken, (Rule::PagedMemory, 0xd1), "\n{violation}");
        assert!(violation.what.contains(what), "\n{violation}");
    }
}

/// An image like that of `pageable`, which locks the section before it raises the IRQL. If `unlocks` is set, it also unlocks the section
/// before that.
fn locked(unlocks: bool) -> ImageFile {
    // push rbx; sub rsp, 20h; lea rcx, [the section]; call MmLockPagableDataSection; mov rbx, rax
    let mut code = vec![0x53, 0x48, 0x83, 0xec, 0x20, 0x48, 0x8d, 0x0d];
    code.extend(distance(&code, 0x5000));
    code.extend(ImageFile::call(code.len(), 2));
    code.extend([0x48, 0x89, 0xc3]);
    if unlocks {
        // mov rcx, rbx; call MmUnlockPagableImageSection
        code.extend([0x48, 0x89, 0xd9]);
        code.extend(ImageFile::call(code.len(), 3));
    }
    // mov cl, 2; call KfRaiseIrql; mov edx, [the section]; mov cl, al; call KeLowerIrql
    code.extend([0xb1, 2]);
    code.extend(ImageFile::call(code.len(), 0));
    code.extend([0x8b, 0x15]);
    code.extend(distance(&code, 0x5000));
    code.extend([0x88, 0xc1]);
    code.extend(ImageFile::call(code.len(), 1));
    if !unlocks {
        code.extend([0x48, 0x89, 0xd9]);
        code.extend(ImageFile::call(code.len(), 3));
    }
    code.extend([0x48, 0x83, 0xc4, 0x20, 0x5b]);
    code.extend(FAILS);
    code.push(0xc3);
    let section = Section {
        name: "PAGEDATA",
        characteristics: 0xc000_0040,
    };
    let imports = [
        "KfRaiseIrql",
        "KeLowerIrql",
        "MmLockPagableDataSection",
        "MmUnlockPagableImageSection",
    ];
    let file = ImageFile::new(&code).imports(&imports);
    file.with(|file| file.more = Some(section))
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmlockpagabledatasection>
#[test]
fn a_pageable_section_is_used_at_dispatch_level_while_it_is_locked() {
    load(&Kernel::new(Config::default()), &locked(false));
    let violation = found_in(move |kernel| load(kernel, &locked(true)));
    let broken = (violation.rule, violation.code);
    assert_eq!(broken, (Rule::PagedMemory, 0xd1), "\n{violation}");
}

/// `DRIVER_OBJECT.DriverStart` and `DriverSize`, `DriverInit`, and the second of `MajorFunction`, as their offsets.
#[test]
fn a_driver_object_has_the_addresses_of_the_image() {
    // The start is that of the file: "MZ". mov rax, [rcx+18h]; cmp word ptr [rax], 5a4dh; jne to the other status
    let mut code = vec![
        0x48, 0x8b, 0x41, 0x18, 0x66, 0x81, 0x38, 0x4d, 0x5a, 0x75, 41,
    ];
    // The size is that in the header: cmp dword ptr [rcx+20h], 6000h; jne
    code.extend([0x81, 0x79, 0x20, 0, 0x60, 0, 0, 0x75, 32]);
    // The entry point is at 1000h: add rax, 1000h; cmp rax, [rcx+58h]; jne
    code.extend([0x48, 0x05, 0, 0x10, 0, 0, 0x48, 0x3b, 0x41, 0x58, 0x75, 20]);
    // cmp qword ptr [rcx+78h], 0; je
    code.extend([0x48, 0x83, 0x79, 0x78, 0, 0x74, 13]);
    code.extend(FAILS);
    // ret; and the other status
    code.extend([0xc3, 0, 0, 0, 0, 0, 0, 0, 0xb8, 2, 0, 0, 0xc0, 0xc3]);
    load(&Kernel::new(Config::default()), &ImageFile::new(&code));
}

/// An image that imports two routines that the model lacks, and calls the second of its imports, or its third.
fn lacks(calls_third: bool) -> ImageFile {
    let mut code = vec![0x48, 0x83, 0xec, 0x28];
    code.extend(ImageFile::call(code.len(), 1 + u32::from(calls_third)));
    code.extend([0x48, 0x83, 0xc4, 0x28]);
    code.extend(FAILS);
    code.push(0xc3);
    ImageFile::new(&code).imports(&["KeFirst", "KeQueryTimeIncrement", "KeThird"])
}

#[test]
fn a_call_of_a_routine_that_the_model_lacks_stops_the_system() {
    let load = |kernel: &Arc<Kernel>, file: &ImageFile| {
        assert!(Image::map("partly.sys", &file.bytes()).is_err());
        let image = Image::map_partly("partly.sys", &file.bytes()).expect("it is an image");
        // SAFETY: the image is a driver that does what its description says.
        let loaded = unsafe { Driver::load_image(kernel, image) };
        assert_eq!(loaded.err(), Some(FAILED));
    };
    load(&Kernel::new(Config::default()), &lacks(false));
    let violation = found_in(move |kernel| load(kernel, &lacks(true)));
    assert_eq!(violation.rule, Rule::MissingRoutine, "\n{violation}");
    assert!(violation.what.contains("KeThird"), "\n{violation}");
    let caller = violation.callers.first().map(String::as_str);
    assert_eq!(caller, Some("the image at 0x1009"), "\n{violation}");
    // A routine of another driver.
    let file = lacks(false).with(|file| file.library = "WMILIB.SYS");
    let violation = found_in(move |kernel| load(kernel, &file));
    assert!(
        violation.what.contains("WMILIB.SYS!KeQueryTimeIncrement"),
        "\n{violation}"
    );
}

/// An image that queries the address of a routine, and calls it if `calls` is set. It fails with `FAILED`, or with another status if
/// there is no such routine.
fn queries(routine: &str, calls: bool) -> ImageFile {
    let units: Vec<u8> = routine.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let [low, high] = u16::try_from(units.len())
        .expect("it is short")
        .to_le_bytes();
    // A UNICODE_STRING, and its text.
    let mut data = vec![low, high, low, high, 0, 0, 0, 0];
    data.extend((ImageFile::BASE + 0x2010).to_le_bytes());
    data.extend(units);
    // sub rsp, 28h; lea rcx, [the data section]
    let mut code = vec![0x48, 0x83, 0xec, 0x28, 0x48, 0x8d, 0x0d];
    code.extend(distance(&code, 0x2000));
    code.extend(ImageFile::call(code.len(), 0));
    // test rax, rax; jz to the other status; call rax, or nothing
    code.extend([0x48, 0x85, 0xc0, 0x74, 12]);
    code.extend(if calls { [0xff, 0xd0] } else { [0x90, 0x90] });
    code.extend(FAILS);
    // add rsp, 28h; ret; mov eax, STATUS_NOT_IMPLEMENTED; add rsp, 28h; ret
    code.extend([
        0x48, 0x83, 0xc4, 0x28, 0xc3, 0xb8, 2, 0, 0, 0xc0, 0x48, 0x83, 0xc4, 0x28, 0xc3,
    ]);
    let file = ImageFile::new(&code).imports(&["MmGetSystemRoutineAddress"]);
    file.data(&data).relocation(10, 0x2008)
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmgetsystemroutineaddress>: NULL for a name that is not found.
#[test]
fn an_image_gets_the_address_of_a_routine() {
    let kernel = Kernel::new(Config::default());
    load(&kernel, &queries("KeQueryTimeIncrement", true));
    // A routine whose address wdmsec.lib queries.
    load(&kernel, &queries("IoCreateDeviceSecure", false));
    load(&kernel, &queries("IoValidateDeviceIoControlAccess", false));
    let unknown = queries("KeQueryTimeIncrements", true);
    let image = Image::map("older.sys", &unknown.bytes());
    let kernel = Kernel::new(Config::default());
    // SAFETY: the image is a driver that does what its description says.
    let loaded = unsafe { Driver::load_image(&kernel, image.expect("it is an image")) };
    assert_eq!(loaded.err(), Some(0xc000_0002_u32.cast_signed()));
}
