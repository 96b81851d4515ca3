//! `cargo interlock`: creates, builds, checks, packages and runs WDM drivers in Rust.
//!
//! On Windows it calls the WDK's tools. On other systems it does their work itself, with Debian packages.

#![forbid(unsafe_code)]

/// Files of this package, each as its name elsewhere and its content: the folder, then the names and the names in the folder.
macro_rules! files {
    ($folder:literal: $($to:literal = $from:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("../", $folder, "/", $from)))),*]
    };
    ($folder:literal: $($name:literal),* $(,)?) => { files!($folder: $($name = $name),*) };
}

mod arch;
mod build_folder;
mod building;
mod catalog;
mod check;
mod cross;
mod debian;
mod driver;
mod finish;
mod functions;
mod image;
mod imports;
mod inf;
mod inf_rules;
mod kit;
mod natvis;
mod new;
mod package;
mod packaging;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod script;
mod signing;
mod stamp;
mod stand_in;
mod wdk_package;
#[cfg(unix)]
mod wine;

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use arch::Arch;
use check::Check;
use clap::{Args, Parser, Subcommand};
use driver::Driver;

/// The arguments from Cargo, which passes the name of the subcommand.
#[derive(Parser)]
#[command(bin_name = "cargo")]
enum Cargo {
    Interlock(Arguments),
}

/// Creates, builds, checks, packages and runs WDM drivers in Rust
#[derive(Args)]
#[command(version, display_name = "cargo-interlock")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Args)]
struct Which {
    /// The package of the driver [default: the one of the current folder, or every driver of the workspace]
    #[arg(long, short)]
    package: Option<String>,
    /// The architecture
    #[arg(long, value_enum, default_value_t)]
    arch: Arch,
}

/// The features to build the driver with, as Cargo takes them.
#[derive(Args)]
struct Features {
    /// A feature of the driver's package, or several, separated by commas
    #[arg(long, short = 'F', value_name = "FEATURES")]
    features: Vec<String>,
    /// Do not activate the feature `default`
    #[arg(long)]
    no_default_features: bool,
}

impl Features {
    /// Returns the options for Cargo.
    fn options(self) -> Vec<String> {
        let features = self.features.into_iter();
        let without_default = self
            .no_default_features
            .then(|| "--no-default-features".into());
        features
            .map(|features| format!("--features={features}"))
            .chain(without_default)
            .collect()
    }
}

#[derive(Subcommand)]
enum Task {
    /// Create a workspace for a driver: its logic with a test on the model kernel, the .sys crate, and the INF if it has one
    New {
        /// The driver's name
        name: String,
        /// The kind of driver
        #[arg(long, value_enum, default_value_t)]
        kind: new::Kind,
        /// The folder or the Git address of Interlock's repository [default: the source that this program was installed from]
        #[arg(long)]
        interlock: Option<String>,
    },
    /// Build NAME.sys, NAME.pdb and NAME.inf into target/interlock; for ARM64 into target/interlock-arm64
    Build {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        features: Features,
        /// Further options for `cargo build`
        #[arg(last = true, value_name = "CARGO_OPTIONS")]
        options: Vec<String>,
    },
    /// Build the driver, and check its INF, that Windows can load it, and that it cannot panic
    Check {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        features: Features,
    },
    /// Build the driver for x64, and make a test-signed package
    Package {
        /// The package of the driver, if the workspace has several drivers
        #[arg(long, short)]
        package: Option<String>,
        #[command(flatten)]
        features: Features,
        /// The folder to create [default: target/package]; an earlier package in its place is deleted
        #[arg(long)]
        out: Option<PathBuf>,
        /// A further file for the package
        #[arg(long, value_name = "FILE")]
        add: Vec<PathBuf>,
    },
    /// Build the driver, install it under Wine, open its device, run a command, and remove the driver
    #[cfg(unix)]
    Wine {
        /// The package of the driver, if the workspace has several drivers
        #[arg(long, short)]
        package: Option<String>,
        #[command(flatten)]
        features: Features,
        /// Write the debug output of the driver to target/wine/wine.log
        #[arg(long)]
        debug_log: bool,
        /// A program for Windows, and its arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Run another Cargo command, such as `check`, for the driver, with the settings of `build`
    Cargo {
        #[command(flatten)]
        which: Which,
        /// The command
        command: String,
        /// Its options
        #[arg(last = true, value_name = "CARGO_OPTIONS")]
        options: Vec<String>,
    },
    /// List the required tools, and whether they are installed
    Doctor {
        /// Install missing packages (Debian only)
        #[arg(long)]
        install: bool,
        /// Additional Debian packages
        packages: Vec<String>,
    },
    /// Check that a PDB contains NatVis files, and every type and field that they name
    CheckNatvis {
        /// The PDB
        pdb: PathBuf,
        /// The NatVis files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Optional elements must exist too: the driver was built with the feature `lock-debug`
        #[arg(long)]
        lock_debug: bool,
    },
    /// Write the crate that replaces wdk-build on systems other than Windows
    #[command(hide = true)]
    StandIn {
        /// The folder
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let Cargo::Interlock(arguments) = Cargo::parse();
    match perform(arguments.task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo interlock: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command, and returns `false` if a check failed.
fn perform(task: Task) -> Result<bool, String> {
    match task {
        Task::New {
            name,
            kind,
            interlock,
        } => new::new(&name, kind, interlock.as_deref())?,
        Task::Build {
            which,
            features,
            options,
        } => {
            let options = [features.options(), options].concat();
            for driver in Driver::find_all(which.package.as_deref(), &options)? {
                building::build(&driver, which.arch, &options)?;
            }
        }
        Task::Check { which, features } => {
            let options = features.options();
            let mut right = true;
            for driver in Driver::find_all(which.package.as_deref(), &[])? {
                building::build(&driver, which.arch, &options)?;
                right &= building::check(&driver, which.arch)?;
            }
            return Ok(right);
        }
        Task::Package {
            package,
            features,
            out,
            add,
        } => {
            let driver = Driver::find(package.as_deref())?;
            building::build(&driver, Arch::X64, &features.options())?;
            let out = out.unwrap_or_else(|| driver.workspace.target.join("package"));
            return packaging::make(&driver, &out, &add);
        }
        #[cfg(unix)]
        Task::Wine {
            package,
            features,
            debug_log,
            command,
        } => {
            let driver = Driver::find(package.as_deref())?;
            wine::wine(&driver, &features.options(), debug_log, &command)?;
        }
        Task::Cargo {
            which,
            command,
            options,
        } => {
            for driver in Driver::find_all(which.package.as_deref(), &options)? {
                building::cargo(&driver, which.arch, &command, &options)?;
            }
        }
        Task::Doctor { .. } if cfg!(windows) => return kit::doctor(),
        Task::Doctor { install, packages } => return debian::doctor(install, &packages),
        Task::CheckNatvis {
            pdb,
            files,
            lock_debug,
        } => return check_natvis(&pdb, &files, lock_debug),
        Task::StandIn { folder } => stand_in::write(&folder)?,
    }
    Ok(true)
}

fn check_natvis(pdb: &Path, files: &[PathBuf], lock_debug: bool) -> Result<bool, String> {
    let parsed = natvis::Pdb::parse(&read(pdb)?).map_err(|error| about(pdb, error))?;
    let mut all_hold = true;
    for file in files {
        let name = file.display();
        match parsed.check(&read(file)?, lock_debug) {
            Ok(natvis::Checked { types, expressions }) => {
                println!("ok      {name}: {types} types, {expressions} expressions");
            }
            Err(errors) => {
                all_hold = false;
                for error in errors {
                    println!("FAILED  {name}: {error}");
                }
            }
        }
    }
    Ok(all_hold)
}

/// Runs a program and shows its output.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| format!("{program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} failed: {status}"))
    }
}

/// Prints the checks, and returns `false` if one failed.
fn report(checks: &[Check]) -> bool {
    for check in checks {
        println!("{check}");
    }
    checks.iter().all(|check| check.outcome.is_ok())
}

fn about(path: &Path, error: impl Display) -> String {
    format!("{}: {error}", path.display())
}

/// Returns a string of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| about(path, error))
}

fn text_of(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|_| about(path, "is not UTF-8; save it as plain text"))
}

fn write(path: &Path, data: &[u8]) -> Result<(), String> {
    fs::write(path, data).map_err(|error| about(path, error))
}

fn make_folders(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| about(path, error))
}
