//! Removes the device while handles are open, and restores it. Only a test should do this.

use std::mem;
use std::path::PathBuf;

use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    CM_REMOVE_NO_RESTART, CM_REMOVE_UI_NOT_OK, CM_SETUP_DEVNODE_READY, CM_SETUP_DEVNODE_RESET,
    CM_Setup_DevNode, CONFIGRET, CR_CALL_NOT_IMPLEMENTED, CR_REMOVE_VETOED, CR_SUCCESS,
    PNP_VETO_TYPE, PNP_VetoDriver, PNP_VetoOutstandingOpen, PNP_VetoPendingClose,
};

use super::devices::{DeviceSet, Member};
use super::install::{install_new, wait_for_interface};
use super::machine::wine_version;
use super::privilege::require_administrator;
use super::{from_wide, library};
use crate::error::{Error, Result};
use crate::target::{Removal, RemovedDevice, in_program_folder};

/// `CM_Query_And_Remove_SubTreeW`
type QueryAndRemove =
    unsafe extern "system" fn(u32, *mut PNP_VETO_TYPE, *mut u16, u32, u32) -> CONFIGRET;

/// Removes the device while handles are open.
///
/// Windows first queries whether the device can be removed (`CM_Query_And_Remove_SubTree`), which may be vetoed. Wine does not have
/// that function, or only a stub of it; its `DIF_REMOVE` removes the device without a query, like a surprise removal.
pub fn surprise_remove() -> Result<Removal> {
    require_administrator()?;
    let set = DeviceSet::root_enumerated()?;
    let devices = set.having(interlock_abi::HARDWARE_ID)?;
    let [device] = devices.as_slice() else {
        return Err(Error::failed(format!(
            "there are {} Interlock devices, and there should be one",
            devices.len()
        )));
    };
    let Some(query_and_remove) = query_and_remove() else {
        return unregister(&set, device);
    };
    let (mut veto, mut name) = (0, vec![0_u16; 260]);
    // SAFETY: the type is the function's; both outputs are writable, the name for 260 units.
    let answer = unsafe {
        query_and_remove(
            device.devnode(),
            &raw mut veto,
            name.as_mut_ptr(),
            260,
            CM_REMOVE_NO_RESTART | CM_REMOVE_UI_NOT_OK,
        )
    };
    match answer {
        CR_SUCCESS => Ok(Removal::Removed(RemovedDevice::Stopped {
            devnode: device.devnode(),
        })),
        CR_CALL_NOT_IMPLEMENTED => unregister(&set, device),
        CR_REMOVE_VETOED => Ok(Removal::Vetoed(format!(
            "the system vetoes the removal: {} ({})",
            reason(veto),
            from_wide(&name)
        ))),
        other => Err(Error::failed(format!(
            "CM_Query_And_Remove_SubTree: CONFIGRET {other}"
        ))),
    }
}

/// Removes the device without a query. It is restored by installing it again.
fn unregister(set: &DeviceSet, device: &Member) -> Result<Removal> {
    let Some(inf) = inf_in_program_folder() else {
        return Ok(Removal::Vetoed(
            "there is no interlock.inf in the folder of this program, from which the device could be installed again".into(),
        ));
    };
    set.remove(device)?;
    Ok(Removal::Removed(RemovedDevice::Unregistered { inf }))
}

/// Restores the device, and waits until it can be opened.
pub fn restore(removed: &RemovedDevice) -> Result {
    match removed {
        RemovedDevice::Stopped { devnode } => {
            // The first call clears the flag CM_REMOVE_NO_RESTART of the removal.
            for flag in [CM_SETUP_DEVNODE_RESET, CM_SETUP_DEVNODE_READY] {
                // SAFETY: the function takes only numbers.
                let answer = unsafe { CM_Setup_DevNode(*devnode, flag) };
                if answer != CR_SUCCESS {
                    return Err(Error::failed(format!(
                        "CM_Setup_DevNode with the flag {flag}: CONFIGRET {answer}"
                    )));
                }
            }
        }
        RemovedDevice::Unregistered { inf } => {
            install_new(inf)?;
        }
        RemovedDevice::Model => {
            return Err(Error::failed("the removed device is the model kernel's"));
        }
    }
    wait_for_interface(true)
}

/// Returns the INF in the folder of this program. The copy in Wine's INF folder cannot be used, since Wine looks for the driver in the
/// folder of the INF.
fn inf_in_program_folder() -> Option<PathBuf> {
    let inf = in_program_folder("interlock.inf").ok()?;
    inf.is_file().then_some(inf)
}

/// Returns the function, if the system has it. Later versions of Wine export a stub that ends the program.
fn query_and_remove() -> Option<QueryAndRemove> {
    if wine_version().is_some() {
        return None;
    }
    let function = library::function("cfgmgr32.dll", c"CM_Query_And_Remove_SubTreeW")?;
    // SAFETY: cfgmgr32.h declares the function with this type.
    Some(unsafe {
        mem::transmute::<unsafe extern "system" fn() -> isize, QueryAndRemove>(function)
    })
}

/// Returns the meaning of a veto.
const fn reason(veto: PNP_VETO_TYPE) -> &'static str {
    #[expect(non_upper_case_globals, reason = "these are Windows' names")]
    match veto {
        PNP_VetoOutstandingOpen => "it has open handles",
        PNP_VetoPendingClose => "one of its handles is still being closed",
        PNP_VetoDriver => "its driver vetoes it",
        _ => "no further information is available",
    }
}
