//! The drivers' build script: links `interlock-sys` and the .sys of each sample as WDM drivers.
//!
//! On Windows `wdk_build` is Microsoft's crate and finds the installed WDK; elsewhere it is the one in
//! `cross/wdk-build`.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()?;
    // The Windows version, as in the WDK's own build rules. Without these options the version in an image is 6.0.
    // If there are two /SUBSYSTEM options, the last one applies.
    println!("cargo::rustc-cdylib-link-arg=/SUBSYSTEM:NATIVE,10.00");
    println!("cargo::rustc-cdylib-link-arg=/OSVERSION:10.0");
    // Not /guard:cf. It would require core and alloc compiled with -Ccontrol-flow-guard, and a load configuration
    // (`_load_config_used`) in the image, which a linker does not make by itself. It would add checks of indirect calls
    // on systems where the kernel's own Control Flow Guard runs, that is with virtualization-based security; this driver
    // makes few, all through pointers to functions of its own.
    // The image contains the final name of its PDB, and no folder of the build machine.
    let driver = env!("CARGO_PKG_NAME").trim_end_matches("-sys");
    println!("cargo::rustc-cdylib-link-arg=/PDBALTPATH:{driver}.pdb");
    Ok(())
}
