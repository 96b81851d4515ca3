//! The architecture of a PE image.

use super::Machine;
use crate::error::{Error, Result};

/// Returns the architecture in a PE image's header.
pub fn machine_of(image: &[u8]) -> Result<Machine> {
    let not_an_image = || Error::failed("it is not a PE image");
    let dos = image.get(..2).filter(|magic| magic == b"MZ");
    dos.ok_or_else(not_an_image)?;
    // e_lfanew is the offset of the PE header.
    let at = image.get(0x3C..).and_then(|rest| rest.first_chunk());
    let at = u32::from_le_bytes(*at.ok_or_else(not_an_image)?);
    let header = usize::try_from(at).ok().and_then(|at| image.get(at..));
    let header = header.and_then(|header| header.strip_prefix(b"PE\0\0"));
    let machine = header.and_then(|header| header.first_chunk());
    machine
        .map(|machine| Machine(u16::from_le_bytes(*machine)))
        .ok_or_else(not_an_image)
}

#[cfg(test)]
mod tests {
    use super::{Machine, machine_of};

    /// Returns a PE image up to its machine field; the PE header begins at 0x40.
    fn image(machine: u16) -> Vec<u8> {
        let mut image = vec![0; 0x40];
        image[..2].copy_from_slice(b"MZ");
        image[0x3C] = 0x40;
        image.extend(b"PE\0\0");
        image.extend(machine.to_le_bytes());
        image
    }

    #[test]
    fn the_machine_is_read() {
        assert_eq!(machine_of(&image(0x8664)).unwrap(), Machine::X64);
        assert_eq!(machine_of(&image(0xAA64)).unwrap(), Machine::ARM64);
    }

    #[test]
    fn a_truncated_or_corrupt_image_is_refused() {
        let whole = image(0x8664);
        for length in 0..whole.len() {
            assert!(machine_of(&whole[..length]).is_err(), "{length} bytes");
        }
        for at in [0, 0x3C, 0x3F, 0x40] {
            let mut corrupt = whole.clone();
            corrupt[at] = 0xFF;
            assert!(machine_of(&corrupt).is_err(), "byte {at:#x}");
        }
    }
}
