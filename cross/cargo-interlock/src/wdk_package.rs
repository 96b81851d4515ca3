//! Makes the driver package with the WDK's tools.
//!
//! They are called with the same arguments as Microsoft's `cargo-wdk` calls them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    about,
    driver::Driver,
    kit::{Kit, Tool},
    packaging,
};

/// The test certificate, which is kept with its key in a certificate store of the user.
const STORE: &str = "InterlockTestCertStore";
const NAME: &str = "Interlock test certificate";

/// The key usage of a certificate for code signing.
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";

/// Makes the package for x64 in the folder `package` from the built files and, if the driver has an INF, from the INF's template.
pub fn make(kit: &Kit, driver: &Driver, files: &[PathBuf], package: &Path) -> Result<(), String> {
    // All tools are found before the first one runs.
    for tool in Tool::ALL {
        kit.tool(tool)?;
    }
    packaging::fill(package, files)?;
    packaging::unless_failed(package, complete(kit, driver, package))
}

/// Stamps the INF, signs the files in a package, and makes its catalog if it has an INF.
fn complete(kit: &Kit, driver: &Driver, package: &Path) -> Result<(), String> {
    let [sys, inf, catalog, certificate] =
        ["sys", "inf", "cat", "cer"].map(|extension| format!("{}.{extension}", driver.name));
    let run = |tool, arguments: &[&str]| run(&kit.tool(tool)?, arguments, package);
    if let Some(template) = &driver.template {
        let copied = fs::copy(template, package.join(&inf));
        copied.map_err(|error| about(template, error))?;
        run(
            Tool::Stampinf,
            &[
                "-f",
                &inf,
                "-d",
                "*",
                "-a",
                "amd64",
                "-c",
                &catalog,
                "-v",
                &driver.version,
            ],
        )?;
        run(Tool::Infverif, &["/v", "/w", &inf])?;
    }
    if has_certificate(&kit.tool(Tool::Certmgr)?)? {
        run(
            Tool::Certmgr,
            &["-put", "-s", STORE, "-c", "-n", NAME, &certificate],
        )?;
    } else {
        let subject = format!("CN={NAME}");
        run(
            Tool::Makecert,
            &[
                "-r",
                "-pe",
                "-a",
                "SHA256",
                "-len",
                "2048",
                "-eku",
                CODE_SIGNING,
                "-ss",
                STORE,
                "-n",
                &subject,
                &certificate,
            ],
        )?;
    }
    let sign = |file: &str| {
        run(
            Tool::Signtool,
            &["sign", "/fd", "SHA256", "/s", STORE, "/n", NAME, file],
        )
    };
    sign(&sys)?;
    if driver.template.is_none() {
        return Ok(());
    }
    // The catalog contains the hashes of the files in their final state.
    run(Tool::Inf2cat, &["/driver:.", "/os:10_x64", "/uselocaltime"])?;
    sign(&catalog)
}

/// Runs a program in a folder and shows its output.
fn run(program: &Path, arguments: &[&str], folder: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    let status = command.args(arguments).current_dir(folder).status();
    let status = status.map_err(|error| about(program, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(about(program, format!("failed: {status}")))
    }
}

/// Returns whether the certificate is in its store. A store that does not exist counts as empty.
fn has_certificate(certmgr: &Path) -> Result<bool, String> {
    let output = Command::new(certmgr).args(["-s", STORE]).output();
    let output = output.map_err(|error| about(certmgr, error))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(NAME))
}

/// Tests in which shell scripts replace the tools.
#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::fs::PermissionsExt, path::PathBuf};

    use tempfile::TempDir;

    use super::*;
    use crate::{driver::Workspace, sample::names_in};

    struct Fixture {
        folder: TempDir,
    }

    impl Fixture {
        /// Returns a built driver, and a kit whose tools record their arguments.
        fn new() -> Self {
            let fixture = Self {
                folder: TempDir::new().unwrap(),
            };
            fs::create_dir_all(fixture.path("kit/Lib/10.0.26100.0/km")).unwrap();
            fs::create_dir_all(fixture.path("built")).unwrap();
            for file in fixture.files() {
                fs::write(file, "built").unwrap();
            }
            fs::write(fixture.path("template.inx"), "the template").unwrap();
            for tool in Tool::ALL {
                fixture.have(tool, "");
            }
            fixture
        }

        fn files(&self) -> [PathBuf; 3] {
            ["gate.sys", "gate.pdb", "client.exe"].map(|name| self.path("built").join(name))
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }

        /// Makes a tool run this script after it has recorded its arguments.
        fn have(&self, tool: Tool, script: &str) {
            let program = self.path("kit").join(tool.file_name());
            let log = self.path("calls");
            let script = format!(
                "#!/bin/sh\necho \"${{0##*/}} $*\" >>'{}'\n{script}\n",
                log.display()
            );
            fs::write(&program, script).unwrap();
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn make(&self) -> Result<(), String> {
            self.make_with(Some(self.path("template.inx")))
        }

        fn make_with(&self, template: Option<PathBuf>) -> Result<(), String> {
            let kit = self.path("kit");
            let variable = |name: &str| {
                let names_it = ["WDKContentRoot", "PATH"].contains(&name);
                names_it.then(|| kit.clone().into_os_string())
            };
            let kit = Kit::find(variable, || None, "x64")?;
            let driver = Driver {
                workspace: Workspace {
                    root: self.path(""),
                    target: self.path("target"),
                    local_packages: Vec::new(),
                },
                package: "gate".into(),
                name: "gate".into(),
                version: "1.2.3.0".into(),
                template,
                library: "gate".into(),
            };
            make(&kit, &driver, &self.files(), &self.path("package"))
        }

        fn calls(&self) -> Vec<String> {
            let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
            calls.lines().map(str::to_owned).collect()
        }

        fn packaged(&self) -> Vec<String> {
            names_in(&self.path("package"))
        }
    }

    #[test]
    fn package_is_made_by_the_wdks_tools() {
        let fixture = Fixture::new();
        fixture.have(Tool::Makecert, "touch gate.cer");
        fixture.have(Tool::Inf2cat, "touch gate.cat");
        // Files of an earlier run are removed.
        fs::create_dir(fixture.path("package")).unwrap();
        fs::write(fixture.path("package/old.sys"), "old").unwrap();
        fixture.make().unwrap();
        assert_eq!(
            fixture.calls(),
            [
                "stampinf.exe -f gate.inf -d * -a amd64 -c gate.cat -v 1.2.3.0",
                "infverif.exe /v /w gate.inf",
                "certmgr.exe -s InterlockTestCertStore",
                "makecert.exe -r -pe -a SHA256 -len 2048 -eku 1.3.6.1.5.5.7.3.3 -ss InterlockTestCertStore \
                 -n CN=Interlock test certificate gate.cer",
                "signtool.exe sign /fd SHA256 /s InterlockTestCertStore /n Interlock test certificate gate.sys",
                "inf2cat.exe /driver:. /os:10_x64 /uselocaltime",
                "signtool.exe sign /fd SHA256 /s InterlockTestCertStore /n Interlock test certificate gate.cat",
            ]
        );
        assert_eq!(
            fixture.packaged(),
            [
                "client.exe",
                "gate.cat",
                "gate.cer",
                "gate.inf",
                "gate.pdb",
                "gate.sys"
            ]
        );
        let text = fs::read_to_string(fixture.path("package/gate.inf")).unwrap();
        assert_eq!(text, "the template");
    }

    #[test]
    fn driver_without_an_inf_is_signed_and_has_no_catalog() {
        let fixture = Fixture::new();
        fixture.have(Tool::Certmgr, "echo 'Subject:: Interlock test certificate'");
        fixture.make_with(None).unwrap();
        assert_eq!(
            fixture.calls(),
            [
                "certmgr.exe -s InterlockTestCertStore",
                "certmgr.exe -put -s InterlockTestCertStore -c -n Interlock test certificate gate.cer",
                "signtool.exe sign /fd SHA256 /s InterlockTestCertStore /n Interlock test certificate gate.sys",
            ]
        );
        assert_eq!(fixture.packaged(), ["client.exe", "gate.pdb", "gate.sys"]);
    }

    #[test]
    fn certificate_is_made_once() {
        let fixture = Fixture::new();
        fixture.have(Tool::Certmgr, "echo 'Subject:: Interlock test certificate'");
        fixture.make().unwrap();
        let calls = fixture.calls();
        let put =
            "certmgr.exe -put -s InterlockTestCertStore -c -n Interlock test certificate gate.cer";
        assert!(calls.iter().any(|call| call == put), "{calls:?}");
        assert!(
            !calls.iter().any(|call| call.starts_with("makecert")),
            "{calls:?}"
        );
    }

    #[test]
    fn missing_tool_is_an_error_before_anything_is_done() {
        for tool in Tool::ALL {
            let fixture = Fixture::new();
            fs::remove_file(fixture.path("kit").join(tool.file_name())).unwrap();
            let error = fixture.make().unwrap_err();
            assert!(error.starts_with(tool.file_name()), "{error}");
            assert_eq!(fixture.calls(), [""; 0]);
            assert!(!fixture.path("package").exists());
        }
    }

    #[test]
    fn failure_of_a_tool_is_an_error() {
        for tool in Tool::ALL {
            // certmgr fails if the store does not exist, which is no error.
            if tool != Tool::Certmgr {
                let fixture = Fixture::new();
                fixture.have(tool, "exit 7");
                let error = fixture.make().unwrap_err();
                assert!(error.contains(tool.file_name()), "{error}");
                assert!(error.ends_with("failed: exit status: 7"), "{error}");
                assert!(!fixture.path("package").exists(), "{tool:?}");
            }
        }
    }

    #[test]
    fn missing_build_is_an_error() {
        let fixture = Fixture::new();
        fs::remove_file(fixture.path("built/gate.pdb")).unwrap();
        let error = fixture.make().unwrap_err();
        assert!(error.contains("gate.pdb"), "{error}");
    }
}
