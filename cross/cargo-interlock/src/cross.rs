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
    make_folders, quoted, run, stand_in, text_of,
};

/// The configuration of Cargo for Windows targets.
const CONFIGURATION: &str = include_str!("../cross.toml");

/// Returns the target folder of these builds.
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
        .args(arguments.iter().filter_map(|argument| unlocked(argument)))
        .current_dir(&driver.workspace.root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target)
        // These variables would replace the compiler and the flags of the configuration.
        .env_remove("RUSTC")
        .env_remove("RUSTDOC")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        // `cargo run` sets this variable for the compiler of the host.
        .env_remove("LD_LIBRARY_PATH"))
}

/// Returns an argument without the requirement that `Cargo.lock` does not change. `cargo metadata` has checked the workspace's file.
/// Cargo has to change the mirror's.
fn unlocked(argument: &str) -> Option<&str> {
    match argument {
        "--locked" => None,
        "--frozen" => Some("--offline"),
        other => Some(other),
    }
}

/// Makes or updates the mirror, and returns the folder of its workspace.
fn mirror(workspace: &Workspace, target: &Path) -> Result<PathBuf, String> {
    // Several workspaces may have the same target folder.
    let mut hasher = DefaultHasher::new();
    workspace.root.hash(&mut hasher);
    let root = target.join(format!("mirror/{:016x}", hasher.finish()));
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mirrored = below(&workspace.root);
    link_contents(workspace, &workspace.root, &mirrored)?;
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

/// Makes links at `at` to everything in a folder of the workspace, except to the target folder and to what the mirror has copies of.
fn link_contents(workspace: &Workspace, folder: &Path, at: &Path) -> Result<(), String> {
    make_folders(at)?;
    let skipped =
        ["Cargo.toml", "Cargo.lock", ".git", ".cargo"].map(|name| workspace.root.join(name));
    let entries = fs::read_dir(folder).map_err(|error| about(folder, error))?;
    for entry in entries.filter_map(Result::ok) {
        let (path, at) = (entry.path(), at.join(entry.file_name()));
        if skipped.contains(&path) || path == workspace.target {
            continue;
        }
        if workspace.target.starts_with(&path) {
            link_contents(workspace, &path, &at)?;
        } else {
            link(&path, &at)?;
        }
    }
    Ok(())
}

/// Returns a workspace's manifest with the patch of `wdk-build` added.
fn patched(manifest: &str, stand_in: &Path) -> String {
    const TABLE: &str = "[patch.crates-io]";
    let folder = quoted(&stand_in.to_string_lossy());
    let patch = format!("wdk-build = {{ path = {folder} }}");
    let mut lines: Vec<_> = manifest.lines().collect();
    let is_table = |line: &&str| {
        let header = line.split('#').next().unwrap_or_default();
        header.replace([' ', '\t', '"', '\''], "") == TABLE
    };
    if let Some(table) = lines.iter().position(is_table) {
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
    make().map_err(|error| about(at, error))
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
    fn manifest_is_patched_and_keeps_its_patches() {
        let stand_in = Path::new("/target/wdk-build");
        let patch = "wdk-build = { path = \"/target/wdk-build\" }\n";
        let text = patched("[workspace]\n", stand_in);
        assert_eq!(text, format!("[workspace]\n\n[patch.crates-io]\n{patch}"));
        assert_eq!(
            patched("[patch.crates-io]\nother = { git = \"x\" }\n", stand_in),
            format!("[patch.crates-io]\n{patch}other = {{ git = \"x\" }}\n")
        );
        for table in ["[patch.crates-io] # mine", "[ patch . \"crates-io\" ]"] {
            let patched = patched(&format!("{table}\n"), stand_in);
            assert_eq!(patched, format!("{table}\n{patch}"));
        }
    }

    #[test]
    fn lock_of_the_mirror_may_change() {
        let arguments = ["--locked", "--frozen", "--offline", "--features=locked"];
        let left: Vec<_> = arguments.into_iter().filter_map(unlocked).collect();
        assert_eq!(left, ["--offline", "--offline", "--features=locked"]);
    }

    #[test]
    fn target_folder_may_be_in_the_folder_of_a_package() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("mine");
        for path in ["logic/src", "driver/src", "driver/out/target"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for file in ["Cargo.toml", "Cargo.lock", "driver/Cargo.toml"] {
            fs::write(root.join(file), "").unwrap();
        }
        let workspace = Workspace {
            root: root.clone(),
            target: root.join("driver/out/target"),
            local_packages: Vec::new(),
        };
        for _ in 0..2 {
            let mirrored = mirror(&workspace, &target(&workspace)).unwrap();
            for path in ["logic/src", "driver/src", "driver/Cargo.toml"] {
                assert!(mirrored.join(path).exists(), "{path}");
            }
            assert!(!mirrored.join("driver/out/target").exists());
        }
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
