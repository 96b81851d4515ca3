//! The file of an image: checks its headers and reads what the loader needs.

use object::{
    LittleEndian as LE,
    pe::{self, ImageDataDirectory, ImageNtHeaders64},
    read::pe::{ImageThunkData, PeFile64},
};

use crate::image::ImageError;

/// The size of a page, the unit of alignment and protection of sections.
pub(super) const PAGE: usize = 0x1000;

/// The maximum size of an image, far larger than any driver, so that a damaged header does not exhaust memory.
const MOST: usize = 0x1000_0000;

/// A section in memory.
pub(super) struct Section<'data> {
    pub(super) address: usize,
    pub(super) size: usize,
    pub(super) bytes: &'data [u8],
    pub(super) name: String,
    pub(super) executes: bool,
    pub(super) writes: bool,
    pub(super) is_discardable: bool,
}

/// A routine that the image imports.
pub(super) struct Import {
    pub(super) library: String,
    /// `None` if the routine is imported by number.
    pub(super) routine: Option<String>,
    /// The slot for the address of the routine.
    pub(super) slot: usize,
}

/// The data of a file that the loader needs. Every address is relative to the base of the image, and inside the image.
pub(super) struct File<'data> {
    pub(super) base: u64,
    pub(super) size: usize,
    pub(super) entry: usize,
    pub(super) headers: &'data [u8],
    pub(super) sections: Vec<Section<'data>>,
    /// The addresses of the quadwords that contain an absolute address.
    pub(super) relocations: Vec<usize>,
    pub(super) imports: Vec<Import>,
    pub(super) load_config: Option<usize>,
    /// The address and size of the function table, which refers to the unwind information.
    pub(super) functions: Option<(usize, usize)>,
}

fn invalid(what: impl Into<String>) -> ImageError {
    ImageError::Invalid(what.into())
}

fn damaged(error: object::read::Error) -> ImageError {
    invalid(format!("it is damaged: {error}"))
}

impl<'data> File<'data> {
    /// Reads the headers and tables of a file.
    pub(super) fn parse(data: &'data [u8]) -> Result<Self, ImageError> {
        let file = PeFile64::parse(data)
            .map_err(|error| invalid(format!("it is not a PE32+ image: {error}")))?;
        let headers = file.nt_headers();
        let machine = headers.file_header.machine.get(LE);
        if machine != pe::IMAGE_FILE_MACHINE_AMD64 {
            return Err(invalid(format!(
                "it is for machine {:#x}, not x64 ({:#x})",
                machine.0,
                pe::IMAGE_FILE_MACHINE_AMD64.0
            )));
        }
        let optional = &headers.optional_header;
        let subsystem = optional.subsystem.get(LE);
        if subsystem != pe::IMAGE_SUBSYSTEM_NATIVE {
            return Err(invalid(format!(
                "its subsystem is {}, not native (1)",
                subsystem.0
            )));
        }
        let characteristics = headers.file_header.characteristics.get(LE);
        if characteristics & pe::IMAGE_FILE_RELOCS_STRIPPED == pe::IMAGE_FILE_RELOCS_STRIPPED {
            return Err(invalid("its relocations were stripped"));
        }
        let size = optional.size_of_image.get(LE) as usize;
        if size == 0 || size > MOST {
            return Err(invalid(format!("its SizeOfImage is {size:#x}")));
        }
        if optional.section_alignment.get(LE) as usize != PAGE {
            return Err(invalid("its sections are not aligned to pages"));
        }
        let size = size.next_multiple_of(PAGE);
        let header_size = optional.size_of_headers.get(LE) as usize;
        let header_bytes = data
            .get(..header_size)
            .ok_or_else(|| invalid("it is damaged: SizeOfHeaders"))?;
        let mut this = Self {
            base: optional.image_base.get(LE),
            size,
            entry: optional.address_of_entry_point.get(LE) as usize,
            headers: header_bytes,
            sections: sections(&file, data, header_size, size)?,
            relocations: Vec::new(),
            imports: Vec::new(),
            load_config: directory(&file, pe::IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG)
                .map(|(address, _)| address),
            functions: directory(&file, pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION),
        };
        let entry = this.entry;
        if !this.sections.iter().any(|section| {
            section.executes && (section.address..section.address + section.size).contains(&entry)
        }) {
            return Err(invalid("its entry point is not in a code section"));
        }
        this.read_relocations(&file, data)?;
        this.read_imports(&file)?;
        Ok(this)
    }

    fn read_relocations(&mut self, file: &PeFile64, data: &[u8]) -> Result<(), ImageError> {
        let blocks = file
            .data_directories()
            .relocation_blocks(data, &file.section_table());
        // An image whose relocations were not stripped, and that has none, contains no address to relocate.
        let Some(mut blocks) = blocks.map_err(damaged)? else {
            return Ok(());
        };
        while let Some(block) = blocks.next().map_err(damaged)? {
            for relocation in block {
                if relocation.typ == pe::IMAGE_REL_BASED_ABSOLUTE {
                    continue;
                }
                let address = relocation.virtual_address as usize;
                if relocation.typ != pe::IMAGE_REL_BASED_DIR64 {
                    let kind = relocation.typ.0;
                    return Err(invalid(format!(
                        "a relocation at {address:#x} is of type {kind}"
                    )));
                }
                self.relocations.push(self.slot(address, "a relocation")?);
            }
        }
        Ok(())
    }

    fn read_imports(&mut self, file: &PeFile64) -> Result<(), ImageError> {
        let Some(table) = file.import_table().map_err(damaged)? else {
            return Ok(());
        };
        let mut descriptors = table.descriptors().map_err(damaged)?;
        while let Some(descriptor) = descriptors.next().map_err(damaged)? {
            let name = table.name(descriptor.name.get(LE)).map_err(damaged)?;
            let library = String::from_utf8_lossy(name).into_owned();
            let slots = descriptor.first_thunk.get(LE);
            let names = match descriptor.original_first_thunk.get(LE) {
                0 => slots,
                names => names,
            };
            let mut slot = slots as usize;
            let mut thunks = table.thunks(names).map_err(damaged)?;
            while let Some(thunk) = thunks.next::<ImageNtHeaders64>().map_err(damaged)? {
                let routine = if thunk.is_ordinal() {
                    None
                } else {
                    let (_, name) = table.hint_name(thunk.address()).map_err(damaged)?;
                    Some(String::from_utf8_lossy(name).into_owned())
                };
                self.imports.push(Import {
                    library: library.clone(),
                    routine,
                    slot: self.slot(slot, "an import")?,
                });
                slot += size_of::<u64>();
            }
        }
        Ok(())
    }

    /// Returns the address of a quadword in a section.
    fn slot(&self, address: usize, what: &str) -> Result<usize, ImageError> {
        let is_inside = |section: &Section| {
            let offset = address.checked_sub(section.address);
            offset.is_some_and(|offset| offset + size_of::<u64>() <= section.size)
        };
        if self.sections.iter().any(is_inside) {
            Ok(address)
        } else {
            Err(invalid(format!(
                "it is damaged: {what} at {address:#x} is in no section"
            )))
        }
    }
}

/// Returns the address and size of a directory, if the image has it.
fn directory(file: &PeFile64, index: usize) -> Option<(usize, usize)> {
    let (address, size) = file
        .data_directory(index)
        .map(ImageDataDirectory::address_range)?;
    (address != 0 && size != 0).then_some((address as usize, size as usize))
}

fn sections<'data>(
    file: &PeFile64<'data>,
    data: &'data [u8],
    header_size: usize,
    size: usize,
) -> Result<Vec<Section<'data>>, ImageError> {
    let mut end = header_size.next_multiple_of(PAGE);
    let mut found = Vec::new();
    for header in file.section_table().iter() {
        let name = String::from_utf8_lossy(header.raw_name()).into_owned();
        let (address, virtual_size) = header.pe_address_range();
        let address = address as usize;
        let virtual_size = virtual_size as usize;
        // Windows uses the size in the file if the size in memory is zero.
        let length = if virtual_size == 0 {
            header.size_of_raw_data.get(LE) as usize
        } else {
            virtual_size
        };
        let flags = header.characteristics.get(LE);
        let has = |flag| flags & flag == flag;
        if !address.is_multiple_of(PAGE) || address < end || length > size.saturating_sub(address) {
            return Err(invalid(format!(
                "it is damaged: section {name} is at {address:#x} with {length:#x} bytes"
            )));
        }
        let writes = has(pe::IMAGE_SCN_MEM_WRITE);
        let executes = has(pe::IMAGE_SCN_MEM_EXECUTE);
        let is_discardable = has(pe::IMAGE_SCN_MEM_DISCARDABLE);
        if writes && executes && !is_discardable {
            return Err(invalid(format!(
                "section {name} is writable and executable, which memory integrity (HVCI) rejects"
            )));
        }
        let raw_size = header.size_of_raw_data.get(LE) as usize;
        let start = header.pointer_to_raw_data.get(LE) as usize;
        let bytes = data.get(start..start.saturating_add(raw_size.min(length)));
        let bytes = bytes.ok_or_else(|| {
            invalid(format!(
                "it is damaged: section {name} is not completely in the file"
            ))
        })?;
        end = (address + length).next_multiple_of(PAGE);
        found.push(Section {
            name,
            address,
            size: length,
            bytes,
            executes,
            writes,
            is_discardable,
        });
    }
    Ok(found)
}
