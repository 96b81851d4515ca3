//! The module definitions against the WDK's import libraries, and against what the driver's source declares.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Expr, ForeignItem, ItemForeignMod, ItemUse, Lit, Meta, MetaNameValue, UsePath,
    UseTree,
    visit::{self, Visit},
};

use super::*;

/// What the driver may import and none of its own crates declares, with who calls it.
const DECLARED_ELSEWHERE: &[(&str, &[&str])] = &[
    ("wdk", &["DbgPrint"]),
    ("wdk-alloc", &["ExAllocatePool2", "ExFreePool"]),
    ("the compiler", &["memcmp", "memcpy", "memmove", "memset"]),
];

/// What the headers have as an inline function and no import library holds.
const INLINE: &str = "KeRaiseIrqlToDpcLevel";

/// The names of a definition that no import library of the WDK holds.
fn not_in_wdk(arch: Arch, definition: &Definition) -> Vec<&'static str> {
    let dll = definition.dll();
    let names = definition.names();
    names.filter(|name| !is_in_wdk(arch, dll, name)).collect()
}

#[test]
fn wdk_holds_every_name() {
    for arch in Arch::ALL {
        for definition in definitions(arch) {
            let missing = not_in_wdk(arch, &definition);
            assert!(missing.is_empty(), "{}: {missing:?}", definition.file);
        }
    }
}

#[test]
fn definitions_are_sorted_and_of_both_dlls() {
    for definition in Arch::ALL.into_iter().flat_map(definitions) {
        let names: Vec<_> = definition.names().collect();
        assert!(
            !names.is_empty() && names.is_sorted(),
            "{}",
            definition.file
        );
    }
    for arch in Arch::ALL {
        assert_eq!(
            definitions(arch).map(|definition| definition.dll()),
            [KERNEL, HAL]
        );
    }
}

#[test]
fn inline_in_a_definition_is_found() {
    for arch in Arch::ALL {
        for definition in definitions(arch) {
            let text = format!("{}    {INLINE}\n", definition.text);
            let text = text.leak();
            assert_eq!(
                not_in_wdk(arch, &Definition { text, ..definition }),
                [INLINE]
            );
        }
    }
}

#[test]
fn name_is_judged_with_its_dll_and_architecture() {
    for (dll, name, amd64, arm64) in [
        (KERNEL, "DbgPrintEx", true, true),
        ("NTOSKRNL.EXE", "DbgPrintEx", true, true),
        (HAL, "DbgPrintEx", false, false),
        ("ntdll.dll", "DbgPrintEx", false, false),
        (KERNEL, "memcpy", true, true),
        (KERNEL, "MEMCPY", false, false),
        (HAL, "KeQueryPerformanceCounter", true, true),
        (KERNEL, "KeQueryPerformanceCounter", false, false),
        (KERNEL, "KfRaiseIrql", true, false),
        (HAL, "KfRaiseIrql", false, true),
        (KERNEL, "KeLowerIrql", true, false),
        (HAL, "KfLowerIrql", false, true),
        (KERNEL, INLINE, false, false),
        (HAL, INLINE, false, false),
        // The libraries hold it, and the driver does not call it.
        (KERNEL, "ExAllocatePoolWithTag", false, false),
    ] {
        let may = |arch| refusal(arch, dll, name).is_none();
        assert_eq!(may(Arch::Amd64), amd64, "{dll}!{name} on x64");
        assert_eq!(may(Arch::Arm64), arm64, "{dll}!{name} on ARM64");
    }
}

#[test]
fn refusal_names_the_file() {
    let refusal = refusal(Arch::Arm64, "hal.dll", "HalGetBusData").unwrap();
    assert_eq!(
        refusal,
        "hal.dll!HalGetBusData: not in cross/imports/arm64/hal.def"
    );
}

/// The kernel's routines that a source file declares, for an architecture.
struct Declared {
    arch: Arch,
    names: BTreeSet<String>,
}

impl Declared {
    fn of(arch: Arch, source: &str) -> BTreeSet<String> {
        let names = BTreeSet::new();
        let mut declared = Self { arch, names };
        declared.visit_file(&syn::parse_file(source).unwrap());
        declared.names
    }

    /// Whether something with these attributes is there on the architecture.
    fn is_there(&self, attributes: &[Attribute]) -> bool {
        let mut cfgs = attributes.iter().filter(|it| it.path().is_ident("cfg"));
        cfgs.all(|cfg| self.holds(&cfg.parse_args().unwrap()))
    }

    fn holds(&self, condition: &Meta) -> bool {
        match condition {
            Meta::List(list) if list.path.is_ident("not") => {
                !self.holds(&list.parse_args().unwrap())
            }
            Meta::NameValue(MetaNameValue {
                path,
                value: Expr::Lit(value),
                ..
            }) if path.is_ident("target_arch") => {
                let Lit::Str(value) = &value.lit else {
                    panic!("target_arch is a string")
                };
                let arch = match self.arch {
                    Arch::Amd64 => "x86_64",
                    Arch::Arm64 => "aarch64",
                };
                value.value() == arch
            }
            _ => panic!("a declaration has a condition that this test does not know"),
        }
    }

    fn add_all(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Name(name) => {
                self.names.insert(name.ident.to_string());
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add_all(item)),
            _ => panic!("routines of wdk-sys are re-exported by their names"),
        }
    }
}

impl Visit<'_> for Declared {
    fn visit_item_foreign_mod(&mut self, block: &ItemForeignMod) {
        if !self.is_there(&block.attrs) {
            return;
        }
        for item in &block.items {
            let (attributes, name) = match item {
                ForeignItem::Fn(function) => (&function.attrs, &function.sig.ident),
                ForeignItem::Static(variable) => (&variable.attrs, &variable.ident),
                _ => panic!("the driver imports functions and variables alone"),
            };
            if self.is_there(attributes) {
                self.names.insert(name.to_string());
            }
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        if matches!(&item.tree, UseTree::Path(path) if path.ident == "wdk_sys") {
            visit::visit_item_use(self, item);
        }
    }

    fn visit_use_path(&mut self, path: &UsePath) {
        if path.ident == "ntddk" {
            self.add_all(&path.tree);
        } else {
            visit::visit_use_path(self, path);
        }
    }
}

/// The source files below a folder, without its tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The sources of the driver and of the crates below it.
fn driver_sources() -> Vec<(PathBuf, String)> {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../driver");
    let files = sources(&driver).into_iter();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.map(read).collect()
}

/// How the definitions differ from what is declared: what lacks a line, and what has one that nobody needs.
fn differences(arch: Arch, declared: &BTreeSet<String>) -> [Vec<String>; 2] {
    let elsewhere = DECLARED_ELSEWHERE.iter().flat_map(|(_, names)| *names);
    let needed: BTreeSet<_> = declared
        .iter()
        .map(String::as_str)
        .chain(elsewhere.copied())
        .collect();
    let defined: BTreeSet<_> = definitions(arch)
        .iter()
        .flat_map(Definition::names)
        .collect();
    let list = |names: Vec<&&str>| names.into_iter().map(ToString::to_string).collect();
    [
        list(needed.difference(&defined).collect()),
        list(defined.difference(&needed).collect()),
    ]
}

#[test]
fn definitions_are_what_is_declared() {
    let sources = driver_sources();
    for arch in Arch::ALL {
        let declared: BTreeSet<_> = sources
            .iter()
            .flat_map(|(_, source)| Declared::of(arch, source))
            .collect();
        let [undefined, unneeded] = differences(arch, &declared);
        assert!(
            undefined.is_empty(),
            "{arch:?}: {undefined:?} is in no definition"
        );
        assert!(
            unneeded.is_empty(),
            "{arch:?}: nothing declares {unneeded:?}"
        );
    }
}

/// Without the WDK the same routines are declared as with it.
#[test]
fn portable_routines_are_those_of_wdk_sys() {
    let sources = driver_sources();
    let declared_in = |name: &str| {
        let mut files = sources.iter().filter(|(path, _)| path.ends_with(name));
        let (_, source) = files.next().unwrap();
        Declared::of(Arch::Amd64, source)
    };
    let portable = declared_in("nt/src/portable.rs");
    assert!(portable.contains("IofCompleteRequest"));
    assert_eq!(portable, declared_in("nt/src/wdk.rs"));
}

#[test]
fn declared_inline_is_found() {
    for source in [
        "unsafe extern \"C\" { pub fn KeRaiseIrqlToDpcLevel() -> u8; }",
        "mod irql { unsafe extern \"C\" { fn KeRaiseIrqlToDpcLevel() -> u8; } }",
        "pub use wdk_sys::{NTSTATUS, ntddk::{KeRaiseIrqlToDpcLevel}};",
        "pub use wdk_sys::ntddk::KeRaiseIrqlToDpcLevel;",
    ] {
        for arch in Arch::ALL {
            let declared = Declared::of(arch, source);
            assert_eq!(differences(arch, &declared)[0], [INLINE], "{source}");
        }
    }
}

#[test]
fn declaration_is_for_its_architecture() {
    let source = "unsafe extern \"C\" {
        #[cfg(not(target_arch = \"aarch64\"))]
        pub fn KeLowerIrql(NewIrql: u8);
        #[cfg(target_arch = \"aarch64\")]
        pub fn KfLowerIrql(NewIrql: u8);
    }";
    let declared = |arch| Vec::from_iter(Declared::of(arch, source));
    assert_eq!(declared(Arch::Amd64), ["KeLowerIrql"]);
    assert_eq!(declared(Arch::Arm64), ["KfLowerIrql"]);
}
