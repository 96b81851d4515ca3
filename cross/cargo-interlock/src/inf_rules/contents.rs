//! The rules for what an INF may do, and for the references between its sections.

use super::{
    Finding, at,
    devices::{extension, installs},
    none, number,
};
use crate::inf::{Inf, Line, Section};

const LEGACY_SECTIONS: &[&str] = &["DefaultInstall", "ClassInstall32"];

const LEGACY_EXTENSIONS: &[&str] = &["CoInstallers", "FactDef", "LogConfigOverride"];

pub const LEGACY_DIRECTIVES: &[&str] = &[
    "BitReg",
    "DelFiles",
    "DelProperty",
    "DelReg",
    "DelService",
    "Ini2Reg",
    "LogConfig",
    "ProfileItems",
    "RegisterDlls",
    "RenFiles",
    "UnregisterDlls",
    "UpdateIniFields",
    "UpdateInis",
];

/// The suffixes of the sections that belong to an install section.
const EXTENSIONS: &[&str] = &[
    "Services",
    "HW",
    "Interfaces",
    "Events",
    "Filters",
    "Software",
];

/// The directives that name other sections, and the range of fields that do.
const REFERENCES: &[(&str, usize, usize)] = &[
    ("CopyFiles", 0, usize::MAX),
    ("AddReg", 0, usize::MAX),
    ("AddProperty", 0, usize::MAX),
    ("AddFilter", 2, 3),
    ("AddInterface", 2, 3),
    ("AddService", 2, 4),
];

/// No section installs something without a device, changes a setup class, or runs code.
pub fn no_legacy_section(inf: &Inf) -> Finding {
    let is_legacy = |section: &&Section| {
        let mut parts = section.name.split('.');
        let among =
            |names: &[&str], part: &str| names.iter().any(|own| own.eq_ignore_ascii_case(part));
        parts
            .next()
            .is_some_and(|first| among(LEGACY_SECTIONS, first))
            || parts.any(|part| among(LEGACY_EXTENSIONS, part))
    };
    let found = inf.sections.iter().filter(is_legacy);
    none(found.map(|section| format!("[{}]", section.name)), "none")
}

/// No directive deletes, renames or registers a file or writes to one.
pub fn no_legacy_directive(inf: &Inf) -> Finding {
    let is_legacy = |line: &&Line| LEGACY_DIRECTIVES.iter().any(|own| line.is(own));
    none(inf.lines().filter(is_legacy).map(at), "none")
}

/// Returns the lines of the sections that a directive names.
fn lines_of<'a>(inf: &'a Inf, directive: &str) -> Vec<&'a Line> {
    let named = inf.lines().filter(|line| line.is(directive));
    let named = named.flat_map(|line| &line.fields);
    named.flat_map(|name| inf.lines_in(name)).collect()
}

/// Finds the values of `AddReg` sections that are `wrong`.
fn registry(inf: &Inf, wrong: impl Fn(&Line) -> bool) -> Finding {
    let lines = lines_of(inf, "AddReg");
    let right = format!("{} values", lines.len());
    none(lines.into_iter().filter(|line| wrong(line)).map(at), &right)
}

/// All values are relative to the key of the device, of its interface or of its service (`HKR`).
pub fn registry_is_relative(inf: &Inf) -> Finding {
    registry(inf, |line| !line.field(0).eq_ignore_ascii_case("HKR"))
}

/// No co-installer is registered.
pub fn no_co_installer(inf: &Inf) -> Finding {
    registry(inf, |line| {
        line.field(2).eq_ignore_ascii_case("CoInstallers32")
    })
}

/// No value has `FLG_ADDREG_APPEND`.
pub fn nothing_appended(inf: &Inf) -> Finding {
    registry(inf, |line| {
        number(line.field(3)).is_some_and(|flags| flags & 8 != 0)
    })
}

/// Returns the files that `CopyFiles` copies: those listed in the sections that it names, and those that it names with a `@`.
pub fn copied_files(inf: &Inf) -> Vec<&str> {
    let directives = inf.lines().filter(|line| line.is("CopyFiles"));
    let named = directives
        .flat_map(|line| &line.fields)
        .filter_map(|name| name.strip_prefix('@'));
    let listed = lines_of(inf, "CopyFiles")
        .into_iter()
        .map(|line| line.field(0));
    listed.chain(named).collect()
}

/// Each file that is copied is listed in `[SourceDisksFiles]`, with a disk of `[SourceDisksNames]`.
pub fn files_have_a_source(inf: &Inf) -> Finding {
    let mut wrong = Vec::new();
    let (sources, disks) = (
        inf.section("SourceDisksFiles"),
        inf.section("SourceDisksNames"),
    );
    let files = copied_files(inf);
    for file in &files {
        match sources.and_then(|sources| sources.value(file)) {
            None => wrong.push(format!("{file} is not in [SourceDisksFiles]")),
            Some(disk) if disks.is_none_or(|disks| disks.value(disk).is_none()) => {
                wrong.push(format!("disk {disk} is not in [SourceDisksNames]"));
            }
            Some(_) => {}
        }
    }
    if files.is_empty() {
        wrong.push("no file is copied".into());
    }
    none(wrong, &files.join(", "))
}

/// Every file goes to `DIRID` 13, under the name and in the folder that it has in the package.
pub fn files_run_from_the_driver_store(inf: &Inf) -> Finding {
    let destinations = inf.lines_in("DestinationDirs");
    let is_store = |line: &&Line| line.field(0) == "13" && line.field(1).is_empty();
    let mut wrong: Vec<_> = destinations
        .iter()
        .filter(|line| !is_store(line))
        .map(at)
        .collect();
    if !destinations.iter().any(|line| line.is("DefaultDestDir")) {
        wrong.push("[DestinationDirs] has no DefaultDestDir".into());
    }
    let renamed = |line: &&Line| !line.field(1).is_empty();
    let copied = lines_of(inf, "CopyFiles").into_iter();
    wrong.extend(copied.filter(renamed).map(at));
    let sources = inf.lines_in("SourceDisksFiles").iter();
    wrong.extend(sources.filter(renamed).map(at));
    none(wrong, "13")
}

/// Each `%string%` is defined in `[Strings]`.
pub fn strings(inf: &Inf) -> Finding {
    none(inf.undefined_strings.iter().cloned(), "all are there")
}

/// Each section that is named exists, and each section is named by another one or known to Windows.
pub fn sections(inf: &Inf) -> Finding {
    let mut named: Vec<String> = ["Version", "Strings", "Manufacturer", "DestinationDirs"]
        .map(String::from)
        .into();
    named.extend(["SourceDisksNames", "SourceDisksFiles"].map(String::from));
    let models = inf.models().into_iter();
    named.extend(models.map(|(name, own)| own.map_or(name.clone(), |own| format!("{name}.{own}"))));
    for install in installs(inf) {
        named.push(install.name.clone());
        let extensions = EXTENSIONS
            .iter()
            .filter_map(|name| extension(inf, install, name));
        named.extend(extensions.map(|section| section.name.clone()));
    }
    for line in inf.lines() {
        for (_, first, end) in REFERENCES.iter().filter(|reference| line.is(reference.0)) {
            let fields = line.fields.iter().take(*end).skip(*first);
            // `CopyFiles = @file` names a file.
            let sections = fields.filter(|name| !name.is_empty() && !name.starts_with('@'));
            named.extend(sections.cloned());
        }
    }
    let missing = named.iter().filter(|name| inf.section(name).is_none());
    let mut wrong: Vec<_> = missing
        .map(|name| format!("[{name}] does not exist"))
        .collect();
    let is_known = |own: &Section| own.has_strings() || own.is("ControlFlags");
    let unused = inf
        .sections
        .iter()
        .filter(|own| !is_known(own) && !named.iter().any(|name| own.is(name)));
    wrong.extend(unused.map(|section| format!("[{}] is not used", section.name)));
    none(wrong, &inf.sections.len().to_string())
}
