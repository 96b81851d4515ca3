//! Runs Cargo for a driver on hosts other than Windows.
//!
//! `wdk-build` must be patched. A patch in the workspace would change its `Cargo.lock`. A patch given with `--config` would also apply
//! to the standard library's workspace, and Cargo would access the network in every build. So Cargo runs in a mirror of the workspace:
//! links to its files, a `Cargo.toml` with the patch, and a copy of `Cargo.lock`, from which Cargo removes the packages that only
//! Microsoft's `wdk-build` needs. The mirror repeats the workspace's whole path below its own folder, and also has links to packages
//! outside the workspace, so that relative paths in manifests are valid.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    about,
    arch::Arch,
    driver::{Driver, Workspace},
    run, stand_in, text_of,
};

/// The configuration of Cargo for Windows targets.
const CONFIGURATION: &str = include_str!("../cross.toml");

/// The target folder of these builds.
pub fn target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("cross")
}

/// Runs a Cargo command, such as `build` or `check`, for the driver.
pub fn cargo(
    driver: &Driver,
    arch: Arch,
    command: &str,
    arguments: &[String],
) -> Result<(), String> {
    let target = target(&driver.workspace);
    stand_in::write(&target.join("wdk-build"))?;
    let configuration = target.join("config.toml");
    stand_in::write_if_changed(&configuration, CONFIGURATION)?;
    let manifest = mirror(&driver.workspace, &target)?.join("Cargo.toml");
    run(Command::new("cargo")
        .arg(command)
        .arg("--config")
        .arg(configuration)
        .arg("--manifest-path")
        .arg(manifest)
        .args(["--package", &driver.package, "--target", arch.triple()])
        // Without compiler-builtins-mem: ntoskrnl.exe exports memcpy and similar functions, as with the WDK.
        .arg("-Zbuild-std=core,alloc,compiler_builtins")
        .args(arguments)
        .current_dir(&driver.workspace.root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target)
        // These variables would replace the flags of the configuration.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        // `cargo run` sets it for the compiler of the host.
        .env_remove("LD_LIBRARY_PATH"))
}

/// Makes or updates the mirror, and returns the folder of its workspace.
fn mirror(workspace: &Workspace, target: &Path) -> Result<PathBuf, String> {
    // Several workspaces may have the same target folder.
    let mut hasher = DefaultHasher::new();
    workspace.root.hash(&mut hasher);
    let root = target.join(format!("mirror/{:016x}", hasher.finish()));
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mirrored = below(&workspace.root);
    fs::create_dir_all(&mirrored).map_err(|error| about(&mirrored, &error.to_string()))?;

    let entries = fs::read_dir(&workspace.root)
        .map_err(|error| about(&workspace.root, &error.to_string()))?;
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let skipped =
        ["Cargo.toml", "Cargo.lock", ".git", ".cargo"].map(|name| workspace.root.join(name));
    for entry in entries.filter(|path| !skipped.contains(path) && !target.starts_with(path)) {
        link(&entry, &below(&entry))?;
    }
    for package in &workspace.local_packages {
        if let Some(outermost) = outermost_apart(package, &workspace.root) {
            link(&outermost, &below(&outermost))?;
        }
    }

    let manifest = text_of(&workspace.root.join("Cargo.toml"))?;
    let stand_in = target.join("wdk-build");
    stand_in::write_if_changed(&mirrored.join("Cargo.toml"), &patched(&manifest, &stand_in))?;
    let lock = text_of(&workspace.root.join("Cargo.lock"))?;
    let from = mirrored.join("Cargo.lock.from");
    if !from.exists() || text_of(&from)? != lock {
        stand_in::write_if_changed(&mirrored.join("Cargo.lock"), &lock)?;
        stand_in::write_if_changed(&from, &lock)?;
    }
    Ok(mirrored)
}

/// Returns a workspace's manifest with the patch of `wdk-build` added.
fn patched(manifest: &str, stand_in: &Path) -> String {
    const TABLE: &str = "[patch.crates-io]";
    let patch = format!("wdk-build = {{ path = {:?} }}", stand_in.display());
    let mut lines: Vec<_> = manifest.lines().collect();
    if let Some(table) = lines.iter().position(|line| line.trim() == TABLE) {
        lines.insert(table + 1, &patch);
    } else {
        lines.extend(["", TABLE, &patch]);
    }
    lines.join("\n") + "\n"
}

/// Returns the outermost ancestor of `path` that is not an ancestor of `root`, or `None` if `path` is in `root`.
fn outermost_apart(path: &Path, root: &Path) -> Option<PathBuf> {
    if path.starts_with(root) {
        return None;
    }
    path.ancestors()
        .take_while(|folder| !root.starts_with(folder))
        .last()
        .map(Path::to_owned)
}

/// Makes a symbolic link at `at` to `to`.
fn link(to: &Path, at: &Path) -> Result<(), String> {
    if fs::read_link(at).is_ok_and(|now| now == to) {
        return Ok(());
    }
    let make = || {
        if at.is_symlink() {
            fs::remove_file(at)?;
        }
        symlink(to, at)
    };
    make().map_err(|error| about(at, &error.to_string()))
}

#[cfg(unix)]
use std::os::unix::fs::symlink;

/// On Windows the WDK is used, and there is no mirror.
#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn manifest_is_patched_once_more() {
        let stand_in = Path::new("/target/wdk-build");
        let patch = "wdk-build = { path = \"/target/wdk-build\" }\n";
        assert_eq!(
            patched("[workspace]\n", stand_in),
            format!("[workspace]\n\n[patch.crates-io]\n{patch}")
        );
        assert_eq!(
            patched("[patch.crates-io]\nother = { git = \"x\" }\n", stand_in),
            format!("[patch.crates-io]\n{patch}other = {{ git = \"x\" }}\n")
        );
    }

    #[test]
    fn packages_outside_are_reached_by_relative_paths() {
        let folder = TempDir::new().unwrap();
        // The path may contain a symbolic link, as macOS's temporary folder does.
        let folder = folder.path().canonicalize().unwrap();
        let (root, other) = (
            folder.join("work/mine"),
            folder.join("work/theirs/driver/wdm"),
        );
        for path in [&root.join("logic"), &root.join("target"), &other] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(root.join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::write(root.join("Cargo.lock"), "locked\n").unwrap();
        fs::write(other.join("Cargo.toml"), "theirs").unwrap();
        let workspace = Workspace {
            root: root.clone(),
            target: root.join("target"),
            local_packages: vec![root.join("logic"), other],
        };
        let mirrored = mirror(&workspace, &target(&workspace)).unwrap();
        // Cargo resolves `..` lexically.
        let theirs = mirrored
            .parent()
            .unwrap()
            .join("theirs/driver/wdm/Cargo.toml");
        assert_eq!(fs::read_to_string(theirs).unwrap(), "theirs");
        assert!(mirrored.join("logic").is_dir());
        assert!(!mirrored.join("target").exists());

        // Cargo changes the mirror's copy, which is replaced when the workspace's file changes.
        fs::write(mirrored.join("Cargo.lock"), "changed\n").unwrap();
        let lock = || fs::read_to_string(mirrored.join("Cargo.lock")).unwrap();
        mirror(&workspace, &target(&workspace)).unwrap();
        assert_eq!(lock(), "changed\n");
        fs::write(root.join("Cargo.lock"), "locked again\n").unwrap();
        mirror(&workspace, &target(&workspace)).unwrap();
        assert_eq!(lock(), "locked again\n");
    }
}
