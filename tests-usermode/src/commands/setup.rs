//! `install`, `remove` and `status`.

use std::path::Path;

use crate::client::Device;
use crate::error::{Error, Exit, Result};
use crate::target;

const RESTART: &str = "Restart the system to finish this.";

/// Installs the device.
pub fn install(inf: Option<&Path>) -> Result<Exit> {
    let inf = inf.map_or_else(
        || target::in_program_folder("interlock.inf"),
        |inf| Ok(inf.into()),
    )?;
    let installed = target::install(&inf)?;
    let id = interlock_abi::HARDWARE_ID;
    if installed.created {
        anstream::println!(
            "Created the device {id} and installed its driver from {}.",
            inf.display()
        );
    } else {
        anstream::println!(
            "{id} exists already: updated its driver from {}.",
            inf.display()
        );
    }
    if installed.restart_needed {
        anstream::println!("{RESTART}");
    }
    Ok(Exit::Passed)
}

/// Removes the device.
pub fn remove(delete_driver: bool) -> Result<Exit> {
    let removed = target::remove(delete_driver)?;
    if removed.devices.is_empty() {
        return Err(Error::could_not_run(format!(
            "no device has the hardware ID {}: there is nothing to remove",
            interlock_abi::HARDWARE_ID
        )));
    }
    for device in &removed.devices {
        anstream::println!("Removed {device}.");
    }
    for package in &removed.packages {
        anstream::println!("Deleted the driver package {package}.");
    }
    if removed.restart_needed {
        anstream::println!("{RESTART}");
    }
    Ok(Exit::Passed)
}

/// Prints the state of the device, the driver and the service.
pub fn status() -> Result<Exit> {
    let devnodes = target::devnodes()?;
    if devnodes.is_empty() {
        return Err(Error::could_not_run(format!(
            "no device has the hardware ID {}: `harness install` creates one",
            interlock_abi::HARDWARE_ID
        )));
    }
    let mut healthy = true;
    for devnode in &devnodes {
        anstream::println!("device     {}", devnode.instance);
        anstream::println!("condition  {}", devnode.condition);
        let inf = devnode.inf.as_deref();
        anstream::println!(
            "inf        {}",
            inf.unwrap_or("not reported by this system")
        );
        healthy &= devnode.condition.is_good();
    }
    let service = target::service_state()?;
    anstream::println!("service    {service}");
    let device = Device::open()?;
    let version = device.version()?;
    anstream::println!(
        "driver     {}.{}.{} (interface version {})",
        version.major,
        version.minor,
        version.patch,
        version.abi
    );
    let counters = device.counters()?;
    anstream::println!(
        "counters   {} submitted = {} completed + {} cancelled + {} aborted + {} pending; \
         {} rejected",
        counters.submitted,
        counters.completed,
        counters.cancelled,
        counters.aborted,
        counters.pending,
        counters.rejected
    );
    Ok(if healthy { Exit::Passed } else { Exit::Failed })
}
