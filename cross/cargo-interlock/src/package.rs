//! Makes the catalog of a driver package from the files that its INF names.

use std::path::{Path, PathBuf};

use crate::{
    arch::Arch,
    catalog::{self, Catalog, File},
    check::Check,
    inf::Inf,
    read, stamp, text_of,
};

/// The INF of a package, and its folder.
pub struct Package {
    inf: Inf,
    inf_name: String,
    folder: PathBuf,
}

impl Package {
    /// Reads the package with this INF.
    pub fn open(inf_path: &Path) -> Result<Self, String> {
        let inf = Inf::parse(&text_of(inf_path)?).map_err(|error| crate::about(inf_path, error))?;
        let inf_name = inf_path.file_name().unwrap_or_default();
        Ok(Self {
            inf,
            inf_name: inf_name.to_string_lossy().into_owned(),
            folder: inf_path.parent().unwrap_or(Path::new("")).into(),
        })
    }

    /// Returns the path of the catalog.
    pub fn catalog_path(&self) -> Result<PathBuf, String> {
        let version = self.inf.section("Version");
        let name = version.and_then(|version| version.value("CatalogFile"));
        let name = name.ok_or_else(|| format!("{} names no CatalogFile", self.inf_name))?;
        Ok(self.folder.join(name))
    }

    /// Returns the files that the catalog lists: the INF and the files that it names.
    fn files(&self) -> Result<Vec<File>, String> {
        let names = self
            .inf
            .source_files()
            .into_iter()
            .chain([self.inf_name.as_str()]);
        let file = |name: &str| {
            let path = self.folder.join(name);
            let data = read(&path).map_err(|error| {
                format!("{error}; the INF names it in [SourceDisksFiles], so pass it with --add")
            })?;
            let file = File::new(&name.to_ascii_lowercase(), &data);
            file.map_err(|error| crate::about(&path, error))
        };
        names.map(file).collect()
    }

    /// Makes the catalog without a signature.
    pub fn catalog(&self) -> Result<Vec<u8>, String> {
        let is_for_amd64 = |(_, decoration): &(_, Option<String>)| {
            Arch::X64.is_decoration(decoration.as_deref().unwrap_or_default())
        };
        if !self.inf.models().iter().all(is_for_amd64) {
            return Err(format!(
                "{} names other architectures than amd64, and a catalog can be made only for amd64",
                self.inf_name
            ));
        }
        let mut hardware_ids: Vec<String> = Vec::new();
        for id in self
            .inf
            .devices()
            .into_iter()
            .flat_map(|line| line.fields.iter().skip(1))
        {
            let id = id.to_ascii_lowercase();
            if !hardware_ids.contains(&id) {
                hardware_ids.push(id);
            }
        }
        let catalog = Catalog {
            hardware_ids,
            files: self.files()?,
            made: stamp::now()?,
        };
        catalog
            .to_der()
            .map_err(|error| format!("the catalog cannot be made: {error}"))
    }

    /// Looks up the hash of each file in the catalog. The signature of the catalog is not checked.
    pub fn check_catalog(&self) -> Result<Vec<Check>, String> {
        let path = self.catalog_path()?;
        let hashes = catalog::hashes(&read(&path)?)
            .map_err(|error| crate::about(&path, format!("is not a catalog: {error}")))?;
        let check = |file: File| Check {
            outcome: if hashes.iter().any(|hash| hash == file.hash()) {
                Ok(file.name)
            } else {
                Err(format!("{} is not", file.name))
            },
            name: "in the catalog",
        };
        Ok(self.files()?.into_iter().map(check).collect())
    }
}
