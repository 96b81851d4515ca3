//! The packages of the publishable crates contain the files that a crate in a registry must have.

use std::{fs, path::Path, process::Command};

use cargo_metadata::{MetadataCommand, Package};

const CARGO: &str = env!("CARGO");

/// Returns the files in a package, as Cargo lists them.
fn files(package: &Package) -> Vec<String> {
    let list = Command::new(CARGO)
        .args(["package", "--list", "--allow-dirty", "--manifest-path"])
        .arg(&package.manifest_path)
        .output()
        .expect("Cargo runs");
    assert!(list.status.success(), "{list:?}");
    let list = String::from_utf8(list.stdout).expect("the names are text");
    list.lines().map(str::to_owned).collect()
}

/// Cargo includes no files from outside a crate's folder, so each crate has copies. Git on Windows can check out a symbolic link as a
/// text file with a path in it.
#[test]
fn packages_have_the_licences_and_a_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("the workspace is valid");
    let is_published =
        |package: &&Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
    let published: Vec<_> = metadata.packages.iter().filter(is_published).collect();
    let mut names: Vec<_> = published
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cargo-interlock",
            "ctl-code",
            "interlock-nt",
            "interlock-wdm",
            "ntmodel"
        ]
    );

    for package in published {
        let listed = files(package);
        let folder = package.manifest_path.parent().expect("it is a file");
        for name in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            assert!(
                listed.iter().any(|file| file == name),
                "{}: {name}",
                package.name
            );
        }
        for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let [copy, original] =
                [folder.as_std_path(), &root].map(|folder| fs::read(folder.join(name)));
            assert!(
                copy.unwrap() == original.unwrap(),
                "{folder}/{name} differs from {name} in the root folder"
            );
        }
        assert!(
            package.license.as_deref() == Some("MIT OR Apache-2.0"),
            "{}",
            package.name
        );
    }
}
