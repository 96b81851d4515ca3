//! Installing and removing the device, as `devcon install` and `devcon remove` do.

use std::ffi::c_void;
use std::io;
use std::path::{self, Path};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    INSTALLFLAG_FORCE, INSTALLFLAG_NONINTERACTIVE, SUOI_FORCEDELETE, SetupUninstallOEMInfW,
    UpdateDriverForPlugAndPlayDevicesW,
};

use super::devices::{Class, DeviceSet, interface_path};
use super::privilege::require_administrator;
use super::{succeeded, wide};
use crate::error::{Error, Result};
use crate::target::{Condition, DEADLINE, Devnode, Installed, Removed};

/// Creates the root-enumerated device, if there is none, and installs its driver from an INF.
pub fn install(inf: &Path) -> Result<Installed> {
    require_administrator()?;
    if !inf.is_file() {
        return Err(Error::could_not_run(format!(
            "{} does not exist: name the driver package's INF with --inf",
            inf.display()
        )));
    }
    let inf = path::absolute(inf)
        .map_err(|error| Error::could_not_run(format!("{}: {error}", inf.display())))?;
    let devices = DeviceSet::root_enumerated()?.having(interlock_abi::HARDWARE_ID)?;
    let restart_needed = if devices.is_empty() {
        install_new(&inf)?
    } else {
        update_driver(&inf)?
    };
    if !restart_needed {
        wait_for_interface(true)?;
    }
    Ok(Installed {
        created: devices.is_empty(),
        restart_needed,
    })
}

/// Creates the device and installs its driver; removes the device if that fails.
pub(super) fn install_new(inf: &Path) -> Result<bool> {
    let class = Class::of_inf(inf)?;
    let set = DeviceSet::empty(&class)?;
    let device = set.create(&class, interlock_abi::HARDWARE_ID)?;
    update_driver(inf).inspect_err(|_| {
        // The first error is reported.
        let _ = set.remove(&device);
    })
}

/// Installs the driver of every device with the hardware ID; returns whether the system must be restarted.
fn update_driver(inf: &Path) -> Result<bool> {
    let hardware_id = wide(interlock_abi::HARDWARE_ID);
    let path = wide(inf);
    let mut restart_needed = 0;
    // SAFETY: both strings end with a NUL, and `restart_needed` is writable.
    let updated = unsafe {
        UpdateDriverForPlugAndPlayDevicesW(
            ptr::null_mut(),
            hardware_id.as_ptr(),
            path.as_ptr(),
            // Without this flag, Windows can show a dialog and wait for an answer.
            INSTALLFLAG_FORCE | INSTALLFLAG_NONINTERACTIVE,
            &raw mut restart_needed,
        )
    };
    if updated == 0 {
        let error = io::Error::last_os_error();
        let code = error.raw_os_error().unwrap_or_default().cast_unsigned();
        return Err(Error::failed(format!(
            "the driver was not installed from {}: {error} (0x{code:08X}){}",
            inf.display(),
            advice(code)
        )));
    }
    Ok(restart_needed != 0)
}

/// Returns the advice for an error of `UpdateDriverForPlugAndPlayDevices`.
const fn advice(code: u32) -> &'static str {
    match code {
        // TRUST_E_*, CERT_E_*, ERROR_NO_CATALOG_FOR_OEM_INF, ERROR_NOT_INSTALLED to ERROR_AUTHENTICODE_PUBLISHER_NOT_TRUSTED and
        // ERROR_SIGNATURE_OSATTRIBUTE_MISMATCH, ERROR_DRIVER_STORE_ADD_FAILED
        0x800B_0000..=0x800B_FFFF
        | 0x8009_6000..=0x8009_6FFF
        | 0xE000_022F
        | 0xE000_023F..=0xE000_0245
        | 0xE000_0247 => {
            "; check that the package is signed, that this machine trusts its certificate, and that test signing is on \
             (bcdedit /set testsigning on, then restart)"
        }
        // ERROR_NO_SUCH_DEVINST, ERROR_NO_MORE_ITEMS
        0xE000_020B | 259 => {
            "; check that the INF contains the hardware ID and this system's architecture"
        }
        _ => "",
    }
}

/// Removes every device with the hardware ID, and with `delete_driver` the driver packages.
pub fn remove(delete_driver: bool) -> Result<Removed> {
    require_administrator()?;
    let mut removed = Removed::default();
    let set = DeviceSet::root_enumerated()?;
    let mut packages = Vec::new();
    for device in set.having(interlock_abi::HARDWARE_ID)? {
        removed.devices.push(set.instance_id(&device)?);
        packages.extend(set.inf_name(&device));
        removed.restart_needed |= set.remove(&device)?;
    }
    if !removed.restart_needed {
        wait_for_interface(false)?;
    }
    if delete_driver {
        packages.sort();
        packages.dedup();
        for package in &packages {
            delete_package(package)?;
        }
        removed.packages = packages;
    }
    Ok(removed)
}

/// Deletes a driver package from the driver store.
fn delete_package(inf: &str) -> Result {
    let name = wide(inf);
    // SAFETY: the name ends with a NUL, and the reserved parameter is null.
    let deleted =
        unsafe { SetupUninstallOEMInfW(name.as_ptr(), SUOI_FORCEDELETE, ptr::null::<c_void>()) };
    succeeded(deleted, &format!("{inf} was not deleted"))
}

/// Lists the devices with the hardware ID.
pub fn devnodes() -> Result<Vec<Devnode>> {
    let set = DeviceSet::root_enumerated()?;
    let devices = set.having(interlock_abi::HARDWARE_ID)?;
    let devnode = |device| {
        Ok(Devnode {
            instance: set.instance_id(device)?,
            condition: DeviceSet::condition(device),
            inf: set.inf_name(device),
        })
    };
    devices.iter().map(devnode).collect()
}

/// Waits until the device's interface exists, or no longer exists.
pub(super) fn wait_for_interface(expected: bool) -> Result {
    let start = Instant::now();
    while interface_path()?.is_some() != expected {
        if start.elapsed() > DEADLINE {
            return Err(Error::failed(if expected {
                format!(
                    "the driver is installed, but its device does not start{}",
                    why()
                )
            } else {
                "the device was removed, but its interface still exists".into()
            }));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Returns why the device does not start, if the system reports it.
fn why() -> String {
    let devnodes = devnodes().unwrap_or_default();
    let problem = devnodes.iter().map(|devnode| devnode.condition);
    let mut problem = problem.filter(|condition| matches!(condition, Condition::Problem(_)));
    problem
        .next()
        .map_or_else(String::new, |it| format!(": {it}"))
}
