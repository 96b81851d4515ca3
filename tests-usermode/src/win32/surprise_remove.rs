//! Removing the device under its users, and making it again: what no user-mode program should do
//! outside a test.

use std::mem;
use std::path::PathBuf;

use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    CM_REMOVE_NO_RESTART, CM_REMOVE_UI_NOT_OK, CM_SETUP_DEVNODE_READY, CM_Setup_DevNode, CONFIGRET,
    CR_REMOVE_VETOED, CR_SUCCESS, PNP_VETO_TYPE, PNP_VetoDriver, PNP_VetoOutstandingOpen,
    PNP_VetoPendingClose,
};

use super::devices::DeviceSet;
use super::install::{install_new, wait_for_interface};
use super::privilege::require_administrator;
use super::{from_wide, library};
use crate::error::{Error, Result};
use crate::target::{Removal, RemovedDevice};

/// `CM_Query_And_Remove_SubTreeW`
type QueryAndRemove =
    unsafe extern "system" fn(u32, *mut PNP_VETO_TYPE, *mut u16, u32, u32) -> CONFIGRET;

/// Removes the device although handles of it are open.
///
/// Windows asks first (`CM_Query_And_Remove_SubTree`), and leaves everything as it was where the
/// answer is no. Wine does not have that function; its `DIF_REMOVE` asks nobody, as when hardware is
/// pulled out.
pub fn surprise_remove() -> Result<Removal> {
    require_administrator()?;
    let set = DeviceSet::root_enumerated()?;
    let devices = set.having(interlock_abi::HARDWARE_ID)?;
    let [device] = devices.as_slice() else {
        return Err(Error::failed(format!(
            "there are {} Interlock devices where there should be one",
            devices.len()
        )));
    };
    let Some(query_and_remove) = query_and_remove() else {
        let Some(inf) = inf_beside_this_program() else {
            return Ok(Removal::Vetoed(
                "no interlock.inf is beside this program to install the device from again".into(),
            ));
        };
        set.remove(device)?;
        return Ok(Removal::Removed(RemovedDevice::Unregistered { inf }));
    };
    let (mut veto, mut name) = (0, vec![0_u16; 260]);
    // SAFETY: the type matches the function's; both outputs may be written to, the name as far as is
    // said.
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
        CR_REMOVE_VETOED => Ok(Removal::Vetoed(format!(
            "the system does not remove a device in use: {} ({})",
            reason(veto),
            from_wide(&name)
        ))),
        other => Err(Error::failed(format!(
            "CM_Query_And_Remove_SubTree: CONFIGRET {other}"
        ))),
    }
}

/// Makes the device as it was before it was taken away, and waits until it can be opened.
pub fn restore(removed: &RemovedDevice) -> Result<()> {
    match removed {
        RemovedDevice::Stopped { devnode } => {
            // SAFETY: the function takes numbers alone.
            let answer = unsafe { CM_Setup_DevNode(*devnode, CM_SETUP_DEVNODE_READY) };
            if answer != CR_SUCCESS {
                return Err(Error::failed(format!(
                    "CM_Setup_DevNode: CONFIGRET {answer}"
                )));
            }
        }
        RemovedDevice::Unregistered { inf } => {
            install_new(inf)?;
        }
        RemovedDevice::Model => {
            return Err(Error::failed(
                "the device that was taken away is the model's",
            ));
        }
    }
    wait_for_interface(true)
}

/// The INF beside this program. The copy in Wine's INF folder will not do, since Wine looks for the driver
/// beside the INF.
fn inf_beside_this_program() -> Option<PathBuf> {
    let inf = std::env::current_exe()
        .ok()?
        .with_file_name("interlock.inf");
    inf.is_file().then_some(inf)
}

/// The function, where the system has it.
fn query_and_remove() -> Option<QueryAndRemove> {
    let function = library::function("cfgmgr32.dll", c"CM_Query_And_Remove_SubTreeW")?;
    // SAFETY: cfgmgr32.h declares the function of that name with this type.
    Some(unsafe {
        mem::transmute::<unsafe extern "system" fn() -> isize, QueryAndRemove>(function)
    })
}

/// What a veto means.
const fn reason(veto: PNP_VETO_TYPE) -> &'static str {
    #[expect(non_upper_case_globals, reason = "these are Windows' names")]
    match veto {
        PNP_VetoOutstandingOpen => "it has open handles",
        PNP_VetoPendingClose => "a handle of it is still being closed",
        PNP_VetoDriver => "its driver refuses",
        _ => "no further reason is given",
    }
}
