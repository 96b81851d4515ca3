//! Replaces Microsoft's `wdk-build` on build hosts other than Windows.
//!
//! Microsoft's crate finds an installed WDK through the registry and only compiles on Windows. This crate has the items that the build
//! scripts of `wdk-sys`, `wdk`, `wdk-alloc`, `wdk-panic` and of a driver use, so that these compile unmodified. It supports the Windows
//! Driver Model on x86-64 and ARM64.
//!
//! Headers are mingw-w64's, with `include` for what they lack, and the import libraries are made from the module
//! definitions in `imports`, which `cargo interlock` writes. If the environment variable `WDKContentRoot` names the folder of a WDK
//! (`Include/10.*`, `Lib/10.*`), that WDK's headers and libraries are used instead.

mod bindings;
mod error;
mod import_library;
mod kit;
mod link;

use std::{env, path::PathBuf};

pub use bindings::BuilderExt;
pub use error::{ConfigError, IoError};

use kit::Kit;

/// The target of a build, and its headers and libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    kit: Kit,
    architecture: CpuArchitecture,
    /// The driver model; always [`DriverConfig::Wdm`].
    pub driver_config: DriverConfig,
}

/// A driver model. `wdk-sys` matches on all three; a [`Config`] always has WDM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverConfig {
    /// The Windows Driver Model.
    Wdm,
    /// The Kernel-Mode Driver Framework.
    Kmdf(KmdfConfig),
    /// The User-Mode Driver Framework.
    Umdf(UmdfConfig),
}

/// The version of the Kernel-Mode Driver Framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmdfConfig {
    /// The major version.
    pub kmdf_version_major: u8,
    /// The minor version.
    pub target_kmdf_version_minor: u8,
    /// The lowest minor version that is sufficient.
    pub minimum_kmdf_version_minor: Option<u8>,
}

/// The version of the User-Mode Driver Framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UmdfConfig {
    /// The major version.
    pub umdf_version_major: u8,
    /// The minor version.
    pub target_umdf_version_minor: u8,
    /// The lowest minor version that is sufficient.
    pub minimum_umdf_version_minor: Option<u8>,
}

/// A part of the kernel's API that has its own headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of wdk-sys' features")]
pub enum ApiSubset {
    Base,
    Wdf,
    Gpio,
    Hid,
    ParallelPorts,
    Spb,
    Storage,
    Usb,
}

/// An architecture of Windows. A new one needs an arm in each function below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuArchitecture {
    /// x86-64.
    Amd64,
    /// ARM64.
    Arm64,
}

impl CpuArchitecture {
    fn from_env() -> Result<Self, ConfigError> {
        match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
            Ok("x86_64") => Ok(Self::Amd64),
            Ok("aarch64") => Ok(Self::Arm64),
            other => Err(ConfigError::new(format!(
                "cannot build a driver for {}: only x86_64 and aarch64 are supported on hosts other than Windows",
                other.unwrap_or("an unknown target")
            ))),
        }
    }

    /// Returns the name of a WDK's folder of libraries.
    fn folder(self) -> &'static str {
        match self {
            Self::Amd64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    fn clang_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn dlltool_machine(self) -> &'static str {
        match self {
            Self::Amd64 => "i386:x86-64",
            Self::Arm64 => "arm64",
        }
    }

    fn definitions(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["_WIN64", "_AMD64_", "AMD64"],
            Self::Arm64 => &["_WIN64", "_ARM64_", "ARM64"],
        }
    }
}

impl Config {
    /// Returns the configuration of the calling build script.
    ///
    /// # Errors
    ///
    /// If the target's architecture is not supported.
    pub fn from_env_auto() -> Result<Self, ConfigError> {
        Ok(Self {
            kit: Kit::from_env(),
            architecture: CpuArchitecture::from_env()?,
            driver_config: DriverConfig::Wdm,
        })
    }

    /// Returns the architecture to build for.
    #[must_use]
    pub fn architecture(&self) -> CpuArchitecture {
        self.architecture
    }

    /// Returns the folders of the headers, in search order.
    ///
    /// # Errors
    ///
    /// If one of them is missing.
    pub fn include_paths(&self) -> Result<impl Iterator<Item = PathBuf>, ConfigError> {
        Ok(self.kit.include_paths(self.architecture)?.into_iter())
    }

    /// Returns the macros that the headers require, with their values.
    pub fn preprocessor_definitions(&self) -> impl Iterator<Item = (String, Option<String>)> {
        // Microsoft's compiler defines the last one when it compiles for the kernel.
        let names = self
            .architecture
            .definitions()
            .iter()
            .chain(&["_KERNEL_MODE"]);
        names.map(|name| ((*name).to_owned(), None))
    }

    /// Returns the names of the headers that declare a part of the API.
    ///
    /// # Errors
    ///
    /// For a part whose headers are not supported.
    pub fn headers(&self, subset: ApiSubset) -> Result<impl Iterator<Item = String>, ConfigError> {
        let headers = match subset {
            ApiSubset::Base => self.kit.base_headers(),
            // A WDM driver does not use the framework's headers.
            ApiSubset::Wdf => &[],
            other => {
                return Err(ConfigError::new(format!(
                    "the headers for {other:?} are only in the WDK: leave out that feature of wdk-sys, or build on \
                     Windows"
                )));
            }
        };
        Ok(headers.iter().map(|header| (*header).to_owned()))
    }

    /// Returns a header that includes the headers of all these parts of the API.
    ///
    /// # Errors
    ///
    /// For a part whose headers are not supported.
    pub fn bindgen_header_contents(
        &self,
        subsets: impl IntoIterator<Item = ApiSubset>,
    ) -> Result<String, ConfigError> {
        let mut lines = Vec::new();
        for subset in subsets {
            lines.extend(
                self.headers(subset)?
                    .map(|header| format!("#include <{header}>\n")),
            );
        }
        Ok(lines.concat())
    }

    /// Returns Rust source for the bindings that links the libraries of a part of the API.
    #[must_use]
    pub fn bindgen_library_link_raw_lines(&self, subset: ApiSubset) -> Option<String> {
        (subset == ApiSubset::Base).then(|| link::link_attributes(self.kit.libraries()))
    }

    /// Returns the symbol of the framework's function table, which a WDM driver does not have.
    #[must_use]
    pub fn compute_wdffunctions_symbol_name(&self) -> Option<String> {
        None
    }
}

/// Configures the build of a library that uses `wdk-sys`; called from its build script.
///
/// # Errors
///
/// If the target is not supported.
pub fn configure_wdk_library_build() -> Result<(), ConfigError> {
    configure_wdk_library_build_and_then(|_| Ok(()))
}

/// Configures the build of a library and calls `next` with the configuration.
///
/// # Errors
///
/// If the target is not supported, or `next` fails.
pub fn configure_wdk_library_build_and_then<E: From<ConfigError>>(
    mut next: impl FnMut(Config) -> Result<(), E>,
) -> Result<(), E> {
    let config = Config::from_env_auto()?;
    link::emit_cfg();
    next(config)
}

/// Configures the build of a driver; called from the driver's build script.
///
/// # Errors
///
/// If the target or the driver's model is not supported, if the C runtime is not linked statically, or if
/// the libraries are missing and cannot be made.
pub fn configure_wdk_binary_build() -> Result<(), ConfigError> {
    link::configure_driver(&Config::from_env_auto()?)
}
