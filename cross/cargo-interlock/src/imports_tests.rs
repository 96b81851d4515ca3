//! Tests the import libraries against the declarations in the sources of the driver.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Expr, ForeignItem, ItemForeignMod, ItemUse, Lit, Meta, MetaNameValue, Token,
    UsePath, UseTree,
    punctuated::Punctuated,
    visit::{self, Visit},
};

use super::*;

/// An inline function of the headers, which no import library contains.
const INLINE: &str = "KeRaiseIrqlToDpcLevel";

#[test]
fn import_libraries_contain_the_exports_of_the_kernel() {
    for arch in Arch::ALL {
        let definitions = definitions(arch);
        let [hal, kernel] = ["hal.def", "ntoskrnl.def"].map(|name| &definitions[name]);
        assert!(kernel.starts_with("LIBRARY ntoskrnl.exe\n"), "{kernel}");
        assert!(hal.starts_with("LIBRARY HAL.dll\n"), "{hal}");
        let holds = |definition: &str, name: &str| {
            definition.lines().any(|line| line == format!("    {name}"))
        };
        for name in [
            "IofCompleteRequest",
            "ZwClose",
            "memcpy",
            "__C_specific_handler",
            "IoFileObjectType DATA",
        ] {
            assert!(holds(kernel, name), "{name}");
        }
        assert!(holds(hal, "KeQueryPerformanceCounter"));
        for name in [INLINE, "__chkstk"] {
            assert!(!holds(kernel, name) && !holds(hal, name), "{name}");
        }
    }
}

#[test]
fn import_is_allowed_by_dll_name_and_architecture() {
    for (dll, name, amd64, arm64) in [
        (KERNEL, "DbgPrintEx", true, true),
        ("NTOSKRNL.EXE", "DbgPrintEx", true, true),
        (HAL, "DbgPrintEx", false, false),
        ("ntdll.dll", "DbgPrintEx", false, false),
        (KERNEL, "memcpy", true, true),
        (KERNEL, "MEMCPY", false, false),
        (KERNEL, "PsProcessType", true, true),
        (HAL, "KeQueryPerformanceCounter", true, true),
        (KERNEL, "KeQueryPerformanceCounter", false, false),
        (KERNEL, "KfRaiseIrql", true, false),
        (HAL, "KfRaiseIrql", false, true),
        (KERNEL, "KeLowerIrql", true, false),
        (HAL, "KfLowerIrql", false, true),
        (KERNEL, INLINE, false, false),
        (HAL, INLINE, false, false),
        (KERNEL, "ExAllocatePool3", true, true),
        (KERNEL, "ExCreatePool", false, false),
    ] {
        let may = |arch| refusal(arch, dll, name).is_none();
        assert_eq!(may(Arch::X64), amd64, "{dll}!{name} on x64");
        assert_eq!(may(Arch::Arm64), arm64, "{dll}!{name} on ARM64");
    }
}

#[test]
fn refusal_of_a_newer_name_names_windows_10_2004() {
    let refusal = refusal(Arch::X64, KERNEL, "ExSecurePoolUpdate").unwrap();
    assert!(refusal.contains("Windows 10 2004 lacks it"), "{refusal}");
}

/// A name that no library contains would have no effect.
#[test]
fn newer_names_are_in_the_library() {
    let names = names(Arch::X64, KERNEL);
    for newer in lines(NEWER) {
        assert!(names.contains(&newer), "{newer}");
    }
}

/// Finds the kernel routines that a source file declares for an architecture.
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

    /// Returns whether an item with these attributes exists on the architecture.
    fn is_there(&self, attributes: &[Attribute]) -> bool {
        let mut cfgs = attributes.iter().filter(|it| it.path().is_ident("cfg"));
        cfgs.all(|cfg| self.holds(&cfg.parse_args().unwrap()))
    }

    fn holds(&self, condition: &Meta) -> bool {
        match condition {
            Meta::List(list) if list.path.is_ident("not") => {
                !self.holds(&list.parse_args().unwrap())
            }
            Meta::List(list) if list.path.is_ident("all") => {
                let all = Punctuated::<Meta, Token![,]>::parse_terminated;
                let conditions = list.parse_args_with(all).unwrap();
                conditions.iter().all(|condition| self.holds(condition))
            }
            // The driver is built with the feature `wdk`, the only one of `nt`.
            Meta::NameValue(feature) if feature.path.is_ident("feature") => true,
            Meta::NameValue(MetaNameValue {
                path,
                value: Expr::Lit(value),
                ..
            }) if path.is_ident("target_arch") => {
                let Lit::Str(value) = &value.lit else {
                    panic!("target_arch is a string")
                };
                let arch = match self.arch {
                    Arch::X64 => "x86_64",
                    Arch::Arm64 => "aarch64",
                };
                value.value() == arch
            }
            _ => panic!("a declaration has a condition that this test does not support"),
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
                _ => panic!("the driver imports only functions and variables"),
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

/// Returns the source files below a folder, except tests.
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

/// Returns the sources of the driver and of the crates that it uses.
fn driver_sources() -> Vec<(PathBuf, String)> {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../driver");
    let files = sources(&driver).into_iter();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.map(read).collect()
}

/// Returns the declared names that cannot be imported.
fn refused(arch: Arch, declared: &BTreeSet<String>) -> Vec<String> {
    let cannot = |name: &&String| {
        [KERNEL, HAL]
            .iter()
            .all(|dll| refusal(arch, dll, name).is_some())
    };
    declared.iter().filter(cannot).cloned().collect()
}

#[test]
fn declared_routines_can_be_imported() {
    let sources = driver_sources();
    for arch in Arch::ALL {
        for (path, source) in &sources {
            let refused = refused(arch, &Declared::of(arch, source));
            assert!(
                refused.is_empty(),
                "{}: {refused:?} for {arch:?}",
                path.display()
            );
        }
    }
}

/// Every declaration of a routine is an import from another image.
#[test]
fn declarations_of_nt_are_imports() {
    let attribute = "#[cfg_attr(feature = \"wdk\", link(name = \"";
    let sources = driver_sources();
    for (path, source) in sources
        .iter()
        .filter(|(path, _)| path.components().any(|part| part.as_os_str() == "nt"))
    {
        let mut blocks = source.split("\nunsafe extern \"C\" {\n");
        let mut before = blocks.next().unwrap_or_default();
        for block in blocks {
            let declared = block.split("\n}").next().unwrap_or_default();
            let last_line = before.lines().next_back().unwrap_or_default();
            let is_import = last_line.starts_with(attribute);
            assert!(
                is_import || !declared.contains(" fn "),
                "{}",
                path.display()
            );
            before = block;
        }
    }
}

#[test]
fn declared_inline_function_is_refused() {
    for source in [
        "unsafe extern \"C\" { pub fn KeRaiseIrqlToDpcLevel() -> u8; }",
        "mod irql { unsafe extern \"C\" { fn KeRaiseIrqlToDpcLevel() -> u8; } }",
        "pub use wdk_sys::{NTSTATUS, ntddk::{KeRaiseIrqlToDpcLevel}};",
        "pub use wdk_sys::ntddk::KeRaiseIrqlToDpcLevel;",
    ] {
        for arch in Arch::ALL {
            let declared = Declared::of(arch, source);
            assert_eq!(refused(arch, &declared), [INLINE], "{source}");
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
    assert_eq!(declared(Arch::X64), ["KeLowerIrql"]);
    assert_eq!(declared(Arch::Arm64), ["KfLowerIrql"]);
}
