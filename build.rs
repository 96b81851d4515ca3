//! The drivers' build script: has `interlock-sys` and the .sys of each sample linked as WDM drivers.
//!
//! On Windows `wdk_build` is Microsoft's crate and finds the installed WDK; elsewhere it is the one in
//! `cross/wdk-build`.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()?;
    // The Windows version, as the WDK's own build rules have it. Without these an image says 6.0. Of two
    // /SUBSYSTEM the last one holds.
    println!("cargo::rustc-cdylib-link-arg=/SUBSYSTEM:NATIVE,10.00");
    println!("cargo::rustc-cdylib-link-arg=/OSVERSION:10.0");
    // Not /guard:cf. It would take core and alloc compiled with -Ccontrol-flow-guard, and a load configuration
    // (`_load_config_used`) in the image, which a linker does not make by itself. It would buy checks of indirect calls
    // on systems where the kernel's own Control Flow Guard runs, that is with virtualization-based security; this driver
    // makes few, all through pointers to functions of its own.
    // The image names its PDB as it will be called, and no folder of the machine that built it.
    let driver = env!("CARGO_PKG_NAME").trim_end_matches("-sys");
    println!("cargo::rustc-cdylib-link-arg=/PDBALTPATH:{driver}.pdb");
    Ok(())
}
