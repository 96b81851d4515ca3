//! Prints the instructions for Cargo: the driver model, the libraries and the linker's arguments.

use std::{env, fs, path::Path};

use crate::{Config, ConfigError};

/// The linker's arguments for a WDM driver, as in the WDK's build rules. lld-link has no `/KERNEL`, so `cargo interlock` sets the flags of
/// the sections after the link.
const DRIVER_ARGUMENTS: &[&str] = &[
    "/DRIVER",
    "/SUBSYSTEM:NATIVE",
    "/ENTRY:DriverEntry",
    "/NODEFAULTLIB",
    "/NXCOMPAT",
    "/DYNAMICBASE",
    "/INTEGRITYCHECK",
    "/MANIFEST:NO",
    "/OPT:REF,ICF",
    "/RELEASE",
    "/Brepro",
];

/// Sets the driver model of the crate that is built. Without it, `wdk-sys` and the crates that use it are empty.
pub(crate) fn emit_cfg() {
    println!(
        r#"cargo::rustc-check-cfg=cfg(driver_model__driver_type, values("WDM", "KMDF", "UMDF"))"#
    );
    println!(r#"cargo::rustc-cfg=driver_model__driver_type="WDM""#);
}

/// Returns Rust source that links `libraries`, except in tests, which run in user mode.
pub(crate) fn link_attributes(libraries: &[&str]) -> String {
    let attribute = |library: &&str| {
        format!(
            "#[cfg(not(any(test, feature = \"suppress-wdk-linking\")))]\n\
             #[link(name = \"{library}\", kind = \"static\", modifiers = \"-bundle\")]\n\
             unsafe extern \"C\" {{}}\n"
        )
    };
    libraries.iter().map(attribute).collect()
}

/// Links the crate that is built as a driver.
pub(crate) fn configure_driver(config: &Config) -> Result<(), ConfigError> {
    check_driver_model()?;
    if !variable("CARGO_CFG_TARGET_FEATURE")
        .split(',')
        .any(|feature| feature == "crt-static")
    {
        return Err(ConfigError::new(
            "the target feature crt-static is off; build with `cargo interlock build`, or add \
             `-C target-feature=+crt-static` to the target's rustflags",
        ));
    }
    let out_dir = variable("OUT_DIR");
    let libraries = config
        .kit
        .library_path(config.architecture(), Path::new(&out_dir))?;
    println!("cargo::rustc-link-search={}", libraries.display());
    for argument in DRIVER_ARGUMENTS {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    emit_cfg();
    Ok(())
}

/// Returns an error if the manifest of a driver requires a framework.
fn check_driver_model() -> Result<(), ConfigError> {
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text =
        fs::read_to_string(&manifest).map_err(|error| ConfigError::with_path(&manifest, error))?;
    match driver_model(&text) {
        Some(model) if model != "WDM" => Err(ConfigError::new(format!(
            "the driver's model is {model}: only WDM drivers can be built on hosts other than Windows"
        ))),
        _ => Ok(()),
    }
}

/// Returns the value of a manifest's `driver-type`.
fn driver_model(manifest: &str) -> Option<&str> {
    manifest.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "driver-type").then(|| value.trim().trim_matches('"'))
    })
}

/// Returns a variable that Cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_model_is_read() {
        let manifest = "[package.metadata.wdk.driver-model]\ndriver-type = \"KMDF\"\n";
        assert_eq!(driver_model(manifest), Some("KMDF"));
        assert_eq!(driver_model("[package]\nname = \"driver-type\"\n"), None);
    }

    #[test]
    fn every_library_is_linked() {
        let source = link_attributes(&["ntoskrnl", "hal"]);
        assert_eq!(source.matches("#[link(").count(), 2);
        assert!(source.contains("name = \"hal\", kind = \"static\", modifiers = \"-bundle\""));
    }
}
