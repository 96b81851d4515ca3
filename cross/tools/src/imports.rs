//! What the driver may import, and what the WDK's import libraries hold.
//!
//! Off Windows the import libraries are made from the module definitions in `cross/imports`. A name that the kernel
//! exports but no import library of the WDK holds would link with these and not with the WDK, so the WDK's own names
//! are here too: the definitions and the finished image are checked against them.

use crate::arch::Arch;

const KERNEL: &str = "ntoskrnl.exe";
const HAL: &str = "HAL.dll";

/// A module definition: a DLL, and what the driver may import from it.
pub struct Definition {
    /// The file, from the root of the repository.
    file: &'static str,
    text: &'static str,
}

macro_rules! definition {
    ($file:literal) => {
        Definition {
            file: concat!("cross/imports/", $file),
            text: include_str!(concat!("../../imports/", $file)),
        }
    };
}

/// The definitions for an architecture.
const fn definitions(arch: Arch) -> [Definition; 2] {
    match arch {
        Arch::Amd64 => [definition!("x64/ntoskrnl.def"), definition!("x64/hal.def")],
        Arch::Arm64 => [
            definition!("arm64/ntoskrnl.def"),
            definition!("arm64/hal.def"),
        ],
    }
}

impl Definition {
    fn dll(&self) -> &'static str {
        let mut lines = self.text.lines();
        lines
            .find_map(|line| line.strip_prefix("LIBRARY "))
            .unwrap_or_default()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        let lines = self.text.lines();
        let names = lines.filter_map(|line| line.strip_prefix("    "));
        // After the name of a variable stands `CONSTANT`.
        names.map(|name| name.trim_end_matches(" CONSTANT"))
    }
}

/// The names that `ntoskrnl.lib` and `hal.lib` hold for x64, but for [`IN_NTDLL_TOO`]: a name and its DLL to a line.
const WDK_X64: &str = include_str!("../../imports/wdk-x64.txt");

/// What `ntoskrnl.lib` holds and [`WDK_X64`] lacks, as its source says of these that they are from ntdll.dll. Microsoft's
/// page of each routine gives `NtosKrnl.lib` as its library; the functions of the C runtime are exports of ntoskrnl.exe
/// that every C driver calls. A further name belongs here if it is `Dbg..`, `Rtl..`, `Zw..` or the C runtime's.
const IN_NTDLL_TOO: &[&str] = &[
    "DbgPrint",
    "DbgPrintEx",
    "RtlFreeUnicodeString",
    "ZwClose",
    "ZwOpenKey",
    "ZwQueryValueKey",
    "ZwSetSecurityObject",
    "ZwWaitForSingleObject",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
];

/// The variables that `ntoskrnl.lib` holds, since [`WDK_X64`] has functions alone. `wdm.h` declares them, as pointers: the
/// library defines each as a constant, which is the slot of the import.
const VARIABLES: &[&str] = &["ExEventObjectType"];

/// What the libraries for x64 hold and those for ARM64 do not. In `wdm.h` of the WDK 10.0.22621 `KeLowerIrql` is a macro
/// over `KfLowerIrql` for ARM64, and both `Kf` routines are declared as the HAL's.
const X64_ALONE: &[(&str, &str)] = &[(KERNEL, "KeLowerIrql"), (KERNEL, "KfRaiseIrql")];

/// What the libraries for ARM64 hold and those for x64 do not: drivers for ARM64 import them from HAL.dll.
const ARM64_ALONE: &[(&str, &str)] = &[(HAL, "KfLowerIrql"), (HAL, "KfRaiseIrql")];

/// Whether the WDK's import libraries for an architecture hold a name that is imported from a DLL.
fn is_in_wdk(arch: Arch, dll: &str, name: &str) -> bool {
    let is = |known_dll: &str, known: &str| known_dll.eq_ignore_ascii_case(dll) && known == name;
    let is_among = |list: &[(&str, &str)]| list.iter().any(|(dll, name)| is(dll, name));
    if arch == Arch::Arm64 && (is_among(X64_ALONE) || is_among(ARM64_ALONE)) {
        return is_among(ARM64_ALONE);
    }
    let mut lines = WDK_X64.lines().filter_map(|line| line.split_once(' '));
    let mut unlisted = IN_NTDLL_TOO.iter().chain(VARIABLES);
    lines.any(|(name, dll)| is(dll, name)) || unlisted.any(|name| is(KERNEL, name))
}

/// Why the driver may not import a name from a DLL, if it may not.
pub fn refusal(arch: Arch, dll: &str, name: &str) -> Option<String> {
    if !is_in_wdk(arch, dll, name) {
        return Some(format!(
            "{dll}!{name}: no import library of the WDK for {} holds it",
            arch.name()
        ));
    }
    let definitions = definitions(arch);
    let definition = definitions
        .iter()
        .find(|definition| definition.dll().eq_ignore_ascii_case(dll));
    match definition {
        Some(definition) if definition.names().any(|known| known == name) => None,
        Some(definition) => Some(format!("{dll}!{name}: not in {}", definition.file)),
        None => Some(format!("{dll}!{name}: not a DLL that is imported from")),
    }
}

#[cfg(test)]
#[path = "imports_tests.rs"]
mod tests;
