//! An image that mingw-w64 has built has its functions and source lines as DWARF. The test reports if the compiler is missing.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[macro_use]
mod call;
mod common;

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, ExitStatus},
};

use common::found_in;
use ntmodel::{Driver, Image};

const COMPILERS: [&str; 2] = ["x86_64-w64-mingw32-gcc-win32", "x86_64-w64-mingw32-gcc"];

/// Runs the first of the compilers that is installed.
fn compile(arguments: &[&str]) -> Option<ExitStatus> {
    for compiler in COMPILERS {
        match Command::new(compiler).args(arguments).status() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            status => return Some(status.expect("the compiler runs")),
        }
    }
    None
}

#[test]
fn a_violation_names_function_and_line_from_dwarf() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image_dwarf/raised.c");
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join("raised.sys");
    let status = compile(&[
        "-g",
        "-O1",
        "-nostdlib",
        "-shared",
        "-Wl,--subsystem,native,--entry,DriverEntry,--dynamicbase",
        "-o",
        image.to_str().expect("the path is text"),
        source.to_str().expect("the path is text"),
        "-lntoskrnl",
    ]);
    let Some(status) = status else {
        eprintln!("NOT RUN: {} is not installed", COMPILERS[0]);
        return;
    };
    assert!(status.success(), "{status}");
    let found = found_in(move |kernel| {
        let image = Image::load(&image).expect("it is an image");
        // SAFETY: the image is a driver.
        drop(unsafe { Driver::load_image(kernel, image) });
    });
    assert_eq!(found.routine, "KeLowerIrql");
    let callers = found.callers.join("\n");
    assert!(callers.contains("Lower ("), "{callers}");
    assert!(callers.contains("raised.c:7)"), "{callers}");
    assert!(callers.contains("DriverEntry ("), "{callers}");
    assert!(callers.contains("raised.c:14)"), "{callers}");
}
