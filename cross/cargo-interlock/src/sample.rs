//! A small, valid driver image, for tests that change one part of it.

use std::{fs, path::Path};

use object::{
    pe::{self, DllFlags, FileFlags, SectionFlags},
    write::pe::{NtHeaders, Writer},
};

use crate::image::{Image, Section};

/// The properties of the image. A test changes one at a time.
pub struct Sample {
    pub machine: pe::Machine,
    pub subsystem: pe::Subsystem,
    pub windows_version: (u16, u16),
    pub subsystem_version: (u16, u16),
    pub flags: FileFlags,
    pub dll_flags: DllFlags,
    pub alignment: u32,
    pub entry: u32,
    /// The names and flags of the sections, in this order: code, constants, any others.
    pub sections: Vec<([u8; 8], u32)>,
    pub reloc_flags: u32,
    pub relocations: bool,
    pub library: &'static [u8],
    pub import: &'static [u8],
    pub exports: bool,
    pub pdb: &'static [u8],
    pub text: &'static [u8],
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            machine: pe::IMAGE_FILE_MACHINE_AMD64,
            subsystem: pe::IMAGE_SUBSYSTEM_NATIVE,
            windows_version: (10, 0),
            subsystem_version: (10, 0),
            flags: pe::IMAGE_FILE_EXECUTABLE_IMAGE | pe::IMAGE_FILE_LARGE_ADDRESS_AWARE,
            dll_flags: pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT
                | pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE
                | pe::IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA
                | pe::IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY,
            alignment: 0x1000,
            entry: 0x1000,
            sections: vec![
                (*b".text\0\0\0", 0x6800_0020),
                (*b".rdata\0\0", 0x4800_0040),
                (*b"PAGE\0\0\0\0", 0x6000_0020),
                (*b"INIT\0\0\0\0", 0x6200_0020),
            ],
            reloc_flags: 0x4200_0040,
            relocations: true,
            library: b"ntoskrnl.exe\0",
            import: b"DbgPrintEx\0",
            exports: false,
            pdb: b"interlock.pdb\0",
            text: b"driver/src/lib.rs",
        }
    }
}

/// Returns the names of the files in a folder, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns the valid image.
pub fn image() -> Vec<u8> {
    Sample::default().finished()
}

impl Sample {
    /// Returns the image with its checksum.
    pub fn finished(&self) -> Vec<u8> {
        let mut image = self.build();
        let parsed = Image::parse(&image).unwrap();
        let (offset, checksum) = (parsed.checksum_offset(), parsed.checksum());
        image[offset..offset + 4].copy_from_slice(&checksum.to_le_bytes());
        image
    }

    fn build(&self) -> Vec<u8> {
        let mut image = Vec::new();
        let mut writer = Writer::new(true, self.alignment, 0x200, &mut image);
        writer.reserve_dos_header();
        writer.reserve_nt_headers(16);
        let count = self.sections.len() + usize::from(self.relocations);
        writer.reserve_section_headers(u16::try_from(count).unwrap());
        let ranges: Vec<_> = self
            .sections
            .iter()
            .map(|&(name, flags)| writer.reserve_section(name, SectionFlags(flags), 0x200, 0x200))
            .collect();
        let address = ranges[1].virtual_address;
        let constants = self.constants(address, ranges[1].file_offset);
        writer.set_data_directory(pe::IMAGE_DIRECTORY_ENTRY_IMPORT, address, 40);
        writer.set_data_directory(pe::IMAGE_DIRECTORY_ENTRY_DEBUG, address + DEBUG_AT, 28);
        if self.exports {
            writer.set_data_directory(pe::IMAGE_DIRECTORY_ENTRY_EXPORT, address + EXPORTS_AT, 40);
        }
        if self.relocations {
            writer.add_reloc(ranges[0].virtual_address, pe::IMAGE_REL_BASED_DIR64);
            writer.reserve_reloc_section();
        }

        writer.write_empty_dos_header().unwrap();
        writer.write_nt_headers(self.nt_headers());
        writer.write_section_headers();
        for (index, range) in ranges.iter().enumerate() {
            let contents = if index == 1 {
                &constants
            } else {
                &vec![0xcc; 0x200]
            };
            writer.write_section(range.file_offset, contents);
        }
        writer.write_reloc_section();
        self.patch_reloc_flags(&mut image);
        image
    }

    /// Returns the constants: an import directory with one name, a debug directory with one PDB, a text, and an export
    /// directory with one name.
    fn constants(&self, address: u32, offset: u32) -> Vec<u8> {
        let mut data = vec![0; 0x200];
        let mut put = |at: u32, bytes: &[u8]| {
            let at = at as usize;
            data[at..at + bytes.len()].copy_from_slice(bytes);
        };
        // The descriptor: the lookup table, two unused fields, the name of the library, the address table.
        for (at, value) in [(0, LOOKUP_AT), (12, LIBRARY_AT), (16, ADDRESSES_AT)] {
            put(at, &(address + value).to_le_bytes());
        }
        put(LIBRARY_AT, self.library);
        for table in [LOOKUP_AT, ADDRESSES_AT] {
            put(table, &u64::from(address + NAME_AT).to_le_bytes());
        }
        put(NAME_AT + 2, self.import);
        // The entry of the debug directory: type, size, address, offset.
        let size = 24 + u32::try_from(self.pdb.len()).unwrap();
        for (at, value) in [
            (12, 2),
            (16, size),
            (20, address + PDB_AT),
            (24, offset + PDB_AT),
        ] {
            put(DEBUG_AT + at, &value.to_le_bytes());
        }
        put(PDB_AT, b"RSDS");
        put(PDB_AT + 24, self.pdb);
        put(TEXT_AT, self.text);
        // The export directory: the numbers of functions and names, and the tables of functions, names and ordinals.
        for (at, value) in [
            (20, 1),
            (24, 1),
            (28, address + FUNCTIONS_AT),
            (32, address + NAMES_AT),
            (36, address + ORDINALS_AT),
        ] {
            put(EXPORTS_AT + at, &value.to_le_bytes());
        }
        put(FUNCTIONS_AT, &self.entry.to_le_bytes());
        put(NAMES_AT, &(address + EXPORT_AT).to_le_bytes());
        put(EXPORT_AT, b"DriverEntry\0");
        data
    }

    fn nt_headers(&self) -> NtHeaders {
        NtHeaders {
            machine: self.machine,
            time_date_stamp: 0,
            characteristics: self.flags,
            major_linker_version: 0,
            minor_linker_version: 0,
            address_of_entry_point: self.entry,
            image_base: 0x1_4000_0000,
            major_operating_system_version: self.windows_version.0,
            minor_operating_system_version: self.windows_version.1,
            major_image_version: 0,
            minor_image_version: 0,
            major_subsystem_version: self.subsystem_version.0,
            minor_subsystem_version: self.subsystem_version.1,
            subsystem: self.subsystem,
            dll_characteristics: self.dll_flags,
            size_of_stack_reserve: 0x10_0000,
            size_of_stack_commit: 0x1000,
            size_of_heap_reserve: 0x10_0000,
            size_of_heap_commit: 0x1000,
        }
    }

    fn patch_reloc_flags(&self, image: &mut [u8]) {
        let mut sections = Image::parse(image).unwrap().sections().into_iter();
        if let Some(Section {
            flags_offset: at, ..
        }) = sections.find(|section| section.name == ".reloc")
        {
            image[at..at + 4].copy_from_slice(&self.reloc_flags.to_le_bytes());
        }
    }
}

// The offsets of the parts in the constants.
const LOOKUP_AT: u32 = 0x40;
const ADDRESSES_AT: u32 = 0x50;
const LIBRARY_AT: u32 = 0x60;
const NAME_AT: u32 = 0x80;
const DEBUG_AT: u32 = 0xa0;
const PDB_AT: u32 = 0xc0;
const TEXT_AT: u32 = 0x120;
const EXPORTS_AT: u32 = 0x160;
const FUNCTIONS_AT: u32 = 0x190;
const NAMES_AT: u32 = 0x194;
const ORDINALS_AT: u32 = 0x198;
const EXPORT_AT: u32 = 0x1a0;
