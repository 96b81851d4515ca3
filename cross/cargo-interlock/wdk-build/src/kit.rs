//! Finds headers and import libraries.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{ConfigError, CpuArchitecture};

/// The headers that mingw-w64 lacks, and the definitions of the import libraries.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The folder of the headers in Debian's `mingw-w64-x86-64-dev`.
const MINGW_INCLUDE: &str = "/usr/x86_64-w64-mingw32/include";

/// A set of headers and libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kit {
    /// mingw-w64's DDK headers, and import libraries that the build makes.
    Mingw,
    /// A WDK, unpacked in this folder.
    Wdk(PathBuf),
}

impl Kit {
    /// Returns the WDK that `WDKContentRoot` names, or else mingw-w64's headers.
    pub(crate) fn from_env() -> Self {
        println!("cargo::rerun-if-env-changed=WDKContentRoot");
        match env::var_os("WDKContentRoot") {
            Some(root) if !root.is_empty() => Self::Wdk(root.into()),
            _ => Self::Mingw,
        }
    }

    /// Returns the folders of the headers, in search order.
    pub(crate) fn include_paths(
        &self,
        architecture: CpuArchitecture,
    ) -> Result<Vec<PathBuf>, ConfigError> {
        match self {
            Self::Mingw => {
                let mingw = Path::new(MINGW_INCLUDE);
                let provider = "the package mingw-w64-x86-64-dev";
                let own = Path::new(HERE).join("include");
                let mut paths = match architecture {
                    CpuArchitecture::Amd64 => Vec::new(),
                    // These headers replace mingw-w64's of the same name.
                    CpuArchitecture::Arm64 => vec![existing(own.join("arm64"), "this crate")?],
                };
                paths.extend([
                    existing(own, "this crate")?,
                    existing(mingw.join("ddk"), provider)?,
                    existing(mingw.to_path_buf(), provider)?,
                ]);
                Ok(paths)
            }
            Self::Wdk(root) => {
                let include = latest_version(&root.join("Include"))?;
                ["km/crt", "km", "shared"]
                    .into_iter()
                    .map(|folder| existing(include.join(folder), "the WDK"))
                    .collect()
            }
        }
    }

    /// Returns the headers of the base API, in the order in which they must be included.
    pub(crate) fn base_headers(&self) -> &'static [&'static str] {
        match self {
            Self::Mingw => &["ntifs.h", "ntddk.h", "ntstrsafe.h", "mingw_lacks.h"],
            Self::Wdk(_) => &["ntifs.h", "ntddk.h", "ntstrsafe.h"],
        }
    }

    /// Returns the libraries that a WDM driver is linked with.
    pub(crate) fn libraries(&self) -> &'static [&'static str] {
        match self {
            Self::Mingw => &["ntoskrnl", "hal"],
            Self::Wdk(_) => &["BufferOverflowFastFailK", "ntoskrnl", "hal", "wmilib"],
        }
    }

    /// Returns the folder of [`Self::libraries`]. Without a WDK this is `out_dir`, in which they are made.
    pub(crate) fn library_path(
        &self,
        architecture: CpuArchitecture,
        out_dir: &Path,
    ) -> Result<PathBuf, ConfigError> {
        match self {
            Self::Mingw => {
                let definitions = Path::new(HERE).join("imports").join(architecture.folder());
                for library in self.libraries() {
                    crate::import_library::make(library, &definitions, architecture, out_dir)?;
                }
                Ok(out_dir.to_path_buf())
            }
            Self::Wdk(root) => {
                let library = latest_version(&root.join("Lib"))?;
                existing(library.join("km").join(architecture.folder()), "the WDK")
            }
        }
    }
}

/// Returns the folder of clang's own headers, which libclang does not find.
pub(crate) fn clang_include() -> Result<PathBuf, ConfigError> {
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");
    let library = env::var_os("LIBCLANG_PATH").unwrap_or_else(|| "/usr/lib/llvm-19/lib".into());
    let versions = Path::new(&library).join("clang");
    let newest = subfolders(&versions)?.into_iter().max();
    let include = newest.unwrap_or(versions).join("include");
    existing(include, "the package libclang-19-dev")
}

/// Returns the folder of the newest version, such as `10.0.26100.0`, in a WDK's `Include` or `Lib`.
fn latest_version(folder: &Path) -> Result<PathBuf, ConfigError> {
    let version = |path: &PathBuf| -> Option<Vec<u32>> {
        let name = path.file_name()?.to_str()?;
        name.split('.').map(|part| part.parse().ok()).collect()
    };
    subfolders(folder)?
        .into_iter()
        .filter(|path| version(path).is_some_and(|parts| parts.first() == Some(&10)))
        .max_by_key(version)
        .ok_or_else(|| not_found(&folder.join("10.*"), "the WDK that WDKContentRoot names"))
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = fs::read_dir(folder).map_err(|error| ConfigError::with_path(folder, error))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect())
}

fn existing(directory: PathBuf, provider: &str) -> Result<PathBuf, ConfigError> {
    if directory.is_dir() {
        Ok(directory)
    } else {
        Err(not_found(&directory, provider))
    }
}

/// Returns the error for a folder of headers or libraries that a package contains.
fn not_found(folder: &Path, provider: &str) -> ConfigError {
    let folder = folder.display();
    ConfigError::new(format!(
        "the folder {folder} does not exist: install {provider}, which contains it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates an empty folder for a test.
    fn scratch(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("wdk-build-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn newest_wdk_is_used() {
        let root = scratch("newest");
        for version in ["10.0.9600.0", "10.0.26100.0", "wdf"] {
            for folder in ["km/crt", "shared"] {
                fs::create_dir_all(root.join("Include").join(version).join(folder)).unwrap();
            }
            fs::create_dir_all(root.join("Lib").join(version).join("km/x64")).unwrap();
        }
        let kit = Kit::Wdk(root.clone());
        let include = root.join("Include/10.0.26100.0");
        assert_eq!(
            kit.include_paths(CpuArchitecture::Amd64).unwrap(),
            ["km/crt", "km", "shared"].map(|folder| include.join(folder))
        );
        let found = kit.library_path(CpuArchitecture::Amd64, &root).unwrap();
        assert_eq!(found, root.join("Lib/10.0.26100.0/km/x64"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn folder_without_a_wdk_is_refused() {
        let root = scratch("refused");
        assert!(
            Kit::Wdk(root.clone())
                .include_paths(CpuArchitecture::Amd64)
                .is_err()
        );
        fs::create_dir_all(root.join("Include/not-a-version")).unwrap();
        let error = Kit::Wdk(root.clone())
            .include_paths(CpuArchitecture::Amd64)
            .unwrap_err();
        assert!(error.to_string().contains("WDKContentRoot"), "{error}");
        fs::remove_dir_all(root).unwrap();
    }
}
