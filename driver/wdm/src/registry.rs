//! The registry keys of a driver and of its devices.

use core::{marker::PhantomData, ptr::null_mut};

use crate::{Error, ke::irql::Waitable};

/// A registry key: the driver's service key, `HKLM\SYSTEM\CurrentControlSet\Services\<name>`, whose path `DriverEntry` receives,
/// or the [hardware key](crate::NewDevice::hardware_key) or [software key](crate::NewDevice::software_key) of a device.
///
/// The key is opened for each value that is read.
///
/// WDK: [HKLM\\SYSTEM\\CurrentControlSet\\Services registry tree](https://learn.microsoft.com/windows-hardware/drivers/install/hklm-system-currentcontrolset-services-registry-tree),
/// [Introduction to Registry Keys for Drivers](https://learn.microsoft.com/windows-hardware/drivers/wdf/introduction-to-registry-keys-for-drivers).
///
/// # Examples
///
/// ```no_run
/// use wdm::{PassiveLevel, RegistryKey};
///
/// fn configure(registry: &RegistryKey, irql: &mut PassiveLevel) {
///     let retries = registry.dword("Parameters", "Retries", irql).unwrap_or(3);
/// #   let _ = retries;
/// }
/// ```
#[doc(alias = "RegistryPath")]
#[doc(alias = "DriverEntry")]
pub struct RegistryKey<'a> {
    place: Place,
    _place: PhantomData<&'a ()>,
}

/// Where a key is.
enum Place {
    Path(*mut nt::UNICODE_STRING),
    /// A physical device object, and which of its keys.
    Device(*mut nt::DEVICE_OBJECT, u32),
}

impl RegistryKey<'_> {
    /// Wraps the path that is passed to `DriverEntry`.
    ///
    /// # Safety
    /// `path` is valid as long as the returned value lives.
    pub(crate) unsafe fn from_raw(path: *mut nt::UNICODE_STRING) -> Self {
        Self {
            place: Place::Path(path),
            _place: PhantomData,
        }
    }

    /// Makes the key of a device; `kind` is a `PLUGPLAY_REGKEY` value.
    ///
    /// # Safety
    /// `pdo` is a physical device object, valid as long as the returned value lives, or NULL.
    pub(crate) const unsafe fn of_device(pdo: *mut nt::DEVICE_OBJECT, kind: u32) -> Self {
        Self {
            place: Place::Device(pdo, kind),
            _place: PhantomData,
        }
    }

    /// Reads a `REG_DWORD` value from a subkey, or from the key itself if `subkey` is empty (`ZwOpenKey`, `ZwQueryValueKey`).
    ///
    /// WDK: [ZwQueryValueKey](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwqueryvaluekey).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_OBJECT_NAME_NOT_FOUND` if the subkey or the value does not exist; `STATUS_OBJECT_TYPE_MISMATCH` if
    /// the value has another type; `STATUS_NAME_TOO_LONG` if a name is longer than 32 UTF-16 code units;
    /// `STATUS_INVALID_DEVICE_REQUEST` if it is a key of a device without Plug and Play; other errors of the routines.
    #[doc(alias = "ZwOpenKey")]
    #[doc(alias = "ZwQueryValueKey")]
    pub fn dword<L: Waitable>(
        &self,
        subkey: &str,
        value: &str,
        _irql: &mut L,
    ) -> Result<u32, Error> {
        let key = match self.place {
            // SAFETY: the path is valid as long as `self` lives.
            Place::Path(path) => unsafe { Key::open(null_mut(), path) }?,
            Place::Device(pdo, _) if pdo.is_null() => return Err(Error::INVALID_DEVICE_REQUEST),
            // SAFETY: the physical device object is valid as long as `self` lives.
            Place::Device(pdo, kind) => unsafe { Key::open_device(pdo, kind) }?,
        };
        if subkey.is_empty() {
            return key.dword(value);
        }
        let mut subkey = Name::new(subkey)?;
        let mut path = subkey.string();
        // SAFETY: the path points into `subkey`, which is alive, and the key is open.
        let subkey = unsafe { Key::open(key.0, &raw mut path) }?;
        subkey.dword(value)
    }
}

/// An open registry key; dropping it closes the handle.
struct Key(nt::HANDLE);

/// `KEY_VALUE_PARTIAL_INFORMATION` with room for a `REG_DWORD`.
#[repr(C)]
struct PartialInformation {
    title_index: u32,
    kind: u32,
    length: u32,
    data: u32,
}

impl Key {
    /// Opens a key by its path, relative to another key, or to the root if `below` is NULL.
    ///
    /// # Safety
    /// `path` is valid, and `below` is NULL or an open key. The IRQL is `PASSIVE_LEVEL`.
    unsafe fn open(below: nt::HANDLE, path: *mut nt::UNICODE_STRING) -> Result<Self, Error> {
        #[expect(clippy::cast_possible_truncation, reason = "the structure is 48 bytes")]
        let mut attributes = nt::OBJECT_ATTRIBUTES {
            Length: size_of::<nt::OBJECT_ATTRIBUTES>() as u32,
            RootDirectory: below,
            ObjectName: path,
            Attributes: nt::OBJ_CASE_INSENSITIVE | nt::OBJ_KERNEL_HANDLE,
            SecurityDescriptor: null_mut(),
            SecurityQualityOfService: null_mut(),
        };
        let mut handle = null_mut();
        // SAFETY: the attributes and what they point to are valid during the call.
        let status = unsafe { nt::ZwOpenKey(&raw mut handle, nt::KEY_READ, &raw mut attributes) };
        Error::check(status)?;
        Ok(Self(handle))
    }

    /// Opens a key of a device.
    ///
    /// # Safety
    /// `pdo` is a physical device object. The IRQL is `PASSIVE_LEVEL`.
    unsafe fn open_device(pdo: *mut nt::DEVICE_OBJECT, kind: u32) -> Result<Self, Error> {
        let mut handle = null_mut();
        // SAFETY: guaranteed by the caller.
        let status =
            unsafe { nt::IoOpenDeviceRegistryKey(pdo, kind, nt::KEY_READ, &raw mut handle) };
        Error::check(status)?;
        Ok(Self(handle))
    }

    fn dword(&self, value: &str) -> Result<u32, Error> {
        const SIZE: u32 = 16;
        const { assert!(size_of::<PartialInformation>() == SIZE as usize) };

        let mut value = Name::new(value)?;
        let mut name = value.string();
        let mut information = PartialInformation {
            title_index: 0,
            kind: 0,
            length: 0,
            data: 0,
        };
        let mut length = 0;
        // SAFETY: the key is open, and the name and the buffer are valid for their lengths. The routine writes no
        // more than SIZE bytes; a larger value is an error.
        let status = unsafe {
            nt::ZwQueryValueKey(
                self.0,
                &raw mut name,
                nt::_KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation,
                (&raw mut information).cast(),
                SIZE,
                &raw mut length,
            )
        };
        Error::check(status)?;
        if information.kind != nt::REG_DWORD || information.length != 4 {
            return Err(Error::OBJECT_TYPE_MISMATCH);
        }
        Ok(information.data)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and is closed only here. There is nothing to do if closing fails.
        let _ = unsafe { nt::ZwClose(self.0) };
    }
}

/// A short UTF-16 name on the stack.
struct Name {
    units: [u16; Self::CAPACITY],
    length: usize,
}

impl Name {
    const CAPACITY: usize = 32;

    fn new(text: &str) -> Result<Self, Error> {
        let mut name = Self {
            units: [0; Self::CAPACITY],
            length: 0,
        };
        for unit in text.encode_utf16() {
            *name
                .units
                .get_mut(name.length)
                .ok_or(Error::NAME_TOO_LONG)? = unit;
            name.length += 1;
        }
        Ok(name)
    }

    /// Returns the name as a `UNICODE_STRING`, which points into `self`.
    #[expect(clippy::cast_possible_truncation, reason = "at most 64 bytes")]
    fn string(&mut self) -> nt::UNICODE_STRING {
        let bytes = (self.length * size_of::<u16>()) as u16;
        nt::UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: self.units.as_mut_ptr(),
        }
    }
}
