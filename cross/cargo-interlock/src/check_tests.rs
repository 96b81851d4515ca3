//! Changes one property at a time, and checks that exactly the check of that property fails.

use object::pe;

use super::*;
use crate::{finish::finish, sample::Sample};

/// Returns the names of the checks that an x86-64 image fails.
fn failures(image: &[u8]) -> Vec<&'static str> {
    failures_for(Arch::X64, image)
}

/// Returns the names of the checks that an image for an architecture fails.
fn failures_for(arch: Arch, image: &[u8]) -> Vec<&'static str> {
    let image = Image::parse(image).unwrap();
    let checks = all(&image, arch, "interlock.pdb", &["/home/".into()]);
    let failed = checks.into_iter().filter(|check| check.outcome.is_err());
    failed.map(|check| check.name).collect()
}

/// Returns the names of the checks that the image fails after a change.
fn failures_after(change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    let mut sample = Sample::default();
    change(&mut sample);
    failures(&sample.finished())
}

#[test]
fn sample_image_passes_every_check() {
    assert!(failures(&crate::sample::image()).is_empty());
}

#[test]
fn machine() {
    for (machine, amd64, arm64) in [
        (pe::IMAGE_FILE_MACHINE_AMD64, &[][..], &["machine"][..]),
        (pe::IMAGE_FILE_MACHINE_ARM64, &["machine"], &[]),
        (pe::IMAGE_FILE_MACHINE_IA64, &["machine"], &["machine"]),
    ] {
        let sample = Sample {
            machine,
            ..Sample::default()
        };
        let image = sample.finished();
        assert_eq!(failures_for(Arch::X64, &image), amd64, "{machine:?}");
        assert_eq!(failures_for(Arch::Arm64, &image), arm64, "{machine:?}");
    }
}

#[test]
fn subsystem() {
    let change = |image: &mut Sample| image.subsystem = pe::IMAGE_SUBSYSTEM_WINDOWS_CUI;
    assert_eq!(failures_after(change), ["subsystem"]);
}

#[test]
fn dll_characteristics() {
    for (flag, name) in [
        (NX_COMPAT, "data is not executable"),
        (DYNAMIC_BASE, "loads at any address"),
        (HIGH_ENTROPY_VA, "loads at any 64-bit address"),
        (FORCE_INTEGRITY, "signature required"),
    ] {
        assert_eq!(failures_after(|image| image.dll_flags.0 &= !flag.0), [name]);
    }
}

#[test]
fn relocations() {
    // Position-independent code needs no relocations.
    assert!(failures_after(|image| image.relocations = false).is_empty());
    let failed = failures_after(|image| image.flags.0 |= IMAGE_FILE_RELOCS_STRIPPED.0);
    assert_eq!(failed, ["relocations"]);
}

#[test]
fn checksum() {
    let mut image = crate::sample::image();
    *image.last_mut().unwrap() ^= 1;
    assert_eq!(failures(&image), ["checksum"]);
}

#[test]
fn alignment() {
    let failed = failures_after(|image| (image.alignment, image.entry) = (0x2000, 0x2000));
    assert_eq!(failed, ["alignment"]);
}

#[test]
fn section_without_flags() {
    let failed = failures_after(|image| image.sections.push((*b".retplne", 0)));
    assert_eq!(failed, ["sections have flags", "non-paged except PAGE"]);
}

#[test]
fn writable_and_executable() {
    let change = |image: &mut Sample| image.sections[0].1 |= IMAGE_SCN_MEM_WRITE.0;
    assert_eq!(failures_after(change), ["no writable executable section"]);
}

#[test]
fn pageable_code_outside_page() {
    let change = |image: &mut Sample| image.sections[0].1 &= !IMAGE_SCN_MEM_NOT_PAGED.0;
    assert_eq!(failures_after(change), ["non-paged except PAGE"]);
}

#[test]
fn resident_page_section() {
    let change = |image: &mut Sample| image.sections[2].1 |= IMAGE_SCN_MEM_NOT_PAGED.0;
    assert_eq!(failures_after(change), ["non-paged except PAGE"]);
}

#[test]
fn freed_while_in_use() {
    for section in 0..3 {
        let change = |image: &mut Sample| image.sections[section].1 |= IMAGE_SCN_MEM_DISCARDABLE.0;
        assert_eq!(failures_after(change), ["INIT and .reloc are freed"]);
    }
}

#[test]
fn not_freed() {
    let failed = failures_after(|image| image.sections[3].1 = 0x6800_0020);
    assert_eq!(failed, ["INIT and .reloc are freed"]);
    let failed = failures_after(|image| image.reloc_flags = 0x4800_0040);
    assert_eq!(failed, ["INIT and .reloc are freed"]);
}

#[test]
fn entry_point() {
    for entry in [0, 0x2000, 0x9000] {
        assert_eq!(failures_after(|image| image.entry = entry), ["entry point"]);
    }
}

#[test]
fn import_from_another_dll() {
    let failed = failures_after(|image| image.library = b"hal.dll\0");
    assert_eq!(failed, ["imports"]);
    let failed = failures_after(|image| image.library = b"ntdll.dll\0");
    assert_eq!(failed, ["imports"]);
}

#[test]
fn import_that_old_windows_lacks() {
    let failed = failures_after(|image| image.import = b"ExFreePool2\0");
    assert_eq!(failed, ["imports"]);
}

#[test]
fn import_that_no_import_library_holds() {
    let change = |image: &mut Sample| image.import = b"KeRaiseIrqlToDpcLevel\0";
    assert_eq!(failures_after(change), ["imports"]);
}

#[test]
fn imports_of_each_architecture() {
    for (library, import, amd64, arm64) in [
        (&b"ntoskrnl.exe\0"[..], &b"memcpy\0"[..], true, true),
        (b"HAL.dll\0", b"KeQueryPerformanceCounter\0", true, true),
        (b"ntoskrnl.exe\0", b"KeLowerIrql\0", true, false),
        (b"HAL.dll\0", b"KfLowerIrql\0", false, true),
    ] {
        for (arch, right) in [(Arch::X64, amd64), (Arch::Arm64, arm64)] {
            let sample = Sample {
                machine: arch.machine(),
                library,
                import,
                ..Sample::default()
            };
            let failed = failures_for(arch, &sample.finished());
            let expected: &[_] = if right { &[] } else { &["imports"] };
            assert_eq!(failed, expected, "{} on {arch:?}", import.escape_ascii());
        }
    }
}

#[test]
fn exports() {
    assert_eq!(failures_after(|image| image.exports = true), ["exports"]);
}

#[test]
fn versions() {
    for version in [(6, 0), (6, 3), (10, 1)] {
        let failed = failures_after(|image| image.windows_version = version);
        assert_eq!(failed, ["versions"]);
        let failed = failures_after(|image| image.subsystem_version = version);
        assert_eq!(failed, ["versions"]);
    }
}

#[test]
fn pdb_with_a_folder() {
    let failed = failures_after(|image| image.pdb = b"target\\interlock.pdb\0");
    assert_eq!(failed, ["PDB"]);
}

#[test]
fn no_pdb() {
    let mut image = crate::sample::image();
    let debug = Image::parse(&image)
        .unwrap()
        .file
        .data_directory(6)
        .unwrap()
        .virtual_address
        .get(LE);
    let directory = debug.to_le_bytes();
    let at = image
        .windows(4)
        .position(|bytes| bytes == directory)
        .unwrap();
    image[at..at + 8].fill(0);
    assert_eq!(failures(&image), ["checksum", "PDB"]);
}

#[test]
fn private_path() {
    let failed = failures_after(|image| image.text = b"/home/me/driver/src/lib.rs");
    assert_eq!(failed, ["no path of the build machine"]);
}

/// The image contains `driver/src/lib.rs`, as a relative path may.
#[cfg(unix)]
#[test]
fn beginnings_of_private_paths_are_whole_folders() {
    let found = private_paths(Path::new("/work"));
    assert!(found.contains(&"/work/".into()), "{found:?}");
    assert_eq!(beginning(Path::new("/work/")), Some("/work/".into()));
    for everywhere in ["/", "target", "", "./driver"] {
        assert_eq!(beginning(Path::new(everywhere)), None);
    }
}

/// `finish` corrects the image that lld-link makes.
#[test]
fn finished_image_passes() {
    let sample = Sample {
        sections: vec![
            (*b".text\0\0\0", 0x6000_0020),
            (*b".rdata\0\0", 0x4000_0040),
            (*b".retplne", 0),
            (*b"INIT\0\0\0\0", 0x6000_0020),
        ],
        reloc_flags: 0x4000_0040,
        exports: true,
        ..Sample::default()
    };
    let linked = sample.finished();
    assert!(!failures(&linked).is_empty());
    assert!(failures(&finish(&linked).unwrap()).is_empty());
}
