//! The names of a control device.

use crate::ControlDevice;

/// The largest number of characters in a [`ControlDevice::NAME`].
const MAX_NAME: usize = 64;
const MAX_LENGTH: usize = LINK.len() + MAX_NAME;

const DEVICE: &str = r"\Device\";
const LINK: &str = r"\DosDevices\";

/// The full name of an object in UTF-16.
pub(crate) struct ObjectName {
    units: [u16; MAX_LENGTH],
    length: usize,
}

/// Returns whether a name consists of 1 to [`MAX_NAME`] printable ASCII characters, without a backslash.
const fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if !bytes[index].is_ascii_graphic() || bytes[index] == b'\\' {
            return false;
        }
        index += 1;
    }
    0 < index && index <= MAX_NAME
}

impl ObjectName {
    /// The name of the device object.
    pub(crate) fn device<D: ControlDevice>() -> Self {
        Self::new::<D>(DEVICE)
    }

    /// The name of the symbolic link.
    pub(crate) fn link<D: ControlDevice>() -> Self {
        Self::new::<D>(LINK)
    }

    fn new<D: ControlDevice>(folder: &str) -> Self {
        const {
            assert!(
                is_valid(D::NAME),
                "the name of a control device has 1 to 64 ASCII characters, and no backslash"
            );
        }
        let mut units = [0; MAX_LENGTH];
        let mut length = 0;
        for (unit, byte) in units.iter_mut().zip(folder.bytes().chain(D::NAME.bytes())) {
            *unit = byte.into();
            length += 1;
        }
        Self { units, length }
    }

    /// Calls a function with the name, which is valid until the function returns.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a name has at most 76 characters"
    )]
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(*mut nt::UNICODE_STRING) -> R) -> R {
        let length = (self.length * 2) as u16;
        let mut name = nt::UNICODE_STRING {
            Length: length,
            MaximumLength: length,
            Buffer: self.units.as_mut_ptr(),
        };
        f(&raw mut name)
    }
}
