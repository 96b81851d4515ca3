//! `package`: makes the folder that is copied to the test machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    about, arch::Arch, building, debian, driver::Driver, kit, package, report,
    signing::Certificate, wdk_package, write,
};

/// Makes the test-signed package for x64 in `folder`, with `further` files, and returns whether its checks passed.
///
/// A driver without an INF is not installed as a package, so no catalog is made; its .sys file is signed, as Windows requires.
pub fn make(driver: &Driver, folder: &Path, further: &[PathBuf]) -> Result<bool, String> {
    let built = |extension| driver.built(Arch::X64, extension);
    let mut files = vec![built("sys"), built("pdb")];
    files.extend_from_slice(further);
    let has_inf = driver.template.is_some();
    if !has_inf {
        println!("skipped INF and catalog: the driver has no INF; `sc.exe create` installs it");
    }
    if cfg!(windows) {
        wdk_package::make(&kit::Kit::installed()?, driver, &files, folder)?;
        return Ok(true);
    }
    debian::require(debian::PACKAGE)?;
    if has_inf {
        files.push(built("inf"));
    }
    fill(folder, &files)?;

    let file = |extension: &str| folder.join(format!("{}.{extension}", driver.name));
    let sys = file("sys");
    let certificate = driver.workspace.target.join("test-certificate");
    let certificate = Certificate::in_folder(&certificate, &driver.name)?;
    certificate.sign(&sys, &driver.name)?;
    certificate.export(&file("cer"))?;
    let mut right = building::check_image(driver, Arch::X64, &sys)?;
    let mut catalog = None;
    if has_inf {
        let inf = file("inf");
        // The catalog contains the hashes of the files in their final state.
        let package = package::Package::open(&inf)?;
        let path = package.catalog_path()?;
        write(&path, &package.catalog()?)?;
        certificate.sign(&path, &driver.name)?;
        right &= building::check_inf(Arch::X64, &inf)?;
        right &= report(&package.check_catalog()?);
        catalog = Some(path);
    }
    let scratch = driver.workspace.target.join("interlock/changed");
    right &= report(&certificate.check(&sys, catalog.as_deref(), &scratch)?);
    fs::remove_dir_all(&scratch).map_err(|error| about(&scratch, &error.to_string()))?;
    println!("made    {}", folder.display());
    Ok(right)
}

/// Creates a folder that contains copies of these files and nothing else.
pub fn fill(folder: &Path, files: &[PathBuf]) -> Result<(), String> {
    let wrong = |path: &Path, error: std::io::Error| about(path, &error.to_string());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| wrong(folder, error))?;
    }
    fs::create_dir_all(folder).map_err(|error| wrong(folder, error))?;
    for file in files {
        let copy = folder.join(file.file_name().unwrap_or_default());
        fs::copy(file, copy).map_err(|error| wrong(file, error))?;
    }
    Ok(())
}
