//! What a WDK's tools do with a driver after it is linked, for build hosts that have none.

#![forbid(unsafe_code)]

mod arch;
mod build_folder;
mod catalog;
mod check;
mod finish;
mod image;
mod imports;
mod inf;
mod inf_rules;
mod kit;
mod natvis;
mod package;
#[cfg(test)]
mod sample;
mod script;
mod stamp;
mod wdk_package;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use arch::Arch;
use check::Check;
use clap::{Parser, Subcommand};
use package::Package;

/// Finishes and checks a driver's image, stamps and checks its INF, makes its catalog, and checks scripts.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check that the driver can be built, with Microsoft's wdk-build, where Cargo puts what it builds; exit with 1 if not
    CheckBuildFolder,
    /// Put right what lld-link leaves wrong in a driver's sections, and set the checksum
    FinishImage {
        /// The image as it was linked
        input: PathBuf,
        /// The image to write
        output: PathBuf,
    },
    /// Check a finished driver image, one line for each property; exit with 1 if any is wrong
    CheckImage {
        /// The image
        file: PathBuf,
        /// The architecture that it must be for
        #[arg(long, value_enum, default_value_t)]
        arch: Arch,
    },
    /// Check PowerShell scripts, as far as can be told without PowerShell; exit with 1 if anything is wrong
    CheckScripts {
        /// The scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check that NatVis files are in a PDB, and that every type and field that they name is there; exit with 1 if not
    CheckNatvis {
        /// The PDB
        pdb: PathBuf,
        /// The NatVis files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// What the files call optional must be there too: the driver was built with the feature `lock-debug`
        #[arg(long)]
        lock_debug: bool,
    },
    /// Fill in an INF's architecture, version and date, which is `SOURCE_DATE_EPOCH` or today
    StampInf {
        /// The template
        input: PathBuf,
        /// The INF to write
        output: PathBuf,
        /// The architecture
        #[arg(long, value_enum, default_value_t)]
        arch: Arch,
        /// The driver's version, of four numbers
        #[arg(long, value_name = "VERSION", default_value = concat!(env!("CARGO_PKG_VERSION"), ".0"))]
        version: String,
    },
    /// Check a stamped INF by the rules for Windows drivers, one line for each; exit with 1 if any is broken
    CheckInf {
        /// The INF
        file: PathBuf,
        /// The architecture that it must be for
        #[arg(long, value_enum, default_value_t)]
        arch: Arch,
    },
    /// Write the catalog of a package, not signed yet, beside its INF
    MakeCatalog {
        /// The INF, which names the catalog and is in one folder with the files that it names
        inf: PathBuf,
    },
    /// Make the driver package, signed for testing, with the tools of the WDK that wdk-build finds too
    MakePackage {
        /// The folder of the driver, its .pdb and harness.exe
        built: PathBuf,
        /// The template of the INF
        template: PathBuf,
        /// The folder to make; one that is there is removed first
        package: PathBuf,
    },
    /// Check that the catalog beside an INF lists the package's files as they are; exit with 1 if not
    CheckCatalog {
        /// The INF
        inf: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("interlock-cross: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what is asked; `false` is a check that failed.
fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::CheckBuildFolder => build_folder::check().map(|()| true),
        Command::FinishImage { input, output } => {
            let image = finish::finish(&read(&input)?).map_err(|error| about(&input, &error))?;
            write(&output, &image)?;
            Ok(true)
        }
        Command::CheckImage { file, arch } => {
            let data = read(&file)?;
            let image = image::Image::parse(&data).map_err(|error| about(&file, &error))?;
            Ok(report(&check::all(&image, arch, &check::private_paths())))
        }
        Command::CheckScripts { files } => {
            let mut right = true;
            for file in &files {
                let text = text_of(file)?;
                let problems = script::problems(&text).map_err(|error| about(file, &error))?;
                for problem in &problems {
                    println!("{}", about(file, problem));
                }
                right &= problems.is_empty();
            }
            Ok(right)
        }
        Command::CheckNatvis {
            pdb,
            files,
            lock_debug,
        } => {
            let parsed = natvis::Pdb::parse(&read(&pdb)?).map_err(|error| about(&pdb, &error))?;
            let mut all_hold = true;
            for file in files {
                let name = file.display();
                match parsed.check(&read(&file)?, lock_debug) {
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
        Command::StampInf {
            input,
            output,
            arch,
            version,
        } => {
            let text = text_of(&input)?;
            let stamp = stamp::Stamp {
                arch,
                version: &version,
                date: stamp::date()?,
            };
            let stamped = stamp.apply(&text).map_err(|error| about(&input, &error))?;
            write(&output, stamped.as_bytes())?;
            Ok(true)
        }
        Command::CheckInf { file, arch } => {
            let checks =
                inf_rules::all(&text_of(&file)?, arch).map_err(|error| about(&file, &error))?;
            Ok(report(&checks))
        }
        Command::MakeCatalog { inf } => {
            let package = Package::open(&inf)?;
            write(&package.catalog_path()?, &package.catalog()?)?;
            Ok(true)
        }
        Command::MakePackage {
            built,
            template,
            package,
        } => {
            wdk_package::make(&kit::Kit::installed()?, &built, &template, &package)?;
            Ok(true)
        }
        Command::CheckCatalog { inf } => Ok(report(&Package::open(&inf)?.check_catalog()?)),
    }
}

/// Prints what was checked; `false` if any of it was wrong.
fn report(checks: &[Check]) -> bool {
    for check in checks {
        println!("{check}");
    }
    checks.iter().all(|check| check.outcome.is_ok())
}

fn about(path: &Path, error: &str) -> String {
    format!("{}: {error}", path.display())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| about(path, &error.to_string()))
}

fn text_of(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|_| about(path, "is not UTF-8; save it as plain text"))
}

fn write(path: &Path, data: &[u8]) -> Result<(), String> {
    fs::write(path, data).map_err(|error| about(path, &error.to_string()))
}
