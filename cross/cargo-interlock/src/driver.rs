//! Finds the driver that a command is for, from the manifests of the workspace.
//!
//! A driver is a package of the workspace with a `cdylib` and the table `package.metadata.wdk.driver-model`, which
//! Microsoft's `wdk-build` also requires. `NAME.sys` has the package's name, and `NAME.inx`, the template of its INF, is
//! in the folder of its manifest, unless `package.metadata.interlock` says otherwise:
//!
//! ```toml
//! [package.metadata.interlock]
//! name = "interlock"
//! inf = "../inf/interlock.inx"
//! ```
//!
//! A driver without Plug and Play, whose device is a control device, has `inf = false`.

use std::{
    env,
    path::{Path, PathBuf},
};

use cargo_metadata::{Metadata, MetadataCommand, Package, TargetKind};

use crate::arch::Arch;

/// A workspace and its target folder.
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    /// The folders of all packages that are not from a registry.
    pub local_packages: Vec<PathBuf>,
}

/// A driver in a workspace.
pub struct Driver {
    pub workspace: Workspace,
    /// The Cargo package.
    pub package: String,
    /// The name of the driver's files.
    pub name: String,
    /// The version for its INF, of four numbers.
    pub version: String,
    /// The template of its INF, if it has one.
    pub template: Option<PathBuf>,
    /// Cargo's name of the library: `LIBRARY.dll`, `LIBRARY.pdb`.
    pub library: String,
}

impl Driver {
    /// Finds the driver of this package, or the one in the current folder, or the only one.
    pub fn find(package: Option<&str>) -> Result<Self, String> {
        let metadata = metadata(&mut MetadataCommand::new())?;
        match &*choose(&metadata, package, &here()?)? {
            [driver] => Self::new(&metadata, driver),
            several => Err(format!(
                "choose a driver with --package: {}",
                names(several)
            )),
        }
    }

    /// Finds the driver as [`Driver::find`] does, or all drivers of the workspace if neither the package nor the folder selects one.
    ///
    /// Of the options for Cargo, only those apply that forbid it to change `Cargo.lock` or to use the network.
    pub fn find_all(package: Option<&str>, options: &[String]) -> Result<Vec<Self>, String> {
        let applies =
            |option: &&String| ["--locked", "--offline", "--frozen"].contains(&option.as_str());
        let options: Vec<_> = options.iter().filter(applies).cloned().collect();
        let metadata = metadata(MetadataCommand::new().other_options(options))?;
        let chosen = choose(&metadata, package, &here()?)?;
        let drivers = chosen.iter().map(|driver| Self::new(&metadata, driver));
        drivers.collect()
    }

    /// Finds the driver in the workspace with this manifest.
    #[cfg(test)]
    pub fn in_workspace(manifest: &Path) -> Result<Self, String> {
        let mut command = MetadataCommand::new();
        let metadata = metadata(command.manifest_path(manifest).no_deps())?;
        Self::new(&metadata, choose(&metadata, None, manifest)?[0])
    }

    fn new(metadata: &Metadata, package: &Package) -> Result<Self, String> {
        let setting = |key: &str| package.metadata["interlock"][key].as_str();
        let folder = package.manifest_path.parent().unwrap_or("".into());
        let name = setting("name").unwrap_or(&package.name).to_owned();
        let has_inf = package.metadata["interlock"]["inf"] != false;
        let template = has_inf.then(|| {
            let template = setting("inf").map_or_else(|| format!("{name}.inx"), str::to_owned);
            folder.join(template).into_std_path_buf()
        });
        if let Some(template) = template.as_ref().filter(|template| !template.is_file()) {
            return Err(format!(
                "{}: the template of the INF does not exist; create it, or set `inf` in [package.metadata.interlock] \
                 of {} to its path, or to `false` for a driver without an INF",
                template.display(),
                package.manifest_path
            ));
        }
        let library = library(package).map(str::to_owned);
        Ok(Self {
            workspace: Workspace::new(metadata),
            package: package.name.to_string(),
            name,
            version: format!(
                "{}.{}.{}.0",
                package.version.major, package.version.minor, package.version.patch
            ),
            template,
            library: library.unwrap_or_default(),
        })
    }

    /// Returns the path of an output file of the driver.
    pub fn built(&self, arch: Arch, extension: &str) -> PathBuf {
        let name = format!("{}.{extension}", self.name);
        self.workspace.built(arch).join(name)
    }
}

impl Workspace {
    fn new(metadata: &Metadata) -> Self {
        let local = |package: &&Package| package.source.is_none();
        let folder = |package: &Package| Some(package.manifest_path.parent()?.into());
        Self {
            root: metadata.workspace_root.clone().into(),
            target: metadata.target_directory.clone().into(),
            local_packages: metadata
                .packages
                .iter()
                .filter(local)
                .filter_map(folder)
                .collect(),
        }
    }

    /// Returns the folder of the output files.
    pub fn built(&self, arch: Arch) -> PathBuf {
        self.target.join(match arch {
            Arch::X64 => "interlock",
            Arch::Arm64 => "interlock-arm64",
        })
    }
}

fn metadata(command: &mut MetadataCommand) -> Result<Metadata, String> {
    command.exec().map_err(|error| error.to_string())
}

fn here() -> Result<PathBuf, String> {
    env::current_dir().map_err(|error| error.to_string())
}

/// Returns the name of a package's `cdylib`.
fn library(package: &Package) -> Option<&str> {
    let is_cdylib = |kinds: &[TargetKind]| kinds.contains(&TargetKind::CDyLib);
    let target = package
        .targets
        .iter()
        .find(|target| is_cdylib(&target.kind))?;
    Some(&target.name)
}

fn names(drivers: &[&Package]) -> String {
    let names: Vec<_> = drivers.iter().map(|driver| driver.name.as_str()).collect();
    names.join(", ")
}

/// Returns the driver of the package, or the one that contains the folder, or all of the workspace.
fn choose<'a>(
    metadata: &'a Metadata,
    package: Option<&str>,
    here: &Path,
) -> Result<Vec<&'a Package>, String> {
    let is_driver = |package: &&Package| {
        library(package).is_some() && package.metadata["wdk"]["driver-model"].is_object()
    };
    let drivers: Vec<_> = metadata
        .workspace_packages()
        .into_iter()
        .filter(is_driver)
        .collect();
    if drivers.is_empty() {
        return Err(format!(
            "{} has no driver: a package with `crate-type = [\"cdylib\"]` and the table \
             [package.metadata.wdk.driver-model]; `cargo interlock new` makes one",
            metadata.workspace_root
        ));
    }
    let is_here = |driver: &&&Package| {
        let folder = driver.manifest_path.parent();
        folder.is_some_and(|folder| here.starts_with(folder))
    };
    let Some(name) = package else {
        let innermost = |driver: &&&Package| driver.manifest_path.as_str().len();
        let chosen = drivers.iter().filter(is_here).max_by_key(innermost);
        return Ok(chosen.map_or_else(|| drivers.clone(), |driver| vec![*driver]));
    };
    let named = drivers.iter().find(|driver| driver.name == name);
    named.map(|driver| vec![*driver]).ok_or_else(|| {
        format!(
            "{name} is not a driver of this workspace; its drivers are: {}",
            names(&drivers)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_or_folder_selects_a_driver_of_the_workspace() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap();
        let mut command = MetadataCommand::new();
        let manifest = root.join("Cargo.toml");
        let metadata = metadata(command.manifest_path(manifest).no_deps()).unwrap();
        let chosen = |package, folder: &str| {
            choose(&metadata, package, &root.join(folder)).map(|drivers| names(&drivers))
        };
        let all = chosen(None, "").unwrap();
        for name in ["interlock-sys", "sample_control", "sample_pipe"] {
            assert!(all.contains(name), "{all}");
            assert_eq!(chosen(Some(name), "").unwrap(), name);
        }
        let inside = chosen(None, "driver/samples/pipe/sys/src").unwrap();
        assert_eq!(inside, "sample_pipe");
        assert!(chosen(Some("ntmodel"), "").is_err());
    }
}
