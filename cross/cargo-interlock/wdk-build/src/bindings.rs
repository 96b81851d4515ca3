//! Configures bindgen for the kit's headers.

use std::borrow::Borrow;

use bindgen::{Builder, EnumVariation, Formatter, RustEdition, RustTarget};

use crate::{
    Config, ConfigError, CpuArchitecture,
    kit::{self, Kit},
};

/// Deprecated routines, which are left out so that no driver calls them.
const DEPRECATED: &[&str] = &[
    "ExAllocatePool",
    "ExAllocatePoolWithTag",
    "ExAllocatePoolWithTagPriority",
    "ExAllocatePoolWithQuota",
    "ExAllocatePoolWithQuotaTag",
];

/// The include guards of clang's headers for vector intrinsics. If a guard is defined, its header is skipped. bindgen cannot express
/// these intrinsics, and blocking them by name takes longer than all other work.
const VECTOR_HEADERS: &[&str] = &[
    "__X86INTRIN_H",
    "__IMMINTRIN_H",
    "__MMINTRIN_H",
    "__XMMINTRIN_H",
    "__EMMINTRIN_H",
    "__PMMINTRIN_H",
];

/// Names in a WDK's headers whose layout bindgen gets wrong or cannot express.
const INEXPRESSIBLE: &[&str] = &[
    ".*MCG_CAP(?:__bindgen.*)?",
    ".*WHEA_XPF_MCA_SECTION",
    ".*WHEA_ARM_BUS_ERROR(?:__bindgen.*)?",
    ".*WHEA_ARM_PROCESSOR_ERROR",
    ".*WHEA_ARM_CACHE_ERROR",
    ".*ADDRESS0_OWNERSHIP_ACQUIRE",
];

/// Structures that the headers name without defining them.
const UNDEFINED: &[&str] = &["_KGDTENTRY64", "_KIDTENTRY64"];

/// Makes a bindgen builder for the headers of a [`Config`].
pub trait BuilderExt {
    /// Returns a builder with the folders of the headers and the macros of the driver's target.
    ///
    /// # Errors
    ///
    /// If a folder of headers is missing.
    fn wdk_default(config: impl Borrow<Config>) -> Result<Builder, ConfigError>;
}

/// Returns the macros that mingw-w64's `wdm.h` needs for the architecture, in addition to those of clang and the WDK.
fn mingw_architecture(architecture: CpuArchitecture) -> &'static [&'static str] {
    match architecture {
        CpuArchitecture::Amd64 => &[],
        // `wdm.h` does not support ARM64. For ARM it includes `armddk.h`, which mingw-w64 lacks and `include` contains.
        CpuArchitecture::Arm64 => &["-D_M_ARM"],
    }
}

impl BuilderExt for Builder {
    fn wdk_default(config: impl Borrow<Config>) -> Result<Builder, ConfigError> {
        let config = config.borrow();
        let clang = format!("-isystem{}", kit::clang_include()?.display());
        let include = config
            .include_paths()?
            .map(|path| format!("-I{}", path.display()));
        let define = config
            .preprocessor_definitions()
            .map(|definition| match definition {
                (name, Some(value)) => format!("-D{name}={value}"),
                (name, None) => format!("-D{name}"),
            });
        let target = match config.kit {
            Kit::Mingw => "windows-gnu",
            Kit::Wdk(_) => "windows-msvc",
        };
        let target = format!(
            "--target={}-pc-{target}",
            config.architecture().clang_name()
        );
        let msrv = RustTarget::stable(91, 0)
            .map_err(|error| ConfigError::new(format!("bindgen: {error}")))?;

        let builder = Builder::default()
            .use_core()
            .rust_edition(RustEdition::Edition2024)
            .rust_target(msrv)
            .derive_default(true)
            .generate_cstr(true)
            .default_enum_style(EnumVariation::ModuleConsts)
            .must_use_type("NTSTATUS")
            .formatter(Formatter::Prettyplease)
            .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
            .detect_include_paths(false)
            .clang_args([&target, "-fms-extensions", "-fno-builtin", "-w"])
            .clang_args(include)
            .clang_arg(clang)
            .clang_args(define);
        let builder = match config.kit {
            Kit::Mingw => builder
                .clang_args(VECTOR_HEADERS.iter().map(|guard| format!("-D{guard}")))
                .clang_args(mingw_architecture(config.architecture())),
            // A WDK's inline functions, unlike mingw-w64's, rely on how Microsoft's compiler parses.
            Kit::Wdk(_) => INEXPRESSIBLE.iter().fold(
                builder.clang_arg("-fms-compatibility"),
                Builder::blocklist_item,
            ),
        };
        let builder = DEPRECATED.iter().fold(builder, Builder::blocklist_item);
        Ok(UNDEFINED.iter().fold(builder, Builder::opaque_type))
    }
}
