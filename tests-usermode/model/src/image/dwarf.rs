//! The functions and source lines of an image, from the DWARF in it.

use gimli::{
    Attribute, AttributeValue, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice,
    LittleEndian, Unit, constants,
};
use object::{Object, ObjectSection, read::pe::PeFile64};

use super::symbols::Symbols;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Reads the symbols. `None` if there are none, or they are damaged.
pub(super) fn read(image: &[u8]) -> Option<Symbols> {
    let file = PeFile64::parse(image).ok()?;
    // Padding follows the data of a section, which ends at its virtual size.
    let sections = DwarfSections::load(|id| {
        let section = file.section_by_name(id.name());
        Ok::<_, gimli::Error>(
            section
                .and_then(|section| section.data().ok())
                .unwrap_or(&[]),
        )
    });
    let sections = sections.ok()?;
    let mut reader = Reader {
        dwarf: sections.borrow(|data| EndianSlice::new(data, LittleEndian)),
        base: file.relative_address_base(),
        symbols: Symbols::default(),
    };
    reader.read().ok()?;
    (!reader.symbols.functions.is_empty()).then_some(reader.symbols)
}

struct Reader<'a> {
    dwarf: Dwarf<Slice<'a>>,
    base: u64,
    symbols: Symbols,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> gimli::Result<()> {
        let mut units = self.dwarf.units();
        while let Some(header) = units.next()? {
            let unit = self.dwarf.unit(header)?;
            self.read_functions(&unit)?;
            self.read_lines(&unit)?;
        }
        Ok(())
    }

    /// Returns an address relative to the image.
    fn relative(&self, address: u64) -> Option<u32> {
        u32::try_from(address.checked_sub(self.base)?).ok()
    }

    fn read_functions(&mut self, unit: &Unit<Slice<'a>>) -> gimli::Result<()> {
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() != constants::DW_TAG_subprogram {
                continue;
            }
            let Some(name) = self.name(unit, entry)? else {
                continue;
            };
            // A function has several ranges if its cold part is elsewhere.
            let mut ranges = self.dwarf.die_ranges(unit, entry)?;
            while let Some(range) = ranges.next()? {
                if let (Some(start), Some(end)) =
                    (self.relative(range.begin), self.relative(range.end))
                {
                    self.symbols.functions.push((start, end, name.clone()));
                }
            }
        }
        Ok(())
    }

    /// Returns the name of a function, which can be that of the function of which it is a copy.
    fn name(
        &self,
        unit: &Unit<Slice<'a>>,
        entry: &DebuggingInformationEntry<Slice<'a>>,
    ) -> gimli::Result<Option<String>> {
        if let Some(name) = entry.attr_value(constants::DW_AT_name) {
            let name = self.dwarf.attr_string(unit, name)?;
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
        match entry
            .attr(constants::DW_AT_abstract_origin)
            .map(Attribute::value)
        {
            Some(AttributeValue::UnitRef(origin)) => self.name(unit, &unit.entry(origin)?),
            _ => Ok(None),
        }
    }

    fn read_lines(&mut self, unit: &Unit<Slice<'a>>) -> gimli::Result<()> {
        let Some(program) = unit.line_program.clone() else {
            return Ok(());
        };
        let mut rows = program.rows();
        let mut last = None;
        while let Some((header, row)) = rows.next_row()? {
            let (Some(address), Some(line)) = (self.relative(row.address()), row.line()) else {
                continue;
            };
            if row.end_sequence() {
                continue;
            }
            if last != Some(row.file_index()) {
                let Some(file) = row.file(header) else {
                    continue;
                };
                let name = self.dwarf.attr_string(unit, file.path_name())?;
                let mut path = name.to_string_lossy().into_owned();
                if let Some(folder) = file.directory(header)
                    && file.directory_index() != 0
                {
                    let folder = self.dwarf.attr_string(unit, folder)?;
                    path = format!("{}/{path}", folder.to_string_lossy());
                }
                self.symbols.files.push(path);
                last = Some(row.file_index());
            }
            let line = u32::try_from(line.get()).unwrap_or(u32::MAX);
            self.symbols
                .lines
                .push((address, self.symbols.files.len() - 1, line));
        }
        Ok(())
    }
}
