//! The import library of `ntoskrnl.exe`, made from a module-definition file.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

use crate::{ConfigError, CpuArchitecture};

/// Makes `ntoskrnl.lib` in `out_dir` from the names that `exports` lists.
pub(crate) fn make(
    exports: &Path,
    architecture: CpuArchitecture,
    out_dir: &Path,
) -> Result<(), ConfigError> {
    println!("cargo::rerun-if-changed={}", exports.display());
    println!("cargo::rerun-if-env-changed=LLVM_DLLTOOL");
    let tool = env::var("LLVM_DLLTOOL").unwrap_or_else(|_| "llvm-dlltool-19".into());
    let output = Command::new(&tool)
        .args(["-m", architecture.dlltool_machine(), "-d"])
        .arg(exports)
        .arg("-l")
        .arg(out_dir.join("ntoskrnl.lib"))
        .output();
    let reason = match output {
        Ok(Output { status, .. }) if status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{error}; it comes with the package llvm-19"),
    };
    Err(ConfigError::Tool { tool, reason })
}
