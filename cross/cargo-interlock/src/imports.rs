//! The names in the WDK's import libraries, and those that Windows 10, version 2004, does not export.
//!
//! On hosts other than Windows the import libraries are made from these lists, so that a driver that links here also links with the WDK.
//! A routine that was added to the kernel later can be linked, as with the WDK, but is an error in the image: Windows does not load a
//! driver with an import that the kernel does not export.

use std::collections::BTreeMap;

use crate::arch::Arch;

const KERNEL: &str = "ntoskrnl.exe";
const HAL: &str = "HAL.dll";

/// Most names of `ntoskrnl.lib` and `hal.lib` for x64: a name and its DLL in each line.
const WDK: &str = include_str!("../imports/wdk.txt");

/// The other names of `ntoskrnl.lib`; those of variables are followed by `DATA`.
const MORE: &str = include_str!("../imports/more.txt");

/// The names in [`WDK`] that Windows 10, version 2004, does not export.
const NEWER: &str = include_str!("../imports/newer.txt");

/// The names in the libraries for x64 that those for ARM64 do not contain. In `wdm.h` of the WDK 10.0.22621 `KeLowerIrql` is a macro
/// over `KfLowerIrql` for ARM64, and both `Kf` routines are declared as the HAL's.
const X64_ALONE: &[&str] = &["KeLowerIrql", "KfRaiseIrql"];

/// The names in the libraries for ARM64 that those for x64 do not contain. Drivers for ARM64 import them from HAL.dll.
const ARM64_ALONE: &[&str] = &["KfLowerIrql", "KfRaiseIrql"];

fn lines(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter(|line| !line.starts_with('#'))
}

/// Returns the names in the import library of a DLL. A variable has ` DATA` after its name.
fn names(arch: Arch, dll: &str) -> Vec<&'static str> {
    let of_dll = |line: &'static str| {
        let (name, of) = line.split_once(' ')?;
        of.eq_ignore_ascii_case(dll).then_some(name)
    };
    let mut names: Vec<_> = lines(WDK).filter_map(of_dll).collect();
    if dll.eq_ignore_ascii_case(KERNEL) {
        names.extend(lines(MORE));
    }
    if arch == Arch::Arm64 {
        names.retain(|name| !X64_ALONE.contains(name));
        if dll.eq_ignore_ascii_case(HAL) {
            names.extend(ARM64_ALONE);
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the module-definition files from which the import libraries for an architecture are made, by file name.
pub fn definitions(arch: Arch) -> BTreeMap<&'static str, String> {
    let definition = |dll| {
        let names = names(arch, dll).join("\n    ");
        format!("LIBRARY {dll}\n\nEXPORTS\n    {names}\n")
    };
    [
        ("ntoskrnl.def", definition(KERNEL)),
        ("hal.def", definition(HAL)),
    ]
    .into()
}

/// Returns the reason why a driver cannot import a name from a DLL, or `None` if it can.
pub fn refusal(arch: Arch, dll: &str, name: &str) -> Option<String> {
    if ![KERNEL, HAL]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(dll))
    {
        return Some(format!(
            "{dll}!{name}: not a DLL that a WDM driver imports from"
        ));
    }
    let is_known = |known: &&str| known.strip_suffix(" DATA").unwrap_or(known) == name;
    if !names(arch, dll).iter().any(is_known) {
        return Some(format!(
            "{dll}!{name}: no import library of the WDK for {} holds it",
            arch.name()
        ));
    }
    lines(NEWER)
        .any(|newer| newer == name)
        .then(|| format!("{dll}!{name}: Windows 10 2004 lacks it and would not load the driver"))
}

#[cfg(test)]
#[path = "imports_tests.rs"]
mod tests;
