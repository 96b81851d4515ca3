//! Writes the crate that replaces Microsoft's `wdk-build` on build hosts other than Windows.
//!
//! Its files are part of this program, so that an installed program does not need the repository.

use std::{fs, path::Path};

use crate::{about, arch::Arch, imports, text_of};

const FILES: &[(&str, &str)] = files! { "wdk-build":
    // A folder with a `Cargo.toml` would not be part of this package.
    "Cargo.toml" = "manifest.toml",
    "include/arm64/armddk.h" = "include/arm64/armddk.h",
    "include/arm64/wdm.h" = "include/arm64/wdm.h",
    "include/mingw_lacks.h" = "include/mingw_lacks.h",
    "src/bindings.rs" = "src/bindings.rs",
    "src/error.rs" = "src/error.rs",
    "src/import_library.rs" = "src/import_library.rs",
    "src/kit.rs" = "src/kit.rs",
    "src/lib.rs" = "src/lib.rs",
    "src/link.rs" = "src/link.rs",
};

/// Writes the crate and the definitions of the import libraries, unless they are up to date.
pub fn write(folder: &Path) -> Result<(), String> {
    for (name, text) in FILES {
        write_if_changed(&folder.join(name), text)?;
    }
    for arch in Arch::ALL {
        for (name, text) in imports::definitions(arch) {
            write_if_changed(
                &folder.join("imports").join(arch.wdk_name()).join(name),
                &text,
            )?;
        }
    }
    Ok(())
}

/// Cargo rebuilds the dependents of a file that was written, so a file with the right content is not written again.
pub fn write_if_changed(path: &Path, text: &str) -> Result<(), String> {
    if path.exists() && text_of(path)? == text {
        return Ok(());
    }
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        fs::write(path, text)
    };
    write().map_err(|error| about(path, error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn files(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.insert(fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_file_of_the_crate_is_in_the_program() {
        let mut found = BTreeSet::new();
        files(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("wdk-build"),
            &mut found,
        );
        let included = FILES.iter().map(|(_, text)| (*text).to_owned()).collect();
        assert_eq!(found, included);
    }
}
