//! Device information sets: the devices that the PnP manager knows, through `SetupAPI`.

use std::io;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Devices::DeviceAndDriverInstallation as setup;
use windows_sys::Win32::Devices::DeviceAndDriverInstallation::{
    HDEVINFO, SP_DEVICE_INTERFACE_DATA, SP_DEVICE_INTERFACE_DETAIL_DATA_W, SP_DEVINFO_DATA,
    SP_DEVINSTALL_PARAMS_W, SP_REMOVEDEVICE_PARAMS,
};
use windows_sys::Win32::Foundation::{ERROR_NO_MORE_ITEMS, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Registry::KEY_READ;
use windows_sys::core::GUID;

use super::registry::Key;
use super::{INTERFACE, from_wide, last_error, size, succeeded, wide};
use crate::error::{Error, Result};
use crate::target::Condition;

/// The maximum length of a string, in UTF-16 units: device instance IDs have at most 200, and the hardware ID lists of root-enumerated
/// devices are short.
const STRING_LEN: usize = 1024;

/// A setup class: its GUID and its name.
pub struct Class {
    guid: GUID,
    name: Vec<u16>,
}

impl Class {
    /// Returns the class of the devices that an INF installs.
    pub fn of_inf(inf: &Path) -> Result<Self> {
        let path = wide(inf);
        let mut guid = GUID::default();
        let mut name = vec![0; 32];
        // SAFETY: the path ends with a NUL; the GUID is writable, and the name is for 32 units; the pointer to the required length
        // may be null.
        let read = unsafe {
            setup::SetupDiGetINFClassW(
                path.as_ptr(),
                &raw mut guid,
                name.as_mut_ptr(),
                32,
                ptr::null_mut(),
            )
        };
        succeeded(read, &format!("{} has no class", inf.display()))?;
        Ok(Self { guid, name })
    }
}

/// A device of a [`DeviceSet`].
pub struct Member(SP_DEVINFO_DATA);

impl Member {
    /// Its device node, by which the configuration manager identifies it.
    pub const fn devnode(&self) -> u32 {
        self.0.DevInst
    }
}

/// A device information set.
pub struct DeviceSet(HDEVINFO);

impl Drop for DeviceSet {
    fn drop(&mut self) {
        // SAFETY: the set is open and not used again. A failure cannot be reported.
        unsafe { setup::SetupDiDestroyDeviceInfoList(self.0) };
    }
}

impl DeviceSet {
    fn checked(set: HDEVINFO, what: &str) -> Result<Self> {
        if set == INVALID_HANDLE_VALUE as HDEVINFO {
            return Err(last_error(what));
        }
        Ok(Self(set))
    }

    /// Returns every root-enumerated device that is registered, present or not.
    pub fn root_enumerated() -> Result<Self> {
        let root = wide("ROOT");
        let flags = setup::DIGCF_ALLCLASSES;
        // SAFETY: the class may be null with DIGCF_ALLCLASSES, and the enumerator's name ends with a NUL.
        let set = unsafe {
            setup::SetupDiGetClassDevsW(ptr::null(), root.as_ptr(), ptr::null_mut(), flags)
        };
        Self::checked(set, "SetupDiGetClassDevs")
    }

    /// Returns every device that has this interface, enabled.
    fn with_interface(interface: &GUID) -> Result<Self> {
        let flags = setup::DIGCF_DEVICEINTERFACE | setup::DIGCF_PRESENT;
        // SAFETY: the GUID outlives the call, and no enumerator is named.
        let set =
            unsafe { setup::SetupDiGetClassDevsW(interface, ptr::null(), ptr::null_mut(), flags) };
        Self::checked(set, "SetupDiGetClassDevs")
    }

    /// Returns an empty set, for devices of a class.
    pub fn empty(class: &Class) -> Result<Self> {
        // SAFETY: the GUID outlives the call, and there is no parent window.
        let set =
            unsafe { setup::SetupDiCreateDeviceInfoList(&raw const class.guid, ptr::null_mut()) };
        Self::checked(set, "SetupDiCreateDeviceInfoList")
    }

    /// Returns the devices that have this hardware ID.
    pub fn having(&self, hardware_id: &str) -> Result<Vec<Member>> {
        let mut found = Vec::new();
        for index in 0.. {
            let mut data = blank_data();
            // SAFETY: the set is open, and `data` is writable and contains its size.
            if unsafe { setup::SetupDiEnumDeviceInfo(self.0, index, &raw mut data) } == 0 {
                no_more_items("SetupDiEnumDeviceInfo")?;
                break;
            }
            let member = Member(data);
            let ids = self.hardware_ids(&member);
            if ids.iter().any(|id| id.eq_ignore_ascii_case(hardware_id)) {
                found.push(member);
            }
        }
        Ok(found)
    }

    /// Returns a device's hardware IDs; none if they cannot be read.
    fn hardware_ids(&self, member: &Member) -> Vec<String> {
        let mut ids = vec![0_u16; STRING_LEN];
        // SAFETY: the set is open and contains the device. The buffer is writable for its length; the pointers to the
        // type and to the required length may be null.
        let read = unsafe {
            setup::SetupDiGetDeviceRegistryPropertyW(
                self.0,
                &raw const member.0,
                setup::SPDRP_HARDWAREID,
                ptr::null_mut(),
                ids.as_mut_ptr().cast(),
                bytes(&ids),
                ptr::null_mut(),
            )
        };
        if read == 0 {
            return Vec::new();
        }
        let ids = ids.split(|unit| *unit == 0).map(String::from_utf16_lossy);
        ids.take_while(|id| !id.is_empty()).collect()
    }

    /// Returns a device's instance ID.
    pub fn instance_id(&self, member: &Member) -> Result<String> {
        let mut id = vec![0_u16; STRING_LEN];
        // SAFETY: the set is open and contains the device; the buffer is writable for its length, and the pointer to the
        // required length may be null.
        let read = unsafe {
            setup::SetupDiGetDeviceInstanceIdW(
                self.0,
                &raw const member.0,
                id.as_mut_ptr(),
                units(&id),
                ptr::null_mut(),
            )
        };
        succeeded(read, "SetupDiGetDeviceInstanceId")?;
        Ok(from_wide(&id))
    }

    /// Returns the name of the INF that a device was installed from, in the system's INF folder.
    pub fn inf_name(&self, member: &Member) -> Option<String> {
        // SAFETY: the set is open and contains the device.
        let key = unsafe {
            setup::SetupDiOpenDevRegKey(
                self.0,
                &raw const member.0,
                setup::DICS_FLAG_GLOBAL,
                0,
                setup::DIREG_DRV,
                KEY_READ,
            )
        };
        if std::ptr::eq(key, INVALID_HANDLE_VALUE) {
            return None;
        }
        // SAFETY: the key was just opened, and nothing else uses it.
        unsafe { Key::from_raw(key) }.string("InfPath")
    }

    /// Returns the condition of a device.
    pub fn condition(member: &Member) -> Condition {
        let (mut status, mut problem) = (0, 0);
        // SAFETY: both numbers are writable.
        let answer = unsafe {
            setup::CM_Get_DevNode_Status(&raw mut status, &raw mut problem, member.0.DevInst, 0)
        };
        match answer {
            // A real status is not 0, since the device is root-enumerated; Wine's is.
            setup::CR_SUCCESS if status == 0 => Condition::Unknown,
            setup::CR_SUCCESS if status & setup::DN_HAS_PROBLEM != 0 => Condition::Problem(problem),
            setup::CR_SUCCESS if status & setup::DN_STARTED != 0 => Condition::Started,
            setup::CR_SUCCESS => Condition::Stopped,
            setup::CR_NO_SUCH_DEVNODE => Condition::Absent,
            _ => Condition::Unknown,
        }
    }

    /// Creates a root-enumerated device with a hardware ID, and registers it.
    pub fn create(&self, class: &Class, hardware_id: &str) -> Result<Member> {
        let mut data = blank_data();
        // SAFETY: the set is open, the name ends with a NUL, the description may be null, and `data` is writable and
        // contains its size.
        let created = unsafe {
            setup::SetupDiCreateDeviceInfoW(
                self.0,
                class.name.as_ptr(),
                &raw const class.guid,
                ptr::null(),
                ptr::null_mut(),
                setup::DICD_GENERATE_ID,
                &raw mut data,
            )
        };
        succeeded(created, "SetupDiCreateDeviceInfo")?;
        // A list of strings ends with an empty string.
        let mut ids = wide(hardware_id);
        ids.push(0);
        // SAFETY: the set is open and contains the device; the length is the buffer's.
        let set = unsafe {
            setup::SetupDiSetDeviceRegistryPropertyW(
                self.0,
                &raw mut data,
                setup::SPDRP_HARDWAREID,
                ids.as_ptr().cast(),
                bytes(&ids),
            )
        };
        succeeded(set, "SetupDiSetDeviceRegistryProperty")?;
        // SAFETY: the set is open and contains the device.
        let registered = unsafe {
            setup::SetupDiCallClassInstaller(setup::DIF_REGISTERDEVICE, self.0, &raw const data)
        };
        succeeded(registered, "DIF_REGISTERDEVICE")?;
        Ok(Member(data))
    }

    /// Removes a device; returns whether the system must be restarted to finish that.
    pub fn remove(&self, member: &Member) -> Result<bool> {
        let params = SP_REMOVEDEVICE_PARAMS {
            ClassInstallHeader: setup::SP_CLASSINSTALL_HEADER {
                cbSize: size::<setup::SP_CLASSINSTALL_HEADER>(),
                InstallFunction: setup::DIF_REMOVE,
            },
            Scope: setup::DI_REMOVEDEVICE_GLOBAL,
            HwProfile: 0,
        };
        let data = &raw const member.0;
        // SAFETY: the set is open and contains the device. The parameters are the structure for the function in their
        // header, with its size.
        let set = unsafe {
            setup::SetupDiSetClassInstallParamsW(
                self.0,
                data,
                (&raw const params).cast(),
                size::<SP_REMOVEDEVICE_PARAMS>(),
            )
        };
        // Wine's function fails without an error code, and Wine always removes the device globally.
        if set == 0 && io::Error::last_os_error().raw_os_error() != Some(0) {
            return Err(last_error("SetupDiSetClassInstallParams"));
        }
        // SAFETY: the set is open and contains the device.
        let removed = unsafe { setup::SetupDiCallClassInstaller(setup::DIF_REMOVE, self.0, data) };
        succeeded(removed, "DIF_REMOVE")?;
        let mut install = SP_DEVINSTALL_PARAMS_W {
            cbSize: size::<SP_DEVINSTALL_PARAMS_W>(),
            ..SP_DEVINSTALL_PARAMS_W::default()
        };
        // SAFETY: as above; `install` is writable and contains its size.
        let answer =
            unsafe { setup::SetupDiGetDeviceInstallParamsW(self.0, data, &raw mut install) };
        // If the system does not report it, the caller still detects whether the interface disappears.
        let restart = setup::DI_NEEDREBOOT | setup::DI_NEEDRESTART;
        Ok(answer != 0 && install.Flags & restart != 0)
    }
}

/// Returns the path of the first device with Interlock's interface.
pub fn interface_path() -> Result<Option<String>> {
    path_of(&INTERFACE)
}

/// Returns the path of the first device with this interface.
pub fn path_of(class: &GUID) -> Result<Option<String>> {
    let set = DeviceSet::with_interface(class)?;
    let mut interface = SP_DEVICE_INTERFACE_DATA {
        cbSize: size::<SP_DEVICE_INTERFACE_DATA>(),
        ..SP_DEVICE_INTERFACE_DATA::default()
    };
    // SAFETY: the set is open, the device may be null, the GUID outlives the call, and `interface` is writable and contains its
    // size.
    let found = unsafe {
        setup::SetupDiEnumDeviceInterfaces(set.0, ptr::null(), class, 0, &raw mut interface)
    };
    if found == 0 {
        no_more_items("SetupDiEnumDeviceInterfaces")?;
        return Ok(None);
    }
    // The structure is its size, a `u32`, followed by the path.
    let mut detail = vec![0_u32; STRING_LEN];
    detail[0] = size::<SP_DEVICE_INTERFACE_DETAIL_DATA_W>();
    // SAFETY: the set is open and contains the interface. The buffer has the structure's alignment, begins with its size, and is
    // writable for its length.
    let answer = unsafe {
        setup::SetupDiGetDeviceInterfaceDetailW(
            set.0,
            &raw const interface,
            detail.as_mut_ptr().cast(),
            bytes(&detail),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    succeeded(answer, "SetupDiGetDeviceInterfaceDetail")?;
    let halves = detail[1..].iter().flat_map(|two| two.to_ne_bytes());
    let halves: Vec<u8> = halves.collect();
    let pairs = halves.as_chunks().0.iter();
    let path: Vec<u16> = pairs.map(|pair| u16::from_ne_bytes(*pair)).collect();
    Ok(Some(from_wide(&path)))
}

/// Returns an empty structure, for a function that returns a device.
fn blank_data() -> SP_DEVINFO_DATA {
    SP_DEVINFO_DATA {
        cbSize: size::<SP_DEVINFO_DATA>(),
        ..SP_DEVINFO_DATA::default()
    }
}

/// Distinguishes the end of an enumeration from its failure.
fn no_more_items(what: &str) -> Result {
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(ERROR_NO_MORE_ITEMS.cast_signed()) {
        return Ok(());
    }
    Err(Error::failed(format!("{what}: {error}")))
}

/// Returns a buffer's length in units, for Win32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the buffers here are short"
)]
const fn units<T>(buffer: &[T]) -> u32 {
    buffer.len() as u32
}

/// Returns a buffer's length in bytes, for Win32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the buffers here are short"
)]
const fn bytes<T>(buffer: &[T]) -> u32 {
    size_of_val(buffer) as u32
}
