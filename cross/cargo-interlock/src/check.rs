//! Checks the properties that Windows requires of a driver image.

use std::{
    env, fmt,
    path::{MAIN_SEPARATOR, Path, PathBuf},
};

use object::{
    LittleEndian as LE,
    pe::{
        IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE as DYNAMIC_BASE,
        IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY as FORCE_INTEGRITY,
        IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA as HIGH_ENTROPY_VA,
        IMAGE_DLLCHARACTERISTICS_NX_COMPAT as NX_COMPAT, IMAGE_FILE_RELOCS_STRIPPED,
        IMAGE_SCN_MEM_DISCARDABLE, IMAGE_SCN_MEM_EXECUTE, IMAGE_SCN_MEM_NOT_PAGED,
        IMAGE_SCN_MEM_WRITE, IMAGE_SUBSYSTEM_NATIVE,
    },
};

use crate::{
    arch::Arch,
    finish::is_pageable,
    image::{Image, Section},
    imports,
};

/// The Windows version for which the WDK's build rules link drivers.
const WINDOWS: (u16, u16) = (10, 0);

/// The name of a check and its result: the value found, or the error.
pub struct Check {
    pub name: &'static str,
    pub outcome: Result<String, String>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(found) => write!(f, "ok      {}: {found}", self.name),
            Err(found) => write!(f, "FAILED  {}: {found}", self.name),
        }
    }
}

/// Runs every check. `pdb` is the name of the PDB that the image must refer to, and `private_paths` must not occur in the file.
pub fn all(image: &Image, arch: Arch, pdb: &str, private_paths: &[String]) -> Vec<Check> {
    let mut checks = vec![("machine", machine(image, arch))];
    checks.extend(headers(image));
    checks.extend(sections(&image.sections()));
    checks.extend(contents(image, arch, pdb, private_paths));
    let check = |(name, outcome)| Check { name, outcome };
    checks.into_iter().map(check).collect()
}

/// The name of a check and its result.
type Finding = (&'static str, Result<String, String>);

fn machine(image: &Image, arch: Arch) -> Result<String, String> {
    let machine = image.file.nt_headers().file_header.machine.get(LE);
    let known = Arch::ALL.iter().find(|arch| arch.machine() == machine);
    let found = known.map_or_else(|| format!("{:#06x}", machine.0), |arch| arch.name().into());
    let wrong = format!("{found}, not {}", arch.name());
    expect(machine == arch.machine(), &found, &wrong)
}

fn headers(image: &Image) -> Vec<Finding> {
    let header = image.optional_header();
    let subsystem = header.subsystem.get(LE);
    let flags = header.dll_characteristics.get(LE);
    let flag = |flag, name: &str| expect(flags.contains(flag), name, &format!("no {name}"));
    let (stored, right) = (header.check_sum.get(LE), image.checksum());
    let checksum = expect(
        stored == right,
        &format!("{right:#x}"),
        &format!("{stored:#x}, not {right:#x}"),
    );
    let is_native = subsystem == IMAGE_SUBSYSTEM_NATIVE;
    let subsystem = expect(is_native, "native", &subsystem.0.to_string());
    let (align, file_align) = (
        header.section_alignment.get(LE),
        header.file_alignment.get(LE),
    );
    let windows = (
        header.major_operating_system_version.get(LE),
        header.minor_operating_system_version.get(LE),
    );
    let subsystem_version = (
        header.major_subsystem_version.get(LE),
        header.minor_subsystem_version.get(LE),
    );
    let versions = format!(
        "Windows {}.{}, subsystem {}.{}",
        windows.0, windows.1, subsystem_version.0, subsystem_version.1
    );
    let are_right = windows == WINDOWS && subsystem_version == WINDOWS;
    let versions = expect(are_right, &versions, &versions);
    let alignment = format!("sections to {align:#x} in memory, to {file_align:#x} in the file");
    let is_right = align == 0x1000 && file_align >= 0x200;
    let alignment = expect(is_right, &alignment, &alignment);
    vec![
        ("subsystem", subsystem),
        ("versions", versions),
        ("data is not executable", flag(NX_COMPAT, "NX_COMPAT")),
        ("loads at any address", flag(DYNAMIC_BASE, "DYNAMIC_BASE")),
        (
            "loads at any 64-bit address",
            flag(HIGH_ENTROPY_VA, "HIGH_ENTROPY_VA"),
        ),
        (
            "signature required",
            flag(FORCE_INTEGRITY, "FORCE_INTEGRITY"),
        ),
        ("checksum", checksum),
        ("alignment", alignment),
    ]
}

fn sections(sections: &[Section]) -> Vec<Finding> {
    let has = |section: &Section, flag| section.flags.contains(flag);
    vec![
        (
            "sections have flags",
            without(sections, |section| section.flags.0 == 0),
        ),
        (
            "no writable executable section",
            without(sections, |section| {
                has(section, IMAGE_SCN_MEM_WRITE | IMAGE_SCN_MEM_EXECUTE)
            }),
        ),
        (
            "non-paged except PAGE",
            without(sections, |section| {
                let resident = has(section, IMAGE_SCN_MEM_NOT_PAGED);
                !has(section, IMAGE_SCN_MEM_DISCARDABLE) && resident == is_pageable(&section.name)
            }),
        ),
        (
            "INIT and .reloc are freed",
            without(sections, |section| {
                let freed = has(section, IMAGE_SCN_MEM_DISCARDABLE);
                match section.name.as_str() {
                    "INIT" | ".reloc" => !freed,
                    ".text" | ".rdata" | ".data" | ".pdata" => freed,
                    name => freed && is_pageable(name),
                }
            }),
        ),
    ]
}

fn contents(image: &Image, arch: Arch, pdb: &str, private_paths: &[String]) -> Vec<Finding> {
    let named = image.pdb().unwrap_or_else(|| "none".into());
    vec![
        ("relocations", relocations(image)),
        ("entry point", entry_point(image)),
        ("imports", imports(image, arch)),
        ("exports", exports(image)),
        (
            "PDB",
            expect(named == pdb, &named, &format!("{named}, not {pdb}")),
        ),
        (
            "no path of the build machine",
            paths(image.data, private_paths),
        ),
    ]
}

fn expect(holds: bool, right: &str, wrong: &str) -> Result<String, String> {
    if holds {
        Ok(right.into())
    } else {
        Err(wrong.into())
    }
}

/// Passes if no section is `wrong`.
fn without(sections: &[Section], wrong: impl Fn(&Section) -> bool) -> Result<String, String> {
    let list = |sections: Vec<&Section>| {
        let each = sections
            .iter()
            .map(|section| format!("{} {:#010x}", section.name, section.flags.0));
        each.collect::<Vec<_>>().join(", ")
    };
    let bad: Vec<_> = sections.iter().filter(|section| wrong(section)).collect();
    if bad.is_empty() {
        Ok(list(sections.iter().collect()))
    } else {
        Err(list(bad))
    }
}

fn relocations(image: &Image) -> Result<String, String> {
    let flags = image.file.nt_headers().file_header.characteristics.get(LE);
    if flags.contains(IMAGE_FILE_RELOCS_STRIPPED) {
        return Err("stripped".into());
    }
    match image.relocations() {
        Ok(0) => Ok("none, and none is needed".into()),
        Ok(count) => Ok(count.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn entry_point(image: &Image) -> Result<String, String> {
    let entry = image.optional_header().address_of_entry_point.get(LE);
    let table = image.file.section_table();
    let mut sections = table.iter().filter(|section| {
        let start = section.virtual_address.get(LE);
        entry
            .checked_sub(start)
            .is_some_and(|offset| offset < section.virtual_size.get(LE))
    });
    let executable = sections.any(|section| {
        section
            .characteristics
            .get(LE)
            .contains(IMAGE_SCN_MEM_EXECUTE)
    });
    expect(
        executable,
        &format!("{entry:#x}"),
        &format!("{entry:#x} is not in an executable section"),
    )
}

/// Checks that the kernel exports every import.
pub fn imports(image: &Image, arch: Arch) -> Result<String, String> {
    let imports = image.imports().map_err(|error| error.to_string())?;
    let refusals: Vec<_> = imports
        .iter()
        .filter_map(|(dll, name)| imports::refusal(arch, dll, name))
        .collect();
    if !refusals.is_empty() {
        return Err(refusals.join("; "));
    }
    let of_one_dll = imports.chunk_by(|(one, _), (next, _)| one == next);
    let lists: Vec<_> = of_one_dll
        .map(|imports| {
            let names: Vec<_> = imports.iter().map(|(_, name)| name.as_str()).collect();
            format!("{}: {}", imports[0].0, names.join(", "))
        })
        .collect();
    expect(!lists.is_empty(), &lists.join("; "), "none")
}

fn exports(image: &Image) -> Result<String, String> {
    let exports = image.exports().map_err(|error| error.to_string())?;
    expect(exports.is_empty(), "none", &exports.join(", "))
}

fn paths(data: &[u8], private: &[String]) -> Result<String, String> {
    let found: Vec<_> = private
        .iter()
        .filter(|path| {
            data.windows(path.len())
                .any(|window| window == path.as_bytes())
        })
        .map(String::as_str)
        .collect();
    expect(found.is_empty(), "none", &found.join(", "))
}

/// Returns the beginnings of the paths that a build of this workspace on this machine could leave in a binary.
pub fn private_paths(workspace: &Path) -> Vec<String> {
    let variables = ["HOME", "USERPROFILE", "CARGO_HOME", "CARGO_TARGET_DIR"];
    let common = ["/home/", "/root/", "/tmp/", "/Users/", r":\Users\"].map(String::from);
    let own = variables.into_iter().filter_map(env::var_os);
    let own = own.map(PathBuf::from).chain([workspace.to_owned()]);
    own.filter_map(|path| beginning(&path))
        .chain(common)
        .collect()
}

/// Returns a folder's path with a separator at its end. A relative path such as `target` and the root occur in every file.
fn beginning(folder: &Path) -> Option<String> {
    let path = folder.to_str()?.trim_end_matches(MAIN_SEPARATOR);
    let is_private = folder.is_absolute() && folder.parent().is_some();
    is_private.then(|| format!("{path}{MAIN_SEPARATOR}"))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
