//! The users who may open a device.

/// The users who may open a control device.
///
/// The system and administrators can always open the device, for every access. The I/O manager checks the access each time
/// the device is opened, also by a name below the device's own (`FILE_DEVICE_SECURE_OPEN`).
///
/// WDK: [Securing Device Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/securing-device-objects).
///
/// # Examples
///
/// ```
/// use pinned_init::PinInit;
/// use wdm::{ControlDevice, Device, DeviceAccess, Error, NewDevice, PassiveLevel};
///
/// /// A device that every user may open, since its driver checks what they ask for.
/// struct Open;
///
/// impl ControlDevice for Open {
///     const NAME: &str = "Open";
///     const ACCESS: DeviceAccess = DeviceAccess::Everyone;
/// }
///
/// impl Device for Open {
///     type File = ();
///
///     fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
///         Ok(Ok::<_, Error>(Self))
///     }
/// }
/// ```
#[doc(alias = "SDDL_DEVOBJ_SYS_ALL_ADM_ALL")]
#[doc(alias = "IoCreateDeviceSecure")]
#[doc(alias = "ObOpenObjectByPointer")]
#[doc(alias = "ZwSetSecurityObject")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// The system and administrators, which is `D:P(A;;GA;;;SY)(A;;GA;;;BA)` in SDDL.
    Administrators,
    /// Everyone, to read and to write; the system and administrators for every access.
    Everyone,
}

/// A security descriptor in self-relative form.
///
/// [MS-DTYP](https://learn.microsoft.com/openspecs/windows_protocols/ms-dtyp/7d4dac05-9cef-4563-a058-f108abecce1d) gives the
/// layout. The kernel copies it.
#[repr(C)]
pub(crate) struct SecurityDescriptor {
    revision: u8,
    reserved: u8,
    control: u16,
    owner: u32,
    group: u32,
    sacl: u32,
    dacl: u32,
    acl: Acl,
    system: Ace<1>,
    administrators: Ace<2>,
    everyone: Ace<1>,
}

#[repr(C)]
struct Acl {
    revision: u8,
    reserved: u8,
    size: u16,
    count: u16,
    reserved_too: u16,
}

/// An `ACCESS_ALLOWED_ACE` for a SID with `N` sub-authorities.
#[repr(C)]
struct Ace<const N: usize> {
    kind: u8,
    flags: u8,
    size: u16,
    mask: u32,
    sid_revision: u8,
    sid_count: u8,
    authority: [u8; 6],
    sub_authorities: [u32; N],
}

impl<const N: usize> Ace<N> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an entry has some 20 bytes"
    )]
    const fn allow(mask: u32, authority: u8, sub_authorities: [u32; N]) -> Self {
        Self {
            kind: 0,
            flags: 0,
            size: size_of::<Self>() as u16,
            mask,
            sid_revision: 1,
            sid_count: N as u8,
            authority: [0, 0, 0, 0, 0, authority],
            sub_authorities,
        }
    }
}

const WORLD: u8 = 1;
const NT: u8 = 5;
const LOCAL_SYSTEM: u32 = 18;
const BUILTIN_DOMAIN: u32 = 32;
const ADMINISTRATORS: u32 = 544;

impl DeviceAccess {
    /// The security descriptor of the device object, which has a DACL and nothing else.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the descriptor has some 100 bytes"
    )]
    pub(crate) const fn descriptor(self) -> SecurityDescriptor {
        // An entry that is not counted is ignored.
        let count = match self {
            Self::Administrators => 2,
            Self::Everyone => 3,
        };
        let size = size_of::<SecurityDescriptor>() - core::mem::offset_of!(SecurityDescriptor, acl);
        SecurityDescriptor {
            revision: 1,
            reserved: 0,
            control: nt::SE_SELF_RELATIVE | nt::SE_DACL_PRESENT | nt::SE_DACL_PROTECTED,
            owner: 0,
            group: 0,
            sacl: 0,
            dacl: core::mem::offset_of!(SecurityDescriptor, acl) as u32,
            acl: Acl {
                revision: 2,
                reserved: 0,
                size: size as u16,
                count,
                reserved_too: 0,
            },
            system: Ace::allow(nt::FILE_ALL_ACCESS, NT, [LOCAL_SYSTEM]),
            administrators: Ace::allow(nt::FILE_ALL_ACCESS, NT, [BUILTIN_DOMAIN, ADMINISTRATORS]),
            everyone: Ace::allow(nt::FILE_GENERIC_READ | nt::FILE_GENERIC_WRITE, WORLD, [0]),
        }
    }
}
