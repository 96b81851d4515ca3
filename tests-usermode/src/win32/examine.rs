//! Collects the facts for `doctor`.

use std::fs;

use super::certificate::is_in_store;
use super::code_integrity::code_integrity;
use super::install::devnodes;
use super::machine::{native_machine, system};
use super::privilege::is_elevated;
use super::registry::machine_number;
use super::service::service_state;
use crate::doctor::image::machine_of;
use crate::doctor::{Facts, Machine};
use crate::error::{Error, Result};
use crate::target::in_program_folder;

/// The key that contains whether Secure Boot was on when Windows started.
const SECURE_BOOT: &str = r"SYSTEM\CurrentControlSet\Control\SecureBoot\State";

/// The key that turns memory integrity on and off.
const MEMORY_INTEGRITY: &str =
    r"SYSTEM\CurrentControlSet\Control\DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity";

/// The architecture of this program.
const OF_THIS_PROGRAM: Machine = if cfg!(target_arch = "aarch64") {
    Machine::ARM64
} else {
    Machine::X64
};

/// Collects all facts. A fact that cannot be found out is an error.
pub fn examine() -> Facts {
    let is_on = |number: Option<u32>| number.map(|number| number != 0);
    Facts {
        administrator: is_elevated(),
        system: system(),
        machine: native_machine(),
        harness: OF_THIS_PROGRAM,
        driver: driver(),
        catalog: in_program_folder("interlock.cat").map(|catalog| catalog.is_file()),
        code_integrity: code_integrity(),
        secure_boot: machine_number(SECURE_BOOT, "UEFISecureBootEnabled").map(is_on),
        memory_integrity_set: machine_number(MEMORY_INTEGRITY, "Enabled").map(is_on),
        in_root: certificate_is_in("Root"),
        in_trusted_publisher: certificate_is_in("TrustedPublisher"),
        devnodes: devnodes(),
        service: service_state(),
    }
}

fn driver() -> Result<Machine> {
    const NAME: &str = "interlock.sys";
    let about =
        |error: Error| Error::failed(format!("{NAME} in the folder of this program: {error}"));
    machine_of(&read_in_program_folder(NAME)?).map_err(about)
}

fn certificate_is_in(store: &str) -> Result<bool> {
    is_in_store(store, &read_in_program_folder("interlock.cer")?)
}

fn read_in_program_folder(name: &str) -> Result<Vec<u8>> {
    let path = in_program_folder(name)?;
    fs::read(path)
        .map_err(|error| Error::failed(format!("{name} in the folder of this program: {error}")))
}
