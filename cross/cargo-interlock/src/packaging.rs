//! `package`: the folder that is copied to the test machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    about, arch::Arch, building, debian, driver::Driver, kit, package, report,
    signing::Certificate, wdk_package, write,
};

/// Makes the package for x64, signed for testing, in `folder`, with `further` files: whether it is as it should be.
pub fn make(driver: &Driver, folder: &Path, further: &[PathBuf]) -> Result<bool, String> {
    let built = |extension| driver.built(Arch::X64, extension);
    let mut files = vec![built("sys"), built("pdb")];
    files.extend_from_slice(further);
    if cfg!(windows) {
        wdk_package::make(&kit::Kit::installed()?, driver, &files, folder)?;
        return Ok(true);
    }
    debian::require(debian::PACKAGE)?;
    files.push(built("inf"));
    fill(folder, &files)?;

    let file = |extension: &str| folder.join(format!("{}.{extension}", driver.name));
    let (sys, inf) = (file("sys"), file("inf"));
    let certificate = driver.workspace.target.join("test-certificate");
    let certificate = Certificate::in_folder(&certificate, &driver.name)?;
    certificate.sign(&sys, &driver.name)?;
    // The catalog is of the files as they are now.
    let package = package::Package::open(&inf)?;
    let catalog = package.catalog_path()?;
    write(&catalog, &package.catalog()?)?;
    certificate.sign(&catalog, &driver.name)?;
    certificate.export(&file("cer"))?;

    let image = building::check_image(driver, Arch::X64, &sys)?;
    let inf = building::check_inf(Arch::X64, &inf)?;
    let listed = report(&package.check_catalog()?);
    let scratch = driver.workspace.target.join("interlock/changed");
    let signed = report(&certificate.check(&sys, &catalog, &scratch)?);
    fs::remove_dir_all(&scratch).map_err(|error| about(&scratch, &error.to_string()))?;
    println!("made    {}", folder.display());
    Ok(image && inf && listed && signed)
}

/// Makes a folder of copies of some files, and of nothing else.
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
