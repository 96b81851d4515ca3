//! `wine`: runs the driver under Wine, and adds the routines that Wine's kernel lacks.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::{about, arch::Arch, building, debian, driver::Driver, run, stand_in};

/// The scripts, and the sources of an ntoskrnl.exe with the routines that Wine's lacks.
const FILES: &[(&str, &str)] = files! { "wine":
    "build.sh",
    "cancel.c",
    "cleanup.c",
    "devnode.c",
    "devqueue.c",
    "dpc.c",
    "dpc.h",
    "driver.sh",
    "host.c",
    "host.h",
    "interlocked.c",
    "irp.c",
    "irql.c",
    "irql.h",
    "lookaside.c",
    "ntoskrnl.c",
    "object.c",
    "pool.c",
    "pool.h",
    "power.c",
    "routines.h",
    "rundown.c",
    "session.sh",
    "spinlock.c",
    "spinlock.h",
    "timer.c",
    "wine.sh",
    "workitem.c",
    "zone.c",
};

/// Builds the driver, installs it from its INF or makes a service of it, opens its device if it has an interface, runs a command,
/// and removes the driver.
pub fn wine(
    driver: &Driver,
    options: &[String],
    debug_log: bool,
    command: &[String],
) -> Result<(), String> {
    debian::require(debian::WINE)?;
    building::build(driver, Arch::X64, options)?;
    let target = &driver.workspace.target;
    let folder = target.join("wine/scripts");
    for (name, text) in FILES {
        let file = folder.join(name);
        stand_in::write_if_changed(&file, text)?;
        if Path::new(name).extension() == Some("sh".as_ref()) {
            let permissions = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&file, permissions).map_err(|error| about(&file, error))?;
        }
    }
    run(Command::new(folder.join("driver.sh"))
        .arg(&driver.name)
        .arg(target)
        .args(driver.template.is_none().then_some("--no-inf"))
        .args(debug_log.then_some("--debug-log"))
        .arg("--")
        .args(command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_file_is_in_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wine");
        let included: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(sample::names_in(&folder), included);
    }
}
