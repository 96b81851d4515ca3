//! `build` and `check`: builds the driver, and checks the files.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    about, arch::Arch, build_folder, check, cross, debian, driver::Driver, finish, functions,
    image::Image, inf_rules, make_folders, read, report, run, stamp, text_of, write,
};

/// Runs a Cargo command, such as `build`, for the driver, and returns the output folder.
pub fn cargo(
    driver: &Driver,
    arch: Arch,
    command: &str,
    options: &[String],
) -> Result<PathBuf, String> {
    if !cfg!(windows) {
        debian::require(debian::BUILD)?;
        cross::cargo(driver, arch, command, options)?;
        return Ok(cross::target(&driver.workspace));
    }
    let workspace = &driver.workspace;
    build_folder::check(&workspace.target, &workspace.root)?;
    run(Command::new("cargo")
        .args([command, "--package", &driver.package])
        .args(["--target", arch.triple()])
        .args(options)
        .current_dir(&workspace.root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&workspace.root)))?;
    Ok(workspace.target.clone())
}

/// Builds the driver, and copies `NAME.sys`, `NAME.pdb` and, if it has one, `NAME.inf` to its workspace's `target/interlock`.
pub fn build(driver: &Driver, arch: Arch, options: &[String]) -> Result<(), String> {
    refuse_other_output(options)?;
    // Before the long build, since an invalid template makes the build useless.
    let inf = stamped_inf(driver, arch)?;
    let options = [&["--release".to_owned()], options].concat();
    let released = cargo(driver, arch, "build", &options)?;
    let released = released.join(arch.triple()).join("release");
    let folder = driver.workspace.built(arch);
    make_folders(&folder)?;
    let linked = |extension: &str| released.join(format!("{}.{extension}", driver.library));

    let dll = linked("dll");
    let image = finish::finish(&read(&dll)?).map_err(|error| about(&dll, error))?;
    let imports = check::imports(&Image::parse(&image)?, arch);
    imports.map_err(|error| format!("{}.sys cannot be loaded: {error}", driver.name))?;
    let sys = driver.built(arch, "sys");
    write(&sys, &image)?;
    write(&driver.built(arch, "pdb"), &read(&linked("pdb"))?)?;
    if let Some(inf) = inf {
        write(&driver.built(arch, "inf"), inf.as_bytes())?;
    }
    println!("built   {}", sys.display());
    Ok(())
}

/// Returns the INF that is made from the driver's template, if it has one.
fn stamped_inf(driver: &Driver, arch: Arch) -> Result<Option<String>, String> {
    let Some(template) = &driver.template else {
        return Ok(None);
    };
    let stamp = stamp::Stamp {
        arch,
        version: &driver.version,
        date: stamp::date()?,
    };
    let inf = stamp.apply(&text_of(template)?);
    inf.map(Some).map_err(|error| about(template, error))
}

/// Returns an error if an option would make Cargo write the driver to a folder in which `build` does not look for it.
fn refuse_other_output(options: &[String]) -> Result<(), String> {
    let refused = [
        (
            "--target-dir",
            "set CARGO_TARGET_DIR to build in another folder",
        ),
        (
            "--target",
            "pass --arch before `--` for another architecture",
        ),
        (
            "--profile",
            "a driver is built with the profile `release`; change that profile in Cargo.toml",
        ),
        ("--release", "it is always passed"),
        (
            "--manifest-path",
            "run the command in the workspace of the driver",
        ),
    ];
    let names = |name: &str| {
        options
            .iter()
            .any(|option| option.split('=').next() == Some(name))
    };
    match refused.iter().find(|(name, _)| names(name)) {
        None => Ok(()),
        Some((name, instead)) => Err(format!(
            "`{name}` cannot be passed to `cargo build`: {instead}"
        )),
    }
}

/// Returns the flags that `wdk-build` requires, and those that keep local paths out of the driver.
fn flags(workspace: &Path) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    let home = std::env::home_dir().map(|home| (home, "~"));
    for (path, name) in home.into_iter().chain([(workspace.to_owned(), ".")]) {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// Checks the driver, prints a line for each property, and returns whether all of them hold.
pub fn check(driver: &Driver, arch: Arch) -> Result<bool, String> {
    let image = check_image(driver, arch, &driver.built(arch, "sys"))?;
    let inf = if driver.template.is_some() {
        check_inf(arch, &driver.built(arch, "inf"))?
    } else {
        println!("skipped INF: the driver has none (`inf = false` in its manifest)");
        true
    };
    // Whether Microsoft's linker removes functions that nothing calls was not tested.
    let panics = cfg!(windows) || check_for_panics(&driver.built(arch, "pdb"))?;
    Ok(image && inf && panics)
}

pub fn check_image(driver: &Driver, arch: Arch, file: &Path) -> Result<bool, String> {
    let data = read(file)?;
    let image = Image::parse(&data).map_err(|error| about(file, error))?;
    let pdb = format!("{}.pdb", driver.name);
    Ok(report(&check::all(
        &image,
        arch,
        &pdb,
        &check::private_paths(&driver.workspace.root),
    )))
}

pub fn check_inf(arch: Arch, file: &Path) -> Result<bool, String> {
    let checks = inf_rules::all(&text_of(file)?, arch).map_err(|error| about(file, error))?;
    Ok(report(&checks))
}

/// Checks that no function can panic, by the names of the functions in the PDB.
fn check_for_panics(pdb: &Path) -> Result<bool, String> {
    let functions = functions::names(&read(pdb)?).map_err(|error| about(pdb, error))?;
    let outcome = if functions.is_empty() {
        Err(format!("{} names no functions", pdb.display()))
    } else {
        panics(&functions)
    };
    Ok(report(&[check::Check {
        name: "no panic",
        outcome,
    }]))
}

/// Passes if no function is one of `core::panicking`. Each panic calls one that is never inlined, and the linker keeps only functions that
/// are called.
fn panics(functions: &[String]) -> Result<String, String> {
    let is_panic = |name: &&String| name.starts_with("core::panicking::");
    let panics: Vec<_> = functions.iter().filter(is_panic).collect();
    match *panics {
        [] => Ok(format!("none of {} functions", functions.len())),
        [first, ..] => Err(format!(
            "the driver contains {} functions of a panic, which is a bug check; the first is {first}. Index with `get`, and divide by \
             what cannot be zero",
            panics.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_of_core_panicking_are_panics() {
        let named =
            |names: &[&str]| panics(&names.iter().map(|&name| name.into()).collect::<Vec<_>>());
        // A driver's own functions, and the methods of a type of `core::panic`.
        assert!(
            named(&[
                "pump::stop_without_panic",
                "pump::panic",
                "core::panic::Location::file"
            ])
            .is_ok()
        );
        for panic in [
            "core::panicking::panic_fmt",
            "core::panicking::panic_bounds_check",
        ] {
            let error = named(&["pump::start", panic]).unwrap_err();
            assert!(error.contains(panic), "{error}");
        }
    }

    #[test]
    fn option_that_moves_the_output_is_refused() {
        let refused = |options: &[&str]| {
            let options: Vec<_> = options.iter().map(|&option| option.into()).collect();
            refuse_other_output(&options)
        };
        assert_eq!(refused(&["--features", "target", "--locked"]), Ok(()));
        for options in [
            &["--target-dir", "elsewhere"][..],
            &["--locked", "--target-dir=elsewhere"],
            &["--target=i686-pc-windows-msvc"],
            &["--profile", "dev"],
            &["--manifest-path", "Cargo.toml"],
            &["--release", "--locked"],
        ] {
            let error = refused(options).unwrap_err();
            let (option, _) = options[options.len() - 1]
                .split_once('=')
                .unwrap_or((options[0], ""));
            assert!(error.contains(&format!("`{option}`")), "{error}");
        }
    }
}
