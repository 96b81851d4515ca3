//! Reads and changes the bytes of a driver image.

use std::{
    mem::{offset_of, size_of},
    ops::Range,
};

use object::{
    Bytes, LittleEndian as LE,
    pe::{self, ImageDataDirectory, ImageOptionalHeader64, ImageSectionHeader, SectionFlags},
    read::pe::{Export, Import, PeFile64},
};

/// A PE image for a 64-bit machine.
pub struct Image<'data> {
    pub data: &'data [u8],
    pub file: PeFile64<'data>,
}

/// A section's name and flags, and the file offset of the flags.
pub struct Section {
    pub name: String,
    pub flags: SectionFlags,
    pub flags_offset: usize,
}

impl<'data> Image<'data> {
    pub fn parse(data: &'data [u8]) -> Result<Self, String> {
        let file =
            PeFile64::parse(data).map_err(|error| format!("is not a 64-bit PE image: {error}"))?;
        Ok(Self { data, file })
    }

    pub fn optional_header(&self) -> &'data ImageOptionalHeader64 {
        &self.file.nt_headers().optional_header
    }

    fn optional_header_offset(&self) -> usize {
        let nt_headers = self.file.dos_header().nt_headers_offset() as usize;
        nt_headers + offset_of!(pe::ImageNtHeaders64, optional_header)
    }

    pub fn checksum_offset(&self) -> usize {
        self.optional_header_offset() + offset_of!(ImageOptionalHeader64, check_sum)
    }

    /// Computes the checksum for the header: the sum of the file's 16-bit words with the carries added
    /// back in, the field itself taken as zero, plus the file's length.
    pub fn checksum(&self) -> u32 {
        checksum(self.data, self.checksum_offset())
    }

    /// Returns the file offset of the entry for a data directory, or `None` if the header has no such entry.
    pub fn directory_offset(&self, directory: usize) -> Option<usize> {
        let first = self.optional_header_offset() + size_of::<ImageOptionalHeader64>();
        let count = self.optional_header().number_of_rva_and_sizes.get(LE) as usize;
        (directory < count).then(|| first + directory * size_of::<ImageDataDirectory>())
    }

    /// Returns the bytes that Authenticode hashes: all except the checksum, the directory entry of the signature, and the signature itself
    /// at the end of the file.
    pub fn authenticode_bytes(&self) -> Result<[&'data [u8]; 3], String> {
        let checksum = self.checksum_offset();
        let entry = self
            .directory_offset(pe::IMAGE_DIRECTORY_ENTRY_SECURITY)
            .ok_or("has no directory entry for a signature")?;
        let mut end = self.data.len();
        if let Some(signature) = self.file.data_directory(pe::IMAGE_DIRECTORY_ENTRY_SECURITY) {
            // This directory is not mapped, and its address is a file offset.
            let start = signature.virtual_address.get(LE) as usize;
            if start.checked_add(signature.size.get(LE) as usize) != Some(end) {
                return Err("has a signature that is not at its end".into());
            }
            end = start;
        }
        let part = |range: Range<usize>| self.data.get(range).ok_or("is truncated in its headers");
        Ok([
            part(0..checksum)?,
            part(checksum + size_of::<u32>()..entry)?,
            part(entry + size_of::<ImageDataDirectory>()..end)?,
        ])
    }

    pub fn sections(&self) -> Vec<Section> {
        let file_header = &self.file.nt_headers().file_header;
        let table = self.optional_header_offset()
            + usize::from(file_header.size_of_optional_header.get(LE));
        let headers = self.file.section_table();
        let section = |(index, header): (usize, &ImageSectionHeader)| Section {
            name: String::from_utf8_lossy(header.raw_name()).into_owned(),
            flags: header.characteristics.get(LE),
            flags_offset: table
                + index * size_of::<ImageSectionHeader>()
                + offset_of!(ImageSectionHeader, characteristics),
        };
        headers.iter().enumerate().map(section).collect()
    }

    /// Returns the imports, each as the names of its DLL and of the symbol.
    pub fn imports(&self) -> object::Result<Vec<(String, String)>> {
        let mut imports = Vec::new();
        let Some(table) = self.file.import_table()? else {
            return Ok(imports);
        };
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            let library = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?);
            let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
            while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>()? {
                let name = match table.import::<pe::ImageNtHeaders64>(thunk)? {
                    Import::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
                    Import::Ordinal(ordinal) => format!("#{ordinal}"),
                };
                imports.push((library.to_string(), name));
            }
        }
        Ok(imports)
    }

    /// Returns the names of the exports.
    pub fn exports(&self) -> object::Result<Vec<String>> {
        let Some(table) = self.file.export_table()? else {
            return Ok(Vec::new());
        };
        let exports = table.exports()?.into_iter();
        let name = |export: Export| match export.name {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => format!("#{}", export.ordinal),
        };
        Ok(exports.map(name).collect())
    }

    /// Returns the number of base relocations.
    pub fn relocations(&self) -> object::Result<usize> {
        let directories = self.file.data_directories();
        let blocks = directories.relocation_blocks(self.data, &self.file.section_table())?;
        let Some(mut blocks) = blocks else {
            return Ok(0);
        };
        let mut count = 0;
        while let Some(block) = blocks.next()? {
            count += block.count();
        }
        Ok(count)
    }

    /// Returns the name of the PDB in the debug directory.
    pub fn pdb(&self) -> Option<String> {
        let entry = self.file.data_directory(pe::IMAGE_DIRECTORY_ENTRY_DEBUG)?;
        let mut entries = Bytes(entry.data(self.data, &self.file.section_table()).ok()?);
        while let Ok(entry) = entries.read::<pe::ImageDebugDirectory>() {
            if entry.typ.get(LE) != pe::IMAGE_DEBUG_TYPE_CODEVIEW {
                continue;
            }
            let start = entry.pointer_to_raw_data.get(LE) as usize;
            let record = self
                .data
                .get(start..)?
                .get(..entry.size_of_data.get(LE) as usize)?;
            // "RSDS", a GUID, an age, and the name with a NUL after it.
            let name = record.strip_prefix(b"RSDS")?.get(20..)?;
            return Some(
                String::from_utf8_lossy(name.split(|&byte| byte == 0).next()?).into_owned(),
            );
        }
        None
    }
}

/// [`Image::checksum`] of `data` whose checksum field is at `field`, which is even.
fn checksum(data: &[u8], field: usize) -> u32 {
    let mut sum = 0_u32;
    for (index, word) in data.chunks(2).enumerate() {
        if (field..field + 4).contains(&(index * 2)) {
            continue;
        }
        sum += u32::from(word[0]) | u32::from(*word.get(1).unwrap_or(&0)) << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The length of an image fits in 32 bits.
    sum.wrapping_add(u32::try_from(data.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn carries_are_added_back_in() {
        let data = [0xff, 0xff, 0x02, 0x00, 0xaa, 0xaa, 0xaa, 0xaa, 0x01];
        // 0xffff + 2 is 0x10001, folded 2; the field is left out; the odd byte is 1; the length is 9.
        assert_eq!(checksum(&data, 4), 2 + 1 + 9);
    }
}
