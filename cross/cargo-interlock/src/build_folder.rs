//! The target folders in which Microsoft's `wdk-build` can build the driver.

use std::{fs, path::Path};

/// Returns an error if `wdk-build` would not find the workspace from the target folder.
///
/// `wdk-build` assumes that the workspace is the nearest folder above its build script's output that contains a `Cargo.lock`. It panics
/// if there is none, and reads the manifests of another project if that one is nearer.
pub fn check(builds: &Path, workspace: &Path) -> Result<(), String> {
    let found = builds
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists());
    // The two paths may differ, for instance in upper and lower case.
    let path = |folder: &Path| fs::canonicalize(folder).ok();
    if found.is_some_and(|found| path(found) == path(workspace)) {
        Ok(())
    } else {
        Err(format!(
            "the driver cannot be built in {}: wdk-build looks for Cargo.lock in the folders above, and finds none or \
             another workspace's; unset CARGO_TARGET_DIR, or let it name a folder of the workspace",
            builds.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn folder_outside_the_workspace_is_refused() {
        let folder = TempDir::new().unwrap();
        let workspace = folder.path().join("workspace");
        let other = folder.path().join("other");
        for workspace in [&workspace, &other] {
            fs::create_dir(workspace).unwrap();
            fs::write(workspace.join("Cargo.lock"), []).unwrap();
        }
        for inside in ["target", "out/target", "../workspace/target"] {
            assert_eq!(check(&workspace.join(inside), &workspace), Ok(()));
        }
        for outside in [folder.path().join("target"), other.join("target")] {
            let error = check(&outside, &workspace).unwrap_err();
            assert!(error.contains(outside.to_str().unwrap()), "{error}");
            assert!(error.contains("CARGO_TARGET_DIR"), "{error}");
        }
    }
}
