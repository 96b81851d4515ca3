//! Links `{{name}}` as a WDM driver.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()?;
    // The Windows version that the WDK's build rules set.
    println!("cargo::rustc-cdylib-link-arg=/SUBSYSTEM:NATIVE,10.00");
    println!("cargo::rustc-cdylib-link-arg=/OSVERSION:10.0");
    // The image contains the name of its PDB without the folder on the build machine.
    println!("cargo::rustc-cdylib-link-arg=/PDBALTPATH:{{name}}.pdb");
    Ok(())
}
