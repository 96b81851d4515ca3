//! The import libraries of `ntoskrnl.exe` and `HAL.dll`, made from module-definition files.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

use crate::{ConfigError, CpuArchitecture};

/// Makes `LIBRARY.lib` in `out_dir` from the names that `LIBRARY.def` in `definitions` lists.
pub(crate) fn make(
    library: &str,
    definitions: &Path,
    architecture: CpuArchitecture,
    out_dir: &Path,
) -> Result<(), ConfigError> {
    let definition = definitions.join(library).with_extension("def");
    println!("cargo::rerun-if-changed={}", definition.display());
    println!("cargo::rerun-if-env-changed=LLVM_DLLTOOL");
    let tool = env::var("LLVM_DLLTOOL").unwrap_or_else(|_| "llvm-dlltool-19".into());
    let output = Command::new(&tool)
        .args(["-m", architecture.dlltool_machine(), "-d"])
        .arg(definition)
        .arg("-l")
        .arg(out_dir.join(library).with_extension("lib"))
        .output();
    let reason = match output {
        Ok(Output { status, .. }) if status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{error}; it comes with the package llvm-19"),
    };
    Err(ConfigError::new(format!("{tool}: {reason}")))
}
