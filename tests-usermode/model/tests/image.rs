//! Images: those that are refused, and the kernel as a running image observes it. Each image is made here from a few instructions.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[macro_use]
mod call;
mod common;
mod image_file;
mod steps;

use std::{cell::UnsafeCell, collections::BTreeSet, fs, path::Path, sync::Arc};

use common::found_in;
use image_file::{ImageFile, Section};
use ntmodel::{Config, Driver, Image, ImageError, Kernel, Rule, Violation};
use steps::{Steps, one_request};

/// The low bits of the status that `DriverEntry` fails with are its result.
const FAILED: u32 = 0xc000_0000;

fn load(kernel: &Arc<Kernel>, file: &[u8]) -> Result<Driver, i32> {
    let image = Image::map("test.sys", file).expect("it is an image");
    // SAFETY: each test's image is a driver that does what it says.
    unsafe { Driver::load_image(kernel, image) }
}

/// The result of a `DriverEntry` of these instructions, which leave it in EAX.
fn result_of(code: &[u8], imports: &[&str]) -> u32 {
    let kernel = Kernel::new(Config::default());
    let mut code = code.to_vec();
    // or eax, FAILED; ret
    code.extend([0x0d, 0, 0, 0, 0xc0, 0xc3]);
    let status = load(&kernel, &ImageFile::new(&code).imports(imports).bytes());
    status.expect_err("it fails").cast_unsigned() & !FAILED
}

/// Returns the violation of a driver whose `DriverEntry` has these instructions.
fn violation_of(code: &[u8]) -> Violation {
    let file = ImageFile::new(code).bytes();
    found_in(move |kernel| drop(load(kernel, &file)))
}

fn refused(file: &ImageFile) -> String {
    refused_bytes(&file.bytes())
}

fn refused_bytes(bytes: &[u8]) -> String {
    let error = Image::map("test.sys", bytes).expect_err("it is refused");
    error.to_string()
}

const RETURN: &[u8] = &[0xc3];

#[test]
fn every_routine_of_the_model_can_be_imported() {
    fn visit(path: &Path, found: &mut BTreeSet<String>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("the folder can be read") {
                visit(&entry.expect("the entry can be read").path(), found);
            }
            return;
        }
        let text = fs::read_to_string(path).expect("the file can be read");
        for part in text.split("unsafe(no_mangle)").skip(1) {
            let part = part.replace("pub(crate)", "");
            let item = part.split(['(', ':']).next().unwrap_or_default();
            let name = item.split_whitespace().next_back();
            found.extend(name.map(str::to_owned));
        }
    }
    let mut exported = BTreeSet::new();
    visit(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut exported,
    );
    assert!(exported.contains("KeSetEvent"), "{exported:?}");
    let known: BTreeSet<_> = Image::routines().map(str::to_owned).collect();
    let lacking: Vec<_> = exported.difference(&known).collect();
    assert!(lacking.is_empty(), "add to image/routines.rs: {lacking:?}");
}

#[test]
fn every_missing_import_is_named() {
    let file = ImageFile::new(RETURN).imports(&["KeFirst", "KeSetEvent", "KeSecond"]);
    let error = Image::map("test.sys", &file.bytes()).expect_err("it is refused");
    let ImageError::Missing(missing) = &error else {
        panic!("{error}");
    };
    assert_eq!(*missing, ["KeFirst", "KeSecond"]);
    let file = ImageFile::new(RETURN)
        .with(|file| file.library = "wdfldr.sys")
        .imports(&["WdfVersionBind"]);
    assert!(refused(&file).contains("wdfldr.sys!WdfVersionBind"));
}

#[test]
fn routines_of_wmilib_are_not_the_kernels() {
    let file = ImageFile::new(RETURN).imports(&["WmiSystemControl"]);
    assert!(refused(&file).contains("WmiSystemControl"));
    let of_library = |routine: &'static str| {
        let file = ImageFile::new(RETURN).with(|file| file.library = "WMILIB.SYS");
        Image::map("test.sys", &file.imports(&[routine]).bytes())
    };
    assert!(of_library("WmiSystemControl").is_ok());
    assert!(of_library("KeSetEvent").is_err());
}

#[test]
fn image_that_windows_would_not_load_is_refused_with_the_reason() {
    let file = ImageFile::new(RETURN);
    let changed = |change: fn(&mut ImageFile)| refused(&file.clone().with(change));
    assert!(changed(|file| file.machine = 0xaa64).contains("machine 0xaa64"));
    assert!(changed(|file| file.subsystem = 3).contains("subsystem is 3"));
    assert!(changed(|file| file.characteristics = 0x23).contains("stripped"));
    assert!(changed(|file| file.alignment = 0x200).contains("not aligned to pages"));
    assert!(changed(|file| file.entry = 0x2000).contains("entry point"));
    assert!(refused(&file.clone().relocation(10, 0x3_fffc)).contains("relocation"));
    assert!(refused(&file.clone().relocation(3, 0x2000)).contains("type 3"));
    let section = Section {
        name: "RWX",
        characteristics: 0xe000_0020,
    };
    let writable = file.with(|file| file.more = Some(section));
    assert!(refused(&writable).contains("writable and executable"));
    assert!(refused_bytes(b"MZ").contains("not a PE32+ image"));
    assert!(refused_bytes(&[]).contains("not a PE32+ image"));
}

#[test]
fn a_truncated_or_damaged_file_does_not_crash_the_reader() {
    let whole = ImageFile::new(RETURN).imports(&["KeSetEvent"]).bytes();
    for length in 0..whole.len() {
        // The last bytes of the last section are padding, which is not in the memory.
        drop(Image::map("test.sys", &whole[..length]));
    }
    for place in 0..0x400 {
        for value in [0, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[place] = value;
            drop(Image::map("test.sys", &damaged));
        }
    }
}

#[test]
fn an_import_is_called_by_the_convention_of_an_image() {
    // sub rsp, 40; xor ecx, ecx; call [KeGetCurrentProcessorNumberEx]; add rsp, 40
    let mut code = vec![0x48, 0x83, 0xec, 0x28, 0x31, 0xc9];
    code.extend(ImageFile::call(code.len(), 0));
    code.extend([0x48, 0x83, 0xc4, 0x28]);
    assert_eq!(result_of(&code, &["KeGetCurrentProcessorNumberEx"]), 0);
    // mov ecx, 7; call [KfRaiseIrql]; mov cl, 0; call [KeLowerIrql]; mov eax, 5: both take a byte.
    let mut code = vec![0x48, 0x83, 0xec, 0x28, 0xb9, 7, 0xff, 0xff, 0xff];
    code.extend(ImageFile::call(code.len(), 0));
    code.extend([0x66, 0xb9, 0x00, 0xff]);
    code.extend(ImageFile::call(code.len(), 1));
    code.extend([0x48, 0x83, 0xc4, 0x28, 0xb8, 5, 0, 0, 0]);
    assert_eq!(result_of(&code, &["KfRaiseIrql", "KeLowerIrql"]), 5);
}

#[test]
fn image_without_an_address_to_relocate_is_loaded() {
    // mov eax, 0xc0000005; ret
    let file =
        ImageFile::new(&[0xb8, 5, 0, 0, 0xc0, 0xc3]).with(|file| file.has_relocations = false);
    let loaded = load(&Kernel::new(Config::default()), &file.bytes());
    assert_eq!(loaded.err().map(i32::cast_unsigned), Some(FAILED | 5));
}

#[test]
fn the_irql_is_read_and_written_as_a_register() {
    // mov rax, cr8
    assert_eq!(result_of(&[0x44, 0x0f, 0x20, 0xc0], &[]), 0);
    // mov eax, 2; mov cr8, rax; mov rcx, cr8; xor edx, edx; mov cr8, rdx; mov eax, ecx
    let code = [
        0xb8, 2, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc1, 0x31, 0xd2, 0x44, 0x0f,
        0x22, 0xc2, 0x89, 0xc8,
    ];
    assert_eq!(result_of(&code, &[]), 2);
    // mov eax, 2; mov cr8, rax; mov eax, 0xc0000001; ret
    let raised = violation_of(&[
        0xb8, 2, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0xb8, 1, 0, 0, 0xc0, 0xc3,
    ]);
    assert_eq!(raised.rule, Rule::IrqlReturn, "{raised}");
}

#[test]
fn no_register_changes_when_the_irql_is_written() {
    // mov ecx, 1; mov edx, 2; mov r8d, 4; mov r11d, 8; mov esi, 16 (kept in r10); movq xmm1, rsi; mov eax, 2; mov cr8, rax;
    // mov cr8, rax; xor eax, eax; mov cr8, rax; lea eax, [rcx + rdx]; add eax, r8d; add eax, r11d; movq rcx, xmm1; add eax, ecx; mov rsi, r10
    let code = [
        0x49, 0x89, 0xf2, 0xb9, 1, 0, 0, 0, 0xba, 2, 0, 0, 0, 0x41, 0xb8, 4, 0, 0, 0, 0x41, 0xbb,
        8, 0, 0, 0, 0xbe, 16, 0, 0, 0, 0x66, 0x48, 0x0f, 0x6e, 0xce, 0xb8, 2, 0, 0, 0, 0x44, 0x0f,
        0x22, 0xc0, 0x44, 0x0f, 0x22, 0xc0, 0x31, 0xc0, 0x44, 0x0f, 0x22, 0xc0, 0x8d, 0x04, 0x11,
        0x44, 0x01, 0xc0, 0x44, 0x01, 0xd8, 0x66, 0x48, 0x0f, 0x7e, 0xc9, 0x01, 0xc8, 0x4c, 0x89,
        0xd6,
    ];
    assert_eq!(result_of(&code, &[]), 31);
}

#[test]
fn the_processor_and_the_thread_are_read_behind_gs() {
    // mov eax, gs:[184h]
    assert_eq!(result_of(&[0x65, 0x8b, 0x04, 0x25, 0x84, 1, 0, 0], &[]), 0);
    // mov rax, gs:[188h]; mov rcx, gs:[188h]; sub rax, rcx
    let code = [
        0x65, 0x48, 0x8b, 0x04, 0x25, 0x88, 1, 0, 0, 0x65, 0x48, 0x8b, 0x0c, 0x25, 0x88, 1, 0, 0,
        0x48, 0x29, 0xc8,
    ];
    assert_eq!(result_of(&code, &[]), 0);
    // mov rax, gs:[20h]
    let other = violation_of(&[0x65, 0x48, 0x8b, 0x04, 0x25, 0x20, 0, 0, 0, 0xc3]);
    assert_eq!(other.rule, Rule::Instruction, "{other}");
    assert!(other.what.contains("gs:[20h]"), "{other}");
    // mov rax, gs:[188h]; mov rax, [rax]
    let thread = violation_of(&[
        0x65, 0x48, 0x8b, 0x04, 0x25, 0x88, 1, 0, 0, 0x48, 0x8b, 0x00, 0xc3,
    ]);
    assert_eq!(thread.rule, Rule::Pointer, "{thread}");
}

/// As the WDK's headers define `KeQuerySystemTime`, `KeQueryInterruptTime` and `KeQueryTickCount`, at addresses that are part of the system's interface.
#[test]
fn the_time_is_read_in_memory_that_the_kernel_shares() {
    // mov rax, [0FFFFF78000000014h]; mov rcx, 0FFFFF78000000320h; mov rdx, [rcx]; sub rax, rdx; setc al; movzx eax, al
    let code = [
        0x48, 0xa1, 0x14, 0, 0, 0, 0x80, 0xf7, 0xff, 0xff, 0x48, 0xb9, 0x20, 3, 0, 0, 0x80, 0xf7,
        0xff, 0xff, 0x48, 0x8b, 0x11, 0x48, 0x29, 0xd0, 0x0f, 0x92, 0xc0, 0x0f, 0xb6, 0xc0,
    ];
    assert_eq!(result_of(&code, &[]), 0, "fewer ticks than units of 100 ns");
    // mov rax, [0FFFFF78000000008h]; mov rcx, 0FFFFF78000000014h; mov rdx, [rcx]; sub rdx, rax; setc al; movzx eax, al
    let code = [
        0x48, 0xa1, 8, 0, 0, 0, 0x80, 0xf7, 0xff, 0xff, 0x48, 0xb9, 0x14, 0, 0, 0, 0x80, 0xf7,
        0xff, 0xff, 0x48, 0x8b, 0x11, 0x48, 0x29, 0xc2, 0x0f, 0x92, 0xc0, 0x0f, 0xb6, 0xc0,
    ];
    assert_eq!(
        result_of(&code, &[]),
        0,
        "the interrupt time is not after the system time"
    );
    // mov rax, [0FFFFF78000000500h]: no number that the model has
    let other = violation_of(&[0x48, 0xa1, 0, 5, 0, 0, 0x80, 0xf7, 0xff, 0xff, 0xc3]);
    assert_eq!(other.rule, Rule::Pointer, "{other}");
}

#[test]
fn unsupported_instruction_is_named() {
    let cli = violation_of(&[0xfa, 0xc3]);
    assert_eq!(cli.rule, Rule::Instruction, "{cli}");
    assert!(cli.what.contains("cli"), "{cli}");
    // mov ecx, 3; int 29h
    let list = violation_of(&[0xb9, 3, 0, 0, 0, 0xcd, 0x29]);
    assert_eq!((list.code, list.rule), (0x139, Rule::ListEntry), "{list}");
    assert_eq!(list.parameters[0], 3);
    // mov ecx, 2; int 29h: the security cookie
    let cookie = violation_of(&[0xb9, 2, 0, 0, 0, 0xcd, 0x29]);
    assert_eq!(
        (cookie.code, cookie.rule),
        (0x139, Rule::BugCheck),
        "{cookie}"
    );
}

#[test]
fn code_is_not_written_and_data_not_executed() {
    // mov [rip - 7], eax
    let code = violation_of(&[0x89, 0x05, 0xfa, 0xff, 0xff, 0xff, 0xc3]);
    assert_eq!(code.code, 0x50, "{code}");
    assert!(code.what.contains("writes to"), "{code}");
    // lea rax, [rip + 0x1000 - 7 - 0]: the next section; jmp rax
    let file = ImageFile::new(&[0x48, 0x8d, 0x05, 0xf9, 0x0f, 0, 0, 0xff, 0xe0]).data(RETURN);
    let data = found_in(move |kernel| drop(load(kernel, &file.bytes())));
    assert_eq!(data.code, 0x50, "{data}");
}

#[test]
fn an_address_in_the_image_is_relocated() {
    // mov rax, [rip + the quadword in the next section]; lea rcx, [rip - 14: the start]; sub rax, rcx
    let code = [
        0x48, 0x8b, 0x05, 0xf9, 0x0f, 0, 0, 0x48, 0x8d, 0x0d, 0xf2, 0xff, 0xff, 0xff, 0x48, 0x29,
        0xc8, 0x0d, 0, 0, 0, 0xc0, 0xc3,
    ];
    let file = ImageFile::new(&code)
        .data(&(ImageFile::BASE + 0x1000).to_le_bytes())
        .relocation(10, 0x2000);
    let kernel = Kernel::new(Config::default());
    let status = load(&kernel, &file.bytes()).expect_err("it fails");
    assert_eq!(status.cast_unsigned(), FAILED);
}

#[test]
fn discardable_sections_are_unmapped_after_driver_entry() {
    // The driver object's extension is at 0x30, and its AddDevice at 8: lea rax, [rip - 7]; mov rdx, [rcx + 30h];
    // mov [rdx + 8], rax; xor eax, eax; ret
    let code = [
        0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0x48, 0x8b, 0x51, 0x30, 0x48, 0x89, 0x42, 0x08,
        0x31, 0xc0, 0xc3,
    ];
    let file = ImageFile::new(&code)
        .with(|file| file.text_characteristics = 0x6200_0020)
        .bytes();
    let found = found_in(move |kernel| {
        let driver = load(kernel, &file).expect("it loads");
        let _ = driver.add_device();
    });
    assert_eq!(found.code, 0x50, "{found}");
    assert_eq!(found.routine, "AddDevice", "{found}");
}

#[test]
fn exception_is_a_bug_check_with_its_status() {
    for (code, status) in [
        // ud2
        (&[0x0f, 0x0b][..], 0xc000_001d),
        // xor ecx, ecx; div ecx
        (&[0x31, 0xc9, 0xf7, 0xf1], 0xc000_0094),
        // int 3
        (&[0xcc], 0x8000_0003),
    ] {
        let file = ImageFile::new(code).bytes();
        let found = found_in(move |kernel| drop(load(kernel, &file)));
        assert_eq!((found.code, found.parameters[0]), (0x1e, status), "{found}");
        assert_eq!(found.routine, "DriverEntry", "{found}");
    }
}

/// A driver in this program, which is loaded at the same time as an image.
struct DriverInProgram;

impl Steps for DriverInProgram {
    type Own = ();

    fn control(_: *mut nt::DEVICE_OBJECT, (): &(), irp: *mut nt::IRP, _: u32) -> nt::NTSTATUS {
        steps::complete(irp, nt::STATUS_SUCCESS)
    }
}

#[test]
fn a_driver_of_the_program_and_an_image_are_loaded_side_by_side() {
    // lea rax, [rip + 7: the last instruction]; mov [rcx + 68h], rax: DriverUnload; xor eax, eax; ret; ret
    let code = [
        0x48, 0x8d, 0x05, 7, 0, 0, 0, 0x48, 0x89, 0x41, 0x68, 0x31, 0xc0, 0xc3, 0xc3,
    ];
    let kernel = Kernel::new(Config::default());
    let image = load(&kernel, &ImageFile::new(&code).bytes()).expect("it loads");
    one_request::<DriverInProgram>(&kernel);
    image.unload();
}

#[test]
fn a_lookaside_list_has_routines_of_the_convention_that_calls_them() {
    // The first bytes of `lea` with an address, for each register.
    const RCX: [u8; 3] = [0x48, 0x8d, 0x0d];
    const RDX: [u8; 3] = [0x48, 0x8d, 0x15];
    const R9: [u8; 3] = [0x4c, 0x8d, 0x0d];
    const IMPORTS: &[&str] = &[
        "ExInitializeLookasideListEx",
        "ExpInterlockedPushEntrySList",
        "ExDeleteLookasideListEx",
    ];
    // An instruction that loads the address of the list, which the data begins with.
    let list = |code: &mut Vec<u8>, instruction: [u8; 3]| {
        code.extend(instruction);
        let next = u32::try_from(code.len() + 4).expect("it is small");
        code.extend((0x1000 - next).to_le_bytes());
    };
    // mov ecx, 200h; mov edx, 32; mov r8d, 'Test'; call [r9 + 30h]: AllocateEx
    let allocate = |code: &mut Vec<u8>| {
        list(code, R9);
        code.extend([0xb9, 0, 2, 0, 0, 0xba, 32, 0, 0, 0, 0x41, 0xb8]);
        code.extend(*b"Test");
        code.extend([0x41, 0xff, 0x51, 0x30]);
    };
    // sub rsp, 68h; xor edx, edx; xor r8d, r8d; mov r9d, 200h
    let mut code = vec![0x48, 0x83, 0xec, 0x68, 0x31, 0xd2, 0x45, 0x31, 0xc0];
    code.extend([0x41, 0xb9, 0, 2, 0, 0]);
    // mov qword ptr [rsp + place], value: the flags, the size, the tag and the depth
    for (place, value) in [
        (0x20, [0; 4]),
        (0x28, [32, 0, 0, 0]),
        (0x30, *b"Test"),
        (0x38, [0; 4]),
    ] {
        code.extend([0x48, 0xc7, 0x44, 0x24, place]);
        code.extend(value);
    }
    list(&mut code, RCX);
    code.extend(ImageFile::call(code.len(), 0));
    // One block is freed by FreeEx: mov rcx, rax; call [rdx + 38h]
    allocate(&mut code);
    code.extend([0x48, 0x89, 0xc1]);
    list(&mut code, RDX);
    code.extend([0xff, 0x52, 0x38]);
    // Another is kept, so that it is freed when the list is deleted: mov rdx, rax
    allocate(&mut code);
    code.extend([0x48, 0x89, 0xc2]);
    list(&mut code, RCX);
    code.extend(ImageFile::call(code.len(), 1));
    list(&mut code, RCX);
    code.extend(ImageFile::call(code.len(), 2));
    // add rsp, 68h; mov eax, 0xc0000000; ret
    code.extend([0x48, 0x83, 0xc4, 0x68, 0xb8, 0, 0, 0, 0xc0, 0xc3]);
    let file = ImageFile::new(&code).data(&[0; 0x80]).imports(IMPORTS);
    let kernel = Kernel::new(Config::default());
    load(&kernel, &file.bytes()).expect_err("it fails");
}

#[test]
fn dbg_print_formats_its_arguments() {
    // sub rsp, 56; lea rcx, [format]; mov edx, 1; mov r8d, 2; mov r9d, 3; mov dword ptr [rsp + 32], 4; call [DbgPrint];
    // add rsp, 56; mov eax, 0xc0000000; ret
    let mut code = vec![0x48, 0x83, 0xec, 0x38, 0x48, 0x8d, 0x0d];
    let next = u32::try_from(code.len() + 4).expect("it is small");
    code.extend((0x1000 - next).to_le_bytes());
    code.extend([
        0xba, 1, 0, 0, 0, 0x41, 0xb8, 2, 0, 0, 0, 0x41, 0xb9, 3, 0, 0, 0,
    ]);
    code.extend([0xc7, 0x44, 0x24, 0x20, 4, 0, 0, 0]);
    code.extend(ImageFile::call(code.len(), 0));
    code.extend([0x48, 0x83, 0xc4, 0x38, 0xb8, 0, 0, 0, 0xc0, 0xc3]);
    let file = ImageFile::new(&code)
        .data(b"%d-%u-%x-%02d\n\0")
        .imports(&["DbgPrint"]);
    let kernel = Kernel::new(Config {
        print: false,
        ..Config::default()
    });
    load(&kernel, &file.bytes()).expect_err("it fails");
    assert_eq!(kernel.messages(), ["1-2-3-04"]);
}

/// An image calls inline functions without the model: it marks the IRP pending.
fn mark_unseen(irp: *mut nt::IRP) -> nt::NTSTATUS {
    let location = nt!(irp::current_stack_location(irp));
    // SAFETY: the IRP is the dispatch routine's.
    unsafe { (*location).Control |= nt::SL_PENDING_RETURNED };
    nt::STATUS_PENDING
}

struct Lists {
    head: UnsafeCell<nt::LIST_ENTRY>,
    lock: UnsafeCell<nt::KSPIN_LOCK>,
    queue: UnsafeCell<nt::KDEVICE_QUEUE>,
}

fn initialise(lists: &Lists) {
    nt!(list::InitializeListHead(lists.head.get()));
    nt!(KeInitializeSpinLock(lists.lock.get()));
    nt!(KeInitializeDeviceQueue(lists.queue.get()));
}

struct InterlockedList;

impl Steps for InterlockedList {
    type Own = Lists;

    fn add(_: *mut nt::DEVICE_OBJECT, own: &Lists) {
        initialise(own);
    }

    fn control(_: *mut nt::DEVICE_OBJECT, own: &Lists, irp: *mut nt::IRP, _: u32) -> nt::NTSTATUS {
        let entry = nt::irp::list_entry(irp);
        nt!(ExInterlockedInsertTailList(
            own.head.get(),
            entry,
            own.lock.get()
        ));
        mark_unseen(irp)
    }
}

struct DeviceQueue;

impl Steps for DeviceQueue {
    type Own = Lists;

    fn add(_: *mut nt::DEVICE_OBJECT, own: &Lists) {
        initialise(own);
    }

    fn control(_: *mut nt::DEVICE_OBJECT, own: &Lists, irp: *mut nt::IRP, _: u32) -> nt::NTSTATUS {
        let mut irql = 0;
        nt!(IoAcquireCancelSpinLock(&raw mut irql));
        for _ in 0..2 {
            nt!(KeInsertDeviceQueue(
                own.queue.get(),
                nt::irp::device_queue_entry(irp)
            ));
        }
        nt!(IoReleaseCancelSpinLock(irql));
        mark_unseen(irp)
    }
}

#[test]
fn an_irp_that_is_marked_after_it_was_queued_is_found_when_its_routine_returns() {
    let list = found_in(one_request::<InterlockedList>);
    assert_eq!(list.rule, Rule::MarkingInterlockedQueuedIrps, "{list}");
    let queue = found_in(one_request::<DeviceQueue>);
    assert_eq!(queue.rule, Rule::MarkingQueuedIrps, "{queue}");
}
