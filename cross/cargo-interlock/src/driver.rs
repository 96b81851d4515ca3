//! Finds the driver that a command is for, from the manifests of the workspace.
//!
//! A driver is a package of the workspace with a `cdylib` and the table `package.metadata.wdk.driver-model`, which
//! Microsoft's `wdk-build` also requires. `NAME.sys` has the package's name, and `NAME.inx`, the template of its INF, is
//! beside its manifest, unless `package.metadata.interlock` says otherwise:
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
        let here = env::current_dir().map_err(|error| error.to_string())?;
        let metadata = metadata()?;
        let chosen = choose(&metadata, package, &here)?;
        Self::new(&metadata, chosen)
    }

    /// Finds the driver in the workspace with this manifest.
    #[cfg(test)]
    pub fn in_workspace(manifest: &Path) -> Result<Self, String> {
        let mut command = MetadataCommand::new();
        let metadata = command.manifest_path(manifest).no_deps().exec();
        let metadata = metadata.map_err(|error| error.to_string())?;
        let package = choose(&metadata, None, manifest)?;
        Self::new(&metadata, package)
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
                "{}: no such file; the template of the INF has this name, or the one of `inf` in \
                 [package.metadata.interlock] of {}; a driver without an INF has `inf = false` there",
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

fn metadata() -> Result<Metadata, String> {
    MetadataCommand::new()
        .exec()
        .map_err(|error| error.to_string())
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

fn choose<'a>(
    metadata: &'a Metadata,
    package: Option<&str>,
    here: &Path,
) -> Result<&'a Package, String> {
    let is_driver = |package: &Package| {
        library(package).is_some() && package.metadata["wdk"]["driver-model"].is_object()
    };
    let mut drivers = metadata.workspace_packages();
    drivers.retain(|package| is_driver(package));
    let names: Vec<_> = drivers.iter().map(|driver| driver.name.as_str()).collect();
    let names = names.join(", ");
    let folder = |driver: &Package| {
        driver
            .manifest_path
            .parent()
            .map(Path::new)
            .map(Path::to_owned)
    };
    let is_here =
        |driver: &&&Package| folder(driver).is_some_and(|folder| here.starts_with(folder));
    let chosen = match (package, &*drivers) {
        (Some(name), _) => drivers.iter().find(|driver| driver.name == name),
        (None, [driver]) => Some(driver),
        (None, _) => drivers.iter().find(is_here),
    };
    chosen.copied().ok_or_else(|| match (package, &*drivers) {
        (_, []) => format!(
            "{} has no driver: a package with `crate-type = [\"cdylib\"]` and the table \
             [package.metadata.wdk.driver-model]; `cargo interlock new` makes one",
            metadata.workspace_root
        ),
        (Some(name), _) => {
            format!("{name} is no driver of this workspace; its drivers are: {names}")
        }
        (None, _) => format!("choose a driver with --package: {names}"),
    })
}
