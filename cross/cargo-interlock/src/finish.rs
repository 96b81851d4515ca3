//! Changes a driver's image after it is linked: sets what Microsoft's linker sets in a kernel image and lld-link does not, and removes
//! the exports.

use object::pe::{
    IMAGE_DIRECTORY_ENTRY_EXPORT, IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_DISCARDABLE,
    IMAGE_SCN_MEM_NOT_PAGED, IMAGE_SCN_MEM_READ, SectionFlags,
};

use crate::image::Image;

/// Sections that the kernel frees after the driver is initialised.
const DISCARDABLE: &[&str] = &["INIT", ".reloc", ".rsrc"];

/// Returns whether the kernel may page out a section of this name, such as `PAGE`.
pub fn is_pageable(name: &str) -> bool {
    name.starts_with("PAGE")
}

/// Corrects the flags of the sections, removes the exports, and sets the checksum.
///
/// rustc exports every `no_mangle` symbol of a `cdylib`: `DriverEntry`, which the linker finds by its name, and symbols that `wdk-sys`
/// defines for the linker. The kernel does not need these exports, and a driver in C has none.
pub fn finish(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut finished = data.to_vec();
    for section in Image::parse(data)?.sections() {
        let SectionFlags(flags) = kernel_flags(&section.name, section.flags);
        put(&mut finished, section.flags_offset, flags)?;
    }
    if let Some(exports) = Image::parse(data)?.directory_offset(IMAGE_DIRECTORY_ENTRY_EXPORT) {
        put(&mut finished, exports, 0)?;
        put(&mut finished, exports + size_of::<u32>(), 0)?;
    }
    let image = Image::parse(&finished)?;
    let (offset, checksum) = (image.checksum_offset(), image.checksum());
    put(&mut finished, offset, checksum)?;
    Ok(finished)
}

/// Returns the flags that a section must have in a kernel image.
fn kernel_flags(name: &str, flags: SectionFlags) -> SectionFlags {
    if flags.0 == 0 {
        // Only the linker uses such a section, but lld-link keeps it in the image, and the kernel refuses to map it.
        IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ | IMAGE_SCN_MEM_DISCARDABLE
    } else if is_pageable(name) {
        flags.without(IMAGE_SCN_MEM_NOT_PAGED | IMAGE_SCN_MEM_DISCARDABLE)
    } else if DISCARDABLE.contains(&name) {
        flags
            .without(IMAGE_SCN_MEM_NOT_PAGED)
            .with(IMAGE_SCN_MEM_DISCARDABLE)
    } else {
        flags
            .without(IMAGE_SCN_MEM_DISCARDABLE)
            .with(IMAGE_SCN_MEM_NOT_PAGED)
    }
}

fn put(data: &mut [u8], offset: usize, value: u32) -> Result<(), String> {
    let field = data
        .get_mut(offset..offset + 4)
        .ok_or("is truncated in its headers")?;
    field.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use object::pe::{IMAGE_SCN_CNT_CODE, IMAGE_SCN_MEM_EXECUTE};

    use super::*;

    #[test]
    fn flags_are_those_of_microsofts_linker() {
        let code = IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ;
        let data = IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ;
        let expected = [
            (".text", code, 0x6800_0020),
            ("PAGE", code | IMAGE_SCN_MEM_NOT_PAGED, 0x6000_0020),
            ("INIT", code, 0x6200_0020),
            (".rdata", data, 0x4800_0040),
            (".pdata", data, 0x4800_0040),
            (".reloc", data, 0x4200_0040),
            (".retplne", SectionFlags(0), 0x4200_0040),
        ];
        for (name, flags, finished) in expected {
            assert_eq!(kernel_flags(name, flags).0, finished, "{name}");
        }
    }

    #[test]
    fn truncated_image_is_refused() {
        let image = crate::sample::image();
        for length in [0, 1, 64, 200] {
            assert!(finish(&image[..length]).is_err(), "{length} bytes");
        }
    }
}
