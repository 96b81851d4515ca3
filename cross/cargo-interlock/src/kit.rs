//! Finds the tools of an installed WDK.
//!
//! Microsoft's `wdk-build` prepends the same folders to `PATH` before it runs a tool (its `setup_path`).

use std::{
    env,
    ffi::OsString,
    fs,
    path::{self, Path, PathBuf},
    process::Command,
};

use crate::{check::Check, report};

/// The programs that are needed to make a driver package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Stampinf,
    Infverif,
    Inf2cat,
    Makecert,
    Certmgr,
    Signtool,
}

impl Tool {
    /// All tools.
    pub const ALL: [Self; 6] = [
        Self::Stampinf,
        Self::Infverif,
        Self::Inf2cat,
        Self::Makecert,
        Self::Certmgr,
        Self::Signtool,
    ];

    /// Returns the name of the program's file.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Stampinf => "stampinf.exe",
            Self::Infverif => "infverif.exe",
            Self::Inf2cat => "inf2cat.exe",
            Self::Makecert => "makecert.exe",
            Self::Certmgr => "certmgr.exe",
            Self::Signtool => "signtool.exe",
        }
    }
}

/// The folders of an installed WDK that hold programs.
#[derive(Debug)]
pub struct Kit {
    /// `tools\<version>\<host>`: the tools of the WDK.
    tools: PathBuf,
    /// `bin\<version>\<host>`: the tools of the WDK and the SDK that exist for every host.
    bin: PathBuf,
    /// `bin\<version>\x86`: the tools that exist only for x86.
    x86: PathBuf,
    /// `bin\<version>\<host>` of an SDK in another folder, as in the NuGet packages.
    sdk: Option<PathBuf>,
    /// The folders in `PATH`.
    path: Vec<PathBuf>,
}

impl Kit {
    /// Finds the WDK of this machine.
    pub fn installed() -> Result<Self, String> {
        let host = match env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "x64",
        };
        Self::find(|name| env::var_os(name), installed_root, host)
    }

    /// Finds the WDK that the environment names, or else the one in `installed_root`, with the programs for `host`.
    pub fn find(
        variable: impl Fn(&str) -> Option<OsString>,
        installed_root: impl FnOnce() -> Option<PathBuf>,
        host: &str,
    ) -> Result<Self, String> {
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let root = folder("WDKContentRoot")
            .filter(|root| root.is_dir())
            .or_else(installed_root)
            .ok_or(
                "no WDK is found: WDKContentRoot names no folder, and the registry has no \
                 `Windows Kits\\Installed Roots\\KitsRoot10`; install the WDK or use an eWDK prompt",
            )?;
        let version = match variable("Version_Number") {
            Some(version) => PathBuf::from(version),
            None => latest_version(&root.join("Lib"))?,
        };
        // An eWDK prompt and the NuGet packages set these variables to folders with the version.
        let bin = folder("WDKBinRoot").unwrap_or_else(|| root.join("bin").join(&version));
        let tools = folder("WDKToolRoot").unwrap_or_else(|| root.join("tools").join(&version));
        // This variable is a folder without the version.
        let sdk = folder("WindowsSdkBinPath").map(|bin| bin.join(&version).join(host));
        let path = variable("PATH").unwrap_or_default();
        Ok(Self {
            tools: tools.join(host),
            bin: bin.join(host),
            x86: bin.join("x86"),
            sdk,
            path: env::split_paths(&path).collect(),
        })
    }

    /// Returns the absolute path of a program.
    pub fn tool(&self, tool: Tool) -> Result<PathBuf, String> {
        let name = tool.file_name();
        let own = [&self.tools, &self.bin, &self.x86];
        let folders = own.into_iter().chain(&self.sdk).chain(&self.path);
        let mut programs = folders.map(|folder| folder.join(name));
        let program = programs.find(|program| program.is_file());
        let program = program.ok_or_else(|| self.missing(tool))?;
        path::absolute(&program).map_err(|error| crate::about(&program, error))
    }

    /// Returns the error for a program that was not found: where it should be, and what installs it.
    fn missing(&self, tool: Tool) -> String {
        let (folder, provider) = match tool {
            Tool::Infverif => (&self.tools, "the WDK"),
            Tool::Stampinf => (&self.bin, "the WDK"),
            Tool::Inf2cat => (&self.x86, "the WDK"),
            Tool::Makecert | Tool::Certmgr | Tool::Signtool => {
                (self.sdk.as_ref().unwrap_or(&self.bin), "the Windows SDK")
            }
        };
        format!(
            "{} is missing; it belongs in {} and comes with {provider}",
            tool.file_name(),
            folder.display()
        )
    }
}

/// Lists the WDK's programs and clang, and returns whether all of them were found.
pub fn doctor() -> Result<bool, String> {
    let kit = Kit::installed()?;
    let program = |tool: Tool| Check {
        name: tool.file_name(),
        outcome: kit.tool(tool).map(|path| path.display().to_string()),
    };
    let mut checks: Vec<_> = Tool::ALL.into_iter().map(program).collect();
    let clang = Command::new("clang").arg("--version").output();
    checks.push(Check {
        name: "clang",
        outcome: match clang {
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout)
                .lines()
                .take(1)
                .collect()),
            Err(error) => Err(format!("{error}; install LLVM 17.0.6, or 19 or later")),
        },
    });
    Ok(report(&checks))
}

/// Returns the newest version in a WDK's `Lib`, such as `10.0.26100.0`. A version without `km` belongs to an SDK without a WDK.
fn latest_version(lib: &Path) -> Result<PathBuf, String> {
    let numbers = |name: &PathBuf| -> Option<Vec<u32>> {
        let parts = name.to_str()?.split('.');
        parts.map(|part| part.parse().ok()).collect()
    };
    let entries = fs::read_dir(lib).map_err(|error| crate::about(lib, error))?;
    entries
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|name| numbers(name).is_some_and(|parts| parts.first() == Some(&10)))
        .filter(|name| lib.join(name).join("km").is_dir())
        .max_by_key(numbers)
        .ok_or_else(|| {
            crate::about(
                lib,
                "contains no folder of a version, such as 10.0.26100.0, with a folder km",
            )
        })
}

/// The registry value with the folder of the kits for Windows 10 and later.
const KITS: (&str, &str) = (
    r"HKLM\SOFTWARE\Microsoft\Windows Kits\Installed Roots",
    "KitsRoot10",
);

/// Returns the folder that the registry names, in the 64-bit view or else in the 32-bit view.
fn installed_root() -> Option<PathBuf> {
    let (key, value) = KITS;
    ["/reg:64", "/reg:32"].into_iter().find_map(|view| {
        let mut query = Command::new("reg");
        let query = query.args(["query", key, "/v", value, view]).output();
        root_in(&String::from_utf8_lossy(&query.ok()?.stdout))
    })
}

/// Returns the folder in the output of `reg query`: lines with a value's name, type and data.
fn root_in(printed: &str) -> Option<PathBuf> {
    printed.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(KITS.1)?;
        let root = rest.trim_start().strip_prefix("REG_SZ")?.trim();
        (!root.is_empty()).then(|| root.into())
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The folders of a WDK and SDK in `Program Files (x86)\Windows Kits\10`, and the programs in each.
    const INSTALLED: &[(&str, &[&str])] = &[
        ("Lib/10.0.26100.0/km/x64", &[]),
        ("Lib/wdf", &[]),
        ("tools/10.0.26100.0/x64", &["infverif.exe"]),
        (
            "bin/10.0.26100.0/x64",
            &[
                "stampinf.exe",
                "makecert.exe",
                "certmgr.exe",
                "signtool.exe",
            ],
        ),
        ("bin/10.0.26100.0/x86", &["inf2cat.exe"]),
    ];

    fn fill(root: &Path, folders: &[(&str, &[&str])]) {
        for (folder, files) in folders {
            fs::create_dir_all(root.join(folder)).unwrap();
            for file in *files {
                fs::write(root.join(folder).join(file), []).unwrap();
            }
        }
    }

    /// Finds the kit in an environment with these variables.
    fn find(variables: &[(&str, &Path)], installed: Option<PathBuf>) -> Result<Kit, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| value.as_os_str().to_owned())
        };
        Kit::find(variable, || installed, "x64")
    }

    #[test]
    fn newer_sdk_without_a_wdk_is_skipped() {
        let folder = TempDir::new().unwrap();
        fill(folder.path(), INSTALLED);
        fill(folder.path(), &[("Lib/10.0.26100.4654/um/x64", &[])]);
        let version = latest_version(&folder.path().join("Lib")).unwrap();
        assert_eq!(version, PathBuf::from("10.0.26100.0"));
    }

    #[test]
    fn tools_of_an_installed_wdk_are_found() {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        fill(root, INSTALLED);
        for kit in [
            find(&[], Some(root.to_path_buf())),
            find(&[("WDKContentRoot", root)], None),
            // Microsoft's crate then reads the registry as well.
            find(
                &[("WDKContentRoot", &root.join("none"))],
                Some(root.to_path_buf()),
            ),
        ] {
            let kit = kit.unwrap();
            for (folder, files) in INSTALLED {
                for tool in Tool::ALL {
                    if files.contains(&tool.file_name()) {
                        let expected = root.join(folder).join(tool.file_name());
                        assert_eq!(kit.tool(tool), Ok(expected));
                    }
                }
            }
        }
    }

    #[test]
    fn newest_version_is_used() {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        for version in ["10.0.9600.0", "10.0.22621.0", "10.0.26100.0"] {
            fs::create_dir_all(root.join("Lib").join(version).join("km")).unwrap();
        }
        let kit = find(&[("WDKContentRoot", root)], None).unwrap();
        assert_eq!(kit.bin, root.join("bin/10.0.26100.0/x64"));
        let older = Path::new("10.0.22621.0");
        let kit = find(&[("WDKContentRoot", root), ("Version_Number", older)], None).unwrap();
        assert_eq!(kit.tools, root.join("tools/10.0.22621.0/x64"));
    }

    /// The NuGet packages of the WDK and the SDK are in different folders.
    #[test]
    fn tools_of_the_nuget_packages_are_found() {
        let folder = TempDir::new().unwrap();
        let packages = folder.path();
        fill(
            packages,
            &[
                ("wdk/c/Lib/10.0.26100.0/km/x64", &[]),
                ("wdk/c/tools/10.0.26100.0/x64", &["infverif.exe"]),
                ("wdk/c/bin/10.0.26100.0/x64", &["stampinf.exe"]),
                ("wdk/c/bin/10.0.26100.0/x86", &["inf2cat.exe"]),
                (
                    "sdk/c/bin/10.0.26100.0/x64",
                    &["makecert.exe", "certmgr.exe", "signtool.exe"],
                ),
            ],
        );
        let root = packages.join("wdk/c");
        let with_sdk = [
            ("WDKContentRoot", &*root),
            ("WindowsSdkBinPath", &*packages.join("sdk/c/bin")),
        ];
        let kit = find(&with_sdk, None).unwrap();
        for tool in Tool::ALL {
            kit.tool(tool).unwrap();
        }
        // The variables for the programs are folders with the version.
        let (bin, tools) = (
            root.join("bin/10.0.26100.0"),
            root.join("tools/10.0.26100.0"),
        );
        let elsewhere = packages.join("other");
        fs::create_dir_all(elsewhere.join("Lib/10.0.26100.0/km")).unwrap();
        let named = [
            ("WDKContentRoot", &*elsewhere),
            ("WDKBinRoot", &*bin),
            ("WDKToolRoot", &*tools),
        ];
        let kit = find(&named, None).unwrap();
        for tool in [Tool::Stampinf, Tool::Inf2cat, Tool::Infverif] {
            kit.tool(tool).unwrap();
        }
    }

    #[test]
    fn missing_tool_is_named_with_its_folder() {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        fill(root, INSTALLED);
        for (folder, files) in INSTALLED {
            for file in *files {
                let path = root.join(folder).join(file);
                fs::remove_file(&path).unwrap();
                let kit = find(&[("WDKContentRoot", root)], None).unwrap();
                let tool = Tool::ALL.into_iter().find(|tool| tool.file_name() == *file);
                let error = kit.tool(tool.unwrap()).unwrap_err();
                let belongs = format!(
                    "{file} is missing; it belongs in {}",
                    root.join(folder).display()
                );
                assert!(error.starts_with(&belongs), "{error}");

                // It may be in another folder of PATH.
                let elsewhere = root.join("elsewhere");
                fill(root, &[("elsewhere", &[*file])]);
                let variables = [("WDKContentRoot", root), ("PATH", &*elsewhere)];
                let kit = find(&variables, None).unwrap();
                assert_eq!(kit.tool(tool.unwrap()), Ok(elsewhere.join(file)));
                fs::write(&path, []).unwrap();
                fs::remove_dir_all(elsewhere).unwrap();
            }
        }
    }

    /// In the format of `reg query`.
    #[test]
    fn registry_is_read() {
        let printed = "\r\nHKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows Kits\\Installed Roots\r\n    \
                       KitsRoot10    REG_SZ    C:\\Program Files (x86)\\Windows Kits\\10\\\r\n\r\n";
        let root = r"C:\Program Files (x86)\Windows Kits\10\";
        assert_eq!(root_in(printed), Some(root.into()));
        assert_eq!(root_in(""), None);
    }

    #[test]
    fn missing_wdk_is_an_error() {
        let error = find(&[], None).unwrap_err();
        assert!(error.contains("WDKContentRoot"), "{error}");
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        let error = find(&[("WDKContentRoot", root)], None).unwrap_err();
        assert!(error.contains("Lib"), "{error}");
        fs::create_dir_all(root.join("Lib/wdf")).unwrap();
        let error = find(&[("WDKContentRoot", root)], None).unwrap_err();
        assert!(error.contains("10.0.26100.0"), "{error}");
    }
}
