//! The Debian packages that are needed to build, sign and run a driver.

use std::process::Command;

use crate::run;

/// A package, and its purpose.
type Package = (&'static str, &'static str);

pub const BUILD: &[Package] = &[
    ("build-essential", "a linker for build scripts"),
    (
        "rustc-web",
        "a Rust compiler of the version of rust-web-src",
    ),
    ("rust-web-src", "the source of core and alloc"),
    ("lld-19", "the linker"),
    ("llvm-19", "llvm-dlltool"),
    ("libclang-19-dev", "bindgen's libclang"),
    ("mingw-w64-x86-64-dev", "the headers"),
];

pub const PACKAGE: &[Package] = &[
    ("openssl", "the test certificate"),
    ("osslsigncode", "signatures"),
];

pub const WINE: &[Package] = &[
    ("wine64", "Wine"),
    ("gcc-mingw-w64-x86-64-win32", "the routines that Wine lacks"),
];

/// Returns whether a package is installed in a version that is new enough, or `None` if there is no `dpkg`.
fn is_installed(package: &str) -> Option<bool> {
    let mut query = Command::new("dpkg-query");
    let output = query
        .args(["--show", "--showformat=${Status} ${Version}", package])
        .output()
        .ok()?;
    let output = String::from_utf8_lossy(&output.stdout);
    let is_rust = ["rustc-web", "rust-web-src"].contains(&package);
    let version = output.strip_prefix("install ok installed ");
    Some(version.is_some_and(|version| !is_rust || is_recent(version)))
}

/// Returns whether a version of Rust is at least the one that the crates require.
fn is_recent(version: &str) -> bool {
    let numbers = |version: &str| -> Option<[u32; 2]> {
        let mut parts = version.split('.').map(|part| part.parse().ok());
        Some([parts.next()??, parts.next()??])
    };
    numbers(version) >= numbers(env!("CARGO_PKG_RUST_VERSION"))
}

fn missing<'p>(packages: impl Iterator<Item = &'p str>) -> Vec<&'p str> {
    packages
        .filter(|package| is_installed(package) != Some(true))
        .collect()
}

/// Returns an error if a package is missing.
pub fn require(packages: &[(&str, &str)]) -> Result<(), String> {
    let missing = missing(packages.iter().map(|(name, _)| *name));
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "these packages of Debian 12 are missing or too old: {}; `cargo interlock doctor --install` installs them. \
         rustc-web must have Rust {} or later, which is in Debian's archive `bookworm-security`: \
         it must be among the sources of apt",
        missing.join(" "),
        env!("CARGO_PKG_RUST_VERSION")
    ))
}

/// Lists the packages and the `further` ones, installs missing ones if `install` is set, and returns whether all are installed.
pub fn doctor(install: bool, further: &[String]) -> Result<bool, String> {
    let further = further.iter().map(|name| (&**name, "requested"));
    let packages: Vec<_> = [BUILD, PACKAGE, WINE]
        .concat()
        .into_iter()
        .chain(further)
        .collect();
    let missing = missing(packages.iter().map(|(name, _)| *name));
    for (name, purpose) in &packages {
        let found = if missing.contains(name) {
            "MISSING"
        } else {
            "ok     "
        };
        println!("{found} {name}: {purpose}");
    }
    if missing.is_empty() || !install {
        return Ok(missing.is_empty());
    }
    if is_installed("dpkg").is_none() {
        return Err(
            "this is not Debian: install the programs that these packages of Debian 12 contain"
                .into(),
        );
    }
    let is_root = Command::new("id")
        .arg("--user")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if is_root { "env" } else { "sudo" });
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2"]);
        run(command.args(arguments))
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &*missing].concat())?;
    require(&packages)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_of_debian_without_security_updates_is_too_old() {
        assert!(is_recent("1.96.0+dfsg1-1~deb12u2"));
        assert!(is_recent("1.91.0+dfsg1-1"));
        assert!(!is_recent("1.85.0+dfsg3-1~deb12u3"));
        assert!(!is_recent("unknown"));
    }
}
