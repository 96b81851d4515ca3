//! Links `{{name}}` as a WDM driver.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()?;
    // The Windows version, as the WDK's own build rules have it.
    println!("cargo::rustc-cdylib-link-arg=/SUBSYSTEM:NATIVE,10.00");
    println!("cargo::rustc-cdylib-link-arg=/OSVERSION:10.0");
    // The image names its PDB without a folder of the machine that built it.
    println!("cargo::rustc-cdylib-link-arg=/PDBALTPATH:{{name}}.pdb");
    Ok(())
}
