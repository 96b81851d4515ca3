//! `new`: creates a workspace for a driver.

use std::{
    env, fs,
    hash::{BuildHasher, Hasher, RandomState},
    io::ErrorKind,
    path::{self, Path, PathBuf},
};

use clap::ValueEnum;

use crate::{about, make_folders, quoted, write};

/// The kinds of driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A function driver, with an interface that programs open
    #[default]
    Function,
    /// A filter driver, above the driver of another device
    Filter,
    /// A driver of a control device, which has a name instead of hardware and an INF
    Control,
}

/// The files of every workspace.
const WORKSPACE: &[(&str, &str)] = files! { "templates/workspace":
    ".cargo/config.toml" = "cargo-config.toml",
    ".gitignore" = "gitignore",
    "Cargo.toml" = "workspace.toml",
    "driver/Cargo.toml" = "driver.toml",
    "driver/build.rs" = "build.rs",
    "driver/src/lib.rs" = "sys.rs",
    "logic/Cargo.toml" = "logic.toml",
};

const FUNCTION: &[(&str, &str)] = files! { "templates/function":
    "README.md" = "README.md",
    "driver/{{name}}.inx" = "driver.inx",
    "logic/src/lib.rs" = "lib.rs",
    "logic/tests/model.rs" = "model.rs",
};

const FILTER: &[(&str, &str)] = files! { "templates/filter":
    "README.md" = "README.md",
    "driver/{{name}}.inx" = "driver.inx",
    "logic/src/lib.rs" = "lib.rs",
    "logic/tests/model.rs" = "model.rs",
};

const CONTROL: &[(&str, &str)] = files! { "templates/control":
    "README.md" = "README.md",
    "logic/src/lib.rs" = "lib.rs",
    "logic/tests/model.rs" = "model.rs",
};

/// The part of the manifest of a driver without an INF.
const NO_INF: &str = "
# A control device is not installed from an INF.
[package.metadata.interlock]
inf = false
";

/// Names of other items in the workspace, of crates that it uses, and of Cargo's folders.
const TAKEN: &[&str] = &[
    "alloc", "build", "core", "deps", "driver", "examples", "logic", "new", "nt", "ntmodel", "std",
    "test", "wdk", "wdk_sys", "wdm", "zerocopy",
];

/// Modules and services of Windows, which a driver of the same name would replace.
const OF_WINDOWS: &[&str] = &[
    "acpi", "afd", "beep", "bits", "cdrom", "ci", "clfs", "cng", "dhcp", "disk", "fax", "fltmgr",
    "hal", "hidusb", "http", "i8042prt", "kbdclass", "kbdhid", "ksecdd", "modem", "monitor",
    "mouclass", "mouhid", "mountmgr", "msfs", "mup", "ndis", "netbt", "netio", "npfs", "ntfs",
    "ntoskrnl", "null", "parport", "partmgr", "pci", "power", "ramdisk", "rdbss", "schedule",
    "serenum", "serial", "spooler", "storport", "tcpip", "tdx", "themes", "tpm", "tunnel",
    "usbhub", "usbport", "vga", "volmgr", "volsnap", "volume", "wdf01000", "wfplwfs", "win32k",
];

/// Keywords of Rust, reserved ones included.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

impl Kind {
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Function => FUNCTION,
            Self::Filter => FILTER,
            Self::Control => CONTROL,
        }
    }

    /// Returns the word before the type in the argument of `driver_entry!`.
    fn entry(self) -> &'static str {
        match self {
            Self::Function => "",
            Self::Filter => "filter: ",
            Self::Control => "control: ",
        }
    }
}

/// Makes the workspace `NAME` in the current folder. Interlock is the source that the user names, or the one of this program.
pub fn new(name: &str, kind: Kind, interlock: Option<&str>) -> Result<(), String> {
    check_name(name)?;
    let here = env::current_dir().map_err(|error| error.to_string())?;
    check_place(&here)?;
    let source = source(interlock)?;
    let workspace = here.join(name);
    make_folder(&workspace, kind, &replacements(name, kind, &source))?;
    println!("made    {name}: `cd {name}`, then `cargo test` and `cargo interlock check`");
    Ok(())
}

fn make_folder(folder: &Path, kind: Kind, replacements: &[(&str, String)]) -> Result<(), String> {
    fs::create_dir(folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            about(folder, "exists already; remove it, or choose another name")
        }
        _ => about(folder, error),
    })?;
    let written = write_files(folder, kind, replacements);
    if written.is_err() {
        // The error of the files is more important.
        drop(fs::remove_dir_all(folder));
    }
    written
}

/// Refuses a workspace inside of Interlock's repository, where Cargo replaces `cargo interlock` by the repository's alias.
fn check_place(here: &Path) -> Result<(), String> {
    match here.ancestors().find(|folder| is_repository(folder)) {
        None => Ok(()),
        Some(root) => Err(about(
            root,
            "is Interlock's repository, whose .cargo/config.toml would apply to the driver too; \
             make the driver in another folder",
        )),
    }
}

fn write_files(folder: &Path, kind: Kind, replacements: &[(&str, String)]) -> Result<(), String> {
    for (path, template) in WORKSPACE.iter().chain(kind.files()) {
        let [path, text] = [path, template].map(|text| fill(text, replacements));
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        make_folders(parent)?;
        write(&path, text.as_bytes())?;
    }
    Ok(())
}

/// Checks that a name is valid for a crate, a file and a service.
fn check_name(name: &str) -> Result<(), String> {
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    let rest = |other: char| other.is_ascii_lowercase() || other.is_ascii_digit() || other == '_';
    let digit = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest: &str| rest.len() == 1)
    };
    let is_device = ["aux", "con", "nul", "prn"].contains(&name) || digit("com") || digit("lpt");
    let problem = if !begins || !name.chars().all(rest) || name.len() > 24 {
        "use up to 24 lower-case letters, digits and `_`, a letter first"
    } else if KEYWORDS.contains(&name) {
        "it is a keyword of Rust"
    } else if TAKEN.contains(&name) {
        "Cargo, a crate that the driver uses, or a part of the workspace has this name"
    } else if OF_WINDOWS.contains(&name) {
        "Windows has a driver or a service of this name"
    } else if is_device {
        "Windows reserves it for a device, so no file can have it"
    } else {
        return Ok(());
    };
    Err(format!("`{name}` cannot be the driver's name: {problem}"))
}

/// The source of the crates of Interlock.
#[derive(Debug, PartialEq)]
enum Source {
    Folder(PathBuf),
    Git(String),
    /// The versions that were published with this program.
    Registry,
}

impl Source {
    /// Returns the dependency on the crate in this folder; `package` is its name if the name differs.
    fn dependency(&self, folder: &str, package: Option<&str>) -> String {
        let source = match self {
            Self::Folder(root) => {
                let path = root.join(folder);
                format!("path = {}", quoted(&path.to_string_lossy()))
            }
            Self::Git(url) => format!("git = {}", quoted(url)),
            Self::Registry => format!("version = {:?}", env!("CARGO_PKG_VERSION")),
        };
        let package = package.map_or_else(String::new, |name| format!("package = {name:?}, "));
        package + &source
    }
}

/// Returns the source that the user gives, or the one of this program.
fn source(interlock: Option<&str>) -> Result<Source, String> {
    match interlock {
        None => own_source(Path::new(env!("CARGO_MANIFEST_DIR"))),
        Some("") => Err("--interlock is empty; pass a folder or a Git address".into()),
        Some(url) if url.contains("://") => Ok(Source::Git(url.into())),
        Some(folder) => {
            let root = path::absolute(folder).map_err(|error| format!("{folder}: {error}"))?;
            if is_repository(&root) {
                Ok(Source::Folder(root))
            } else {
                Err(about(
                    &root,
                    "is not Interlock's repository: it has no driver/wdm/Cargo.toml",
                ))
            }
        }
    }
}

/// Returns the source of a program that was built in this folder.
fn own_source(built_in: &Path) -> Result<Source, String> {
    let root = built_in.ancestors().nth(2);
    if let Some(root) = root.filter(|root| is_repository(root)) {
        return Ok(Source::Folder(root.into()));
    }
    // Cargo unpacks a published package into a folder of this name.
    if built_in.ends_with(concat!("cargo-interlock-", env!("CARGO_PKG_VERSION"))) {
        return Ok(Source::Registry);
    }
    Err(format!(
        "{}: this program was installed from there, but the folder no longer contains Interlock's repository; \
         pass the folder or the Git address of the repository with --interlock",
        built_in.display()
    ))
}

fn is_repository(root: &Path) -> bool {
    root.join("driver/wdm/Cargo.toml").is_file()
}

/// The variables of the templates, written in double braces, and their values.
fn replacements(name: &str, kind: Kind, source: &Source) -> Vec<(&'static str, String)> {
    let (guid, rust_guid) = guid([(); 2].map(|()| RandomState::new().build_hasher().finish()));
    vec![
        ("{{name}}", name.into()),
        ("{{entry}}", kind.entry().into()),
        (
            "{{inf}}",
            if kind == Kind::Control { NO_INF } else { "" }.into(),
        ),
        ("{{guid}}", guid),
        ("{{Guid}}", rust_guid),
        (
            "{{nt}}",
            source.dependency("driver/nt", Some("interlock-nt")),
        ),
        (
            "{{ntmodel}}",
            source.dependency("tests-usermode/model", None),
        ),
        (
            "{{wdm}}",
            source.dependency("driver/wdm", Some("interlock-wdm")),
        ),
    ]
}

fn fill(template: &str, replacements: &[(&str, String)]) -> String {
    let replace = |text: String, (mark, value): &(&str, String)| text.replace(mark, value);
    replacements.iter().fold(template.to_owned(), replace)
}

/// Returns the GUID (version 4) made of these random bits, as text and as a Rust expression.
fn guid([high, low]: [u64; 2]) -> (String, String) {
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let (first, second, third) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    let text = format!(
        "{{{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}}}",
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    let bytes: Vec<_> = low
        .to_be_bytes()
        .iter()
        .map(|byte| format!("{byte:#04x}"))
        .collect();
    let rust = format!(
        "Guid::new(\n        0x{:04x}_{:04x},\n        {second:#06x},\n        {third:#06x},\n        [{}],\n    )",
        first >> 16,
        first & 0xffff,
        bytes.join(", ")
    );
    (text, rust)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{arch::Arch, driver::Driver, inf_rules, stamp::Stamp};

    #[test]
    fn names_are_those_of_crates_and_files() {
        for name in ["gate", "my_gate2", "com", "my_disk"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in [
            "",
            "Gate",
            "2gate",
            "my-gate",
            "wdm",
            "match",
            "con",
            "com3",
            "disk",
            "power",
            "../gate",
            "a_name_that_is_far_too_long_for_it",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn guid_is_the_same_in_both_forms() {
        let (text, rust) = guid([0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef]);
        assert_eq!(text, "{01234567-89ab-4def-8123-456789abcdef}");
        let rust = rust.replace(['\n', ' '], "");
        assert_eq!(
            rust,
            "Guid::new(0x0123_4567,0x89ab,0x4def,[0x81,0x23,0x45,0x67,0x89,0xab,0xcd,0xef],)"
        );
    }

    #[test]
    fn every_placeholder_is_replaced() {
        let source = Source::Git("https://example.org/interlock".into());
        for kind in Kind::value_variants() {
            let replacements = replacements("my_gate", *kind, &source);
            for (path, text) in WORKSPACE.iter().chain(kind.files()) {
                let [path, text] = [path, text].map(|text| fill(text, &replacements));
                assert!(
                    !path.contains("{{") && !text.contains("{{"),
                    "{path}: {text}"
                );
            }
        }
    }

    #[test]
    fn infs_keep_the_rules() {
        for kind in [Kind::Function, Kind::Filter] {
            let replacements = replacements("gate", kind, &Source::Git(String::new()));
            let mut files = kind.files().iter();
            let (_, template) = files.find(|(path, _)| path.contains(".inx")).unwrap();
            for arch in Arch::ALL {
                let stamp = Stamp {
                    arch,
                    version: "0.1.0.0",
                    date: "02/29/2024".into(),
                };
                let inf = stamp.apply(&fill(template, &replacements)).unwrap();
                for check in inf_rules::all(&inf, arch).unwrap() {
                    assert!(check.outcome.is_ok(), "{kind:?}: {check}");
                }
            }
        }
    }

    #[test]
    fn interlock_is_where_the_program_was_built() {
        assert!(
            matches!(source(None), Ok(Source::Folder(root)) if root.join("driver/wdm").is_dir())
        );
        let url = "https://example.org/interlock";
        assert_eq!(source(Some(url)), Ok(Source::Git(url.into())));
        assert!(source(Some("/")).unwrap_err().contains("driver/wdm"));
    }

    #[test]
    fn published_program_uses_the_published_crates() {
        let published = format!(
            "/registry/src/cargo-interlock-{}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(own_source(Path::new(&published)), Ok(Source::Registry));
        let error = own_source(Path::new("/gone/cross/cargo-interlock")).unwrap_err();
        assert!(error.contains("--interlock"), "{error}");
    }

    #[test]
    fn workspace_is_not_made_in_the_repository() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let error = check_place(here).unwrap_err();
        assert!(error.contains("another folder"), "{error}");
        assert_eq!(check_place(Path::new("/")), Ok(()));
    }

    /// macOS writes an accent as a character of its own, which Rust's `Debug` escapes in a way that TOML does not have.
    #[test]
    fn paths_are_strings_of_toml() {
        let source = Source::Folder(PathBuf::from("/caf\u{65}\u{301} \"x\""));
        assert_eq!(
            source.dependency("driver/nt", None),
            "path = \"/caf\u{65}\u{301} \\\"x\\\"/driver/nt\""
        );
        assert_eq!(quoted(r"C:\interlock"), r#""C:\\interlock""#);
    }

    #[test]
    fn workspace_that_cannot_be_written_is_removed() {
        let folder = TempDir::new().unwrap();
        let workspace = folder.path().join("gate");
        let source = Source::Git("https://example.org/interlock".into());
        // No system has a file of this name.
        let impossible = replacements("ga\0te", Kind::Function, &source);
        assert!(make_folder(&workspace, Kind::Function, &impossible).is_err());
        assert!(!workspace.exists());
        let possible = replacements("gate", Kind::Function, &source);
        assert_eq!(make_folder(&workspace, Kind::Function, &possible), Ok(()));
        let error = make_folder(&workspace, Kind::Function, &possible).unwrap_err();
        assert!(error.contains("exists already"), "{error}");
        assert!(workspace.join("Cargo.toml").is_file());
    }

    #[test]
    fn driver_is_found_and_only_a_control_device_has_no_inf() {
        for kind in Kind::value_variants() {
            let folder = TempDir::new().unwrap();
            let source = Source::Git("https://example.org/interlock".into());
            write_files(folder.path(), *kind, &replacements("gate", *kind, &source)).unwrap();
            let driver = Driver::in_workspace(&folder.path().join("Cargo.toml")).unwrap();
            assert_eq!(driver.package, "gate");
            assert_eq!(
                driver.template.is_none(),
                *kind == Kind::Control,
                "{kind:?}"
            );
        }
    }
}
