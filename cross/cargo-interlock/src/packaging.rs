//! `package`: makes the folder that is copied to the test machine.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    about, arch::Arch, building, debian, driver::Driver, kit, package, read, report,
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
    let holds = unless_failed(folder, complete(driver, folder))?;
    println!("made    {}", folder.display());
    Ok(holds)
}

/// Signs the files in a package, makes its catalog if it has an INF, and returns whether its checks passed.
fn complete(driver: &Driver, folder: &Path) -> Result<bool, String> {
    let file = |extension: &str| folder.join(format!("{}.{extension}", driver.name));
    let sys = file("sys");
    let certificate = driver.workspace.target.join("test-certificate");
    let certificate = Certificate::in_folder(&certificate, &driver.name)?;
    certificate.sign(&sys, &driver.name)?;
    certificate.export(&file("cer"))?;
    let mut right = building::check_image(driver, Arch::X64, &sys)?;
    let mut catalog = None;
    if driver.template.is_some() {
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
    fs::remove_dir_all(&scratch).map_err(|error| about(&scratch, error))?;
    Ok(right)
}

/// Deletes the folder of a package that could not be completed, so that it is not installed.
pub fn unless_failed<T>(folder: &Path, made: Result<T, String>) -> Result<T, String> {
    if made.is_err() {
        // The error of the package is more important.
        drop(fs::remove_dir_all(folder));
    }
    made
}

/// Creates a folder that contains copies of these files and nothing else. An earlier package in its place is deleted.
pub fn fill(folder: &Path, files: &[PathBuf]) -> Result<(), String> {
    // The files are read first: they can be in the folder, and nothing is deleted if one is missing.
    let mut contents = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default();
        if contents.insert(name, read(file)?).is_some() {
            return Err(about(file, "the package has another file of this name"));
        }
    }
    let wrong = |error: std::io::Error| about(folder, error);
    if folder.exists() {
        if !is_package(folder).map_err(wrong)? {
            return Err(about(
                folder,
                "is not deleted, since it is not an earlier package: it has folders, or files but no .sys file; \
                 choose another folder with --out, or delete it",
            ));
        }
        fs::remove_dir_all(folder).map_err(wrong)?;
    }
    fs::create_dir_all(folder).map_err(wrong)?;
    for (name, data) in contents {
        write(&folder.join(name), &data)?;
    }
    Ok(())
}

/// Returns whether a folder is empty, or has a .sys file and no folders, as a package does.
fn is_package(folder: &Path) -> std::io::Result<bool> {
    let (mut has_sys, mut is_empty) = (false, true);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            return Ok(false);
        }
        is_empty = false;
        has_sys |= entry.path().extension() == Some(OsStr::new("sys"));
    }
    Ok(has_sys || is_empty)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::sample::names_in;

    #[test]
    fn only_a_package_is_replaced() {
        let work = TempDir::new().unwrap();
        let [sys, folder] = ["gate.sys", "package"].map(|name| work.path().join(name));
        fs::write(&sys, "new").unwrap();
        fs::create_dir(&folder).unwrap();
        fill(&folder, std::slice::from_ref(&sys)).unwrap();
        fs::write(folder.join("old.sys"), "old").unwrap();
        fill(&folder, std::slice::from_ref(&sys)).unwrap();
        assert_eq!(names_in(&folder), ["gate.sys"]);

        // The folder of the workspace, or one with the user's files.
        let others = [folder.join("notes"), folder.join("notes/today.txt")];
        fs::create_dir(&others[0]).unwrap();
        fs::write(&others[1], "mine").unwrap();
        for other in [&folder, &others[0]] {
            let error = fill(other, std::slice::from_ref(&sys)).unwrap_err();
            assert!(error.contains("--out"), "{error}");
        }
        assert_eq!(names_in(&folder), ["gate.sys", "notes"]);
        assert_eq!(fs::read_to_string(&others[1]).unwrap(), "mine");
    }

    #[test]
    fn files_of_the_earlier_package_are_not_lost() {
        let work = TempDir::new().unwrap();
        let [sys, folder] = ["gate.sys", "package"].map(|name| work.path().join(name));
        fs::write(&sys, "new").unwrap();
        fs::create_dir(&folder).unwrap();
        let notes = folder.join("notes.txt");
        for file in [&notes, &folder.join("gate.sys")] {
            fs::write(file, "old").unwrap();
        }
        for wrong in [folder.join("none.txt"), folder.join("gate.sys")] {
            assert!(fill(&folder, &[sys.clone(), wrong]).is_err());
            assert_eq!(names_in(&folder), ["gate.sys", "notes.txt"]);
        }
        fill(&folder, &[sys, notes.clone()]).unwrap();
        assert_eq!(fs::read_to_string(notes).unwrap(), "old");
    }
}
