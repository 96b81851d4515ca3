//! Device interfaces, by which applications find a device.

use core::cell::UnsafeCell;

use crate::{Error, ke::irql::Waitable};

/// The GUID of a device interface class (`GUID`).
///
/// WDK: [Defining and Exporting New GUIDs](https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-and-exporting-new-guids).
///
/// # Examples
///
/// ```
/// const CLASS: wdm::Guid = wdm::Guid::new(0x6f1d_3c52, 0x8e0b, 0x4a57, [0x9b, 0x43, 0, 0, 0, 0, 0, 1]);
/// ```
#[doc(alias = "IoSetDeviceInterfaceState")]
#[doc(alias = "RtlFreeUnicodeString")]
#[doc(alias = "GUID")]
pub struct Guid(Option<nt::GUID>);

impl Guid {
    /// No interface class: the device has no interface.
    pub const NONE: Self = Self(None);

    /// Makes a GUID from its parts.
    #[must_use]
    pub const fn new(data1: u32, data2: u16, data3: u16, data4: [u8; 8]) -> Self {
        Self(Some(nt::GUID {
            Data1: data1,
            Data2: data2,
            Data3: data3,
            Data4: data4,
        }))
    }
}

/// A registered device interface.
///
/// WDK: [IoRegisterDeviceInterface](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregisterdeviceinterface).
pub(crate) struct DeviceInterface {
    /// The name of its symbolic link, which the kernel allocated. In a cell, since the kernel's prototypes take a
    /// mutable pointer.
    name: UnsafeCell<nt::UNICODE_STRING>,
}

impl DeviceInterface {
    /// Registers an interface of a class for a physical device (`IoRegisterDeviceInterface`); does nothing for
    /// [`Guid::NONE`].
    ///
    /// # Safety
    /// `pdo` is the physical device object that was passed to AddDevice.
    pub(crate) unsafe fn register<L: Waitable>(
        pdo: *mut nt::DEVICE_OBJECT,
        class: &Guid,
        _irql: &mut L,
    ) -> Result<Option<Self>, Error> {
        let Some(class) = &class.0 else {
            return Ok(None);
        };
        let mut name = nt::UNICODE_STRING {
            Length: 0,
            MaximumLength: 0,
            Buffer: core::ptr::null_mut(),
        };
        // SAFETY: the caller passes a physical device object, and the token says PASSIVE_LEVEL.
        let status = unsafe {
            nt::IoRegisterDeviceInterface(pdo, class, core::ptr::null_mut(), &raw mut name)
        };
        Error::check(status)?;
        let name = UnsafeCell::new(name);
        Ok(Some(Self { name }))
    }

    /// Enables or disables the interface, by which applications find the device (`IoSetDeviceInterfaceState`).
    pub(crate) fn set_enabled<L: Waitable>(
        &self,
        enabled: bool,
        _irql: &mut L,
    ) -> Result<(), Error> {
        // SAFETY: IoRegisterDeviceInterface returned the name, and the token says PASSIVE_LEVEL.
        Error::check(unsafe { nt::IoSetDeviceInterfaceState(self.name.get(), u8::from(enabled)) })
    }
}

impl Drop for DeviceInterface {
    fn drop(&mut self) {
        // SAFETY: IoRegisterDeviceInterface returned the name, and it is not used again. Interfaces are dropped
        // with their device, at PASSIVE_LEVEL.
        unsafe { nt::RtlFreeUnicodeString(self.name.get()) };
    }
}
