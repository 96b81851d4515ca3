//! Test signatures on systems other than Windows, made with `openssl` and `osslsigncode`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{about, check::Check, make_folders, read, write};

/// A self-signed certificate for signing code, and its private key.
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// Returns the certificate `NAME.pem` in a folder. It is made if it does not exist or is about to expire.
    pub fn in_folder(folder: &Path, name: &str) -> Result<Self, String> {
        let certificate = folder.join(format!("{name}.pem"));
        let key = folder.join(format!("{name}.key"));
        let mut ends = Command::new("openssl");
        ends.args(["x509", "-noout", "-checkend", "86400", "-in"])
            .arg(&certificate);
        if !key.exists() || quietly(&mut ends).is_err() {
            make_folders(folder)?;
            // openssl creates the key so that only its owner can read it.
            let mut make = Command::new("openssl");
            make.args([
                "req", "-x509", "-newkey", "rsa:3072", "-noenc", "-sha256", "-days", "3650",
            ])
            .args(["-subj", &format!("/CN={name} test certificate")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", "extendedKeyUsage=critical,codeSigning"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
            quietly(&mut make)?;
        }
        Ok(Self { certificate, key })
    }

    /// Signs a file, and describes it as `description`.
    pub fn sign(&self, file: &Path, description: &str) -> Result<(), String> {
        let signed = file.with_extension("signed");
        let mut sign = Command::new("osslsigncode");
        sign.args(["sign", "-h", "sha256", "-n", description, "-certs"])
            .arg(&self.certificate)
            .arg("-key")
            .arg(&self.key)
            .arg("-in")
            .arg(file)
            .arg("-out")
            .arg(&signed);
        quietly(&mut sign)?;
        fs::rename(&signed, file).map_err(|error| about(file, error))
    }

    /// Writes the certificate in the format that Windows imports.
    pub fn export(&self, file: &Path) -> Result<(), String> {
        let mut export = Command::new("openssl");
        export
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&self.certificate);
        quietly(export.arg("-out").arg(file))
    }

    /// Checks that the current content of a file is signed with this certificate, by an embedded signature or by a catalog.
    pub fn verify(&self, file: &Path, catalog: Option<&Path>) -> Result<(), String> {
        let mut verify = Command::new("osslsigncode");
        verify.args(["verify", "-CAfile"]).arg(&self.certificate);
        if let Some(catalog) = catalog {
            verify.arg("-catalog").arg(catalog);
        }
        quietly(verify.arg("-in").arg(file))
    }

    /// Checks the signatures of a driver and of its catalog, if it has one, and that changing a byte makes them invalid.
    pub fn check(
        &self,
        sys: &Path,
        catalog: Option<&Path>,
        scratch: &Path,
    ) -> Result<Vec<Check>, String> {
        make_folders(scratch)?;
        let check = |name, outcome: Result<(), String>, found: &str| Check {
            name,
            outcome: outcome.map(|()| found.into()),
        };
        let mut checks = Vec::new();
        for file in [Some(sys), catalog].into_iter().flatten() {
            let signed = self.verify(file, None);
            checks.push(check("signed", signed, &display_name(file)));
        }
        if catalog.is_some() {
            let listed = self.verify(sys, catalog);
            checks.push(check("signed in the catalog", listed, &display_name(sys)));
        }
        for file in [Some(sys), catalog].into_iter().flatten() {
            let name = display_name(file);
            let data = read(file)?;
            let changed = scratch.join(&name);
            // One byte in the headers, one in the middle, and one near the end, in the signature.
            for offset in [64, data.len() / 3, data.len() / 2] {
                let mut data = data.clone();
                data[offset] ^= 1;
                write(&changed, &data)?;
                let (changed_sys, changed_catalog) = if file == sys {
                    (&*changed, catalog)
                } else {
                    (sys, Some(&*changed))
                };
                let is_listed = || {
                    changed_catalog.is_some() && self.verify(changed_sys, changed_catalog).is_ok()
                };
                let refused = if self.verify(&changed, None).is_ok() || is_listed() {
                    Err(format!("{name} is accepted with byte {offset} changed"))
                } else {
                    Ok(())
                };
                let byte = format!("{name}, byte {offset}");
                checks.push(check("changed file is refused", refused, &byte));
            }
        }
        Ok(checks)
    }
}

fn display_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Runs a command, whose output is only shown if it fails.
fn quietly(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let [printed, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    Err(format!(
        "{program} failed ({}): {printed} {errors}",
        output.status
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn certificate_is_for_signing_code_and_kept() {
        let folder = TempDir::new().unwrap();
        let made = Certificate::in_folder(folder.path(), "gate").unwrap();
        let key = fs::metadata(&made.key).unwrap();
        assert_eq!(key.mode() & 0o777, 0o600);
        let mut print = Command::new("openssl");
        print
            .args(["x509", "-noout", "-text", "-in"])
            .arg(&made.certificate);
        let text = String::from_utf8(print.output().unwrap().stdout).unwrap();
        let usage = text
            .lines()
            .skip_while(|line| !line.contains("Extended Key Usage: critical"));
        assert_eq!(usage.skip(1).map(str::trim).next(), Some("Code Signing"));

        let key = fs::read(&made.key).unwrap();
        Certificate::in_folder(folder.path(), "gate").unwrap();
        assert_eq!(fs::read(&made.key).unwrap(), key);
    }

    #[test]
    fn signature_holds_for_the_file_as_it_is() {
        let folder = TempDir::new().unwrap();
        let certificate = Certificate::in_folder(folder.path(), "gate").unwrap();
        let file = folder.path().join("gate.sys");
        fs::write(&file, crate::sample::image()).unwrap();
        assert!(certificate.verify(&file, None).is_err());
        certificate.sign(&file, "gate").unwrap();
        assert_eq!(certificate.verify(&file, None), Ok(()));
        let other = Certificate::in_folder(folder.path(), "other").unwrap();
        assert!(other.verify(&file, None).is_err());
        let checks = certificate.check(&file, None, &folder.path().join("changed"));
        for check in checks.unwrap() {
            assert!(check.outcome.is_ok(), "{check}");
        }
        let mut data = fs::read(&file).unwrap();
        data[0x300] ^= 1;
        fs::write(&file, data).unwrap();
        assert!(certificate.verify(&file, None).is_err());
    }
}
