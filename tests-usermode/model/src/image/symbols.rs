//! The functions and source lines of an image: from the PDB in its folder, or from the DWARF in the image, as mingw-w64's compilers make it.

use std::{fs::File, path::Path};

use object::{Object, read::pe::PeFile64};
use pdb2::{FallibleIterator, PDB, SymbolData};

use super::dwarf;

/// Cargo's name for the folder in which `cross/cargo` builds a driver. It has the same folders as the repository.
const BUILD_FOLDER: &str = "/cargo/build-dir/workspace/";

/// A function: its start and end, relative to the image, and its name.
pub(super) type Function = (u32, u32, String);

/// The symbols of an image.
#[derive(Default)]
pub(super) struct Symbols {
    pub(super) functions: Vec<Function>,
    /// The start of the code of a line: the address, the file and the line number.
    pub(super) lines: Vec<(u32, usize, u32)>,
    pub(super) files: Vec<String>,
}

impl Symbols {
    /// Reads the PDB in the folder of an image. If there is none, or it belongs to another image, reads the image's DWARF. An image
    /// with neither has no symbols.
    pub(super) fn of(image: &Path, bytes: &[u8]) -> Self {
        let mut this = Self::read(&image.with_extension("pdb"), bytes)
            .or_else(|| dwarf::read(bytes))
            .unwrap_or_default();
        this.functions.sort_by_key(|(start, ..)| *start);
        this.lines.sort_unstable();
        this
    }

    fn read(path: &Path, image: &[u8]) -> Option<Self> {
        let mut pdb = PDB::open(File::open(path).ok()?).ok()?;
        let expected = PeFile64::parse(image).ok()?.pdb_info().ok()??.guid();
        let guid = pdb.pdb_information().ok()?.guid;
        if guid.to_bytes_le() != expected {
            return None;
        }
        let mut this = Self::default();
        this.read_modules(&mut pdb).ok()?;
        // Code outside every function has its public name.
        this.functions.sort_by_key(|(start, ..)| *start);
        this.read_publics(&mut pdb).ok()?;
        Some(this)
    }

    fn read_modules(&mut self, pdb: &mut PDB<'_, File>) -> pdb2::Result<()> {
        let addresses = pdb.address_map()?;
        let strings = pdb.string_table()?;
        let information = pdb.debug_information()?;
        let mut modules = information.modules()?;
        while let Some(module) = modules.next()? {
            let Some(module) = pdb.module_info(&module)? else {
                continue;
            };
            let mut symbols = module.symbols()?;
            while let Some(symbol) = symbols.next()? {
                if let Ok(SymbolData::Procedure(function)) = symbol.parse()
                    && let Some(start) = function.offset.to_rva(&addresses)
                {
                    let name = plain(&function.name.to_string());
                    self.functions.push((start.0, start.0 + function.len, name));
                }
            }
            let program = module.line_program()?;
            let mut lines = program.lines();
            let mut last = None;
            while let Some(line) = lines.next()? {
                let Some(address) = line.offset.to_rva(&addresses) else {
                    continue;
                };
                if last != Some(line.file_index) {
                    let file = program.get_file_info(line.file_index)?;
                    let name = file.name.to_string_lossy(&strings)?;
                    let name = name.strip_prefix(BUILD_FOLDER).unwrap_or(&name);
                    self.files.push(name.to_owned());
                    last = Some(line.file_index);
                }
                self.lines
                    .push((address.0, self.files.len() - 1, line.line_start));
            }
        }
        Ok(())
    }

    fn read_publics(&mut self, pdb: &mut PDB<'_, File>) -> pdb2::Result<()> {
        let addresses = pdb.address_map()?;
        let table = pdb.global_symbols()?;
        let mut symbols = table.iter();
        let mut publics = Vec::new();
        while let Some(symbol) = symbols.next()? {
            if let Ok(SymbolData::Public(public)) = symbol.parse()
                && public.function
                && let Some(start) = public.offset.to_rva(&addresses)
                && self.function(start.0).is_none()
            {
                publics.push((start.0, plain(&public.name.to_string())));
            }
        }
        publics.sort();
        let ends: Vec<_> = publics.iter().skip(1).map(|(start, _)| *start).collect();
        let ends = ends.into_iter().chain([u32::MAX]);
        let publics = publics.into_iter().zip(ends);
        self.functions
            .extend(publics.map(|((start, name), end)| (start, end, name)));
        Ok(())
    }

    fn function(&self, address: u32) -> Option<&Function> {
        let after = self
            .functions
            .partition_point(|(start, ..)| *start <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        (address < function.1).then_some(function)
    }

    /// Returns the name of the function at an address, and the file and line, if they are known.
    pub(super) fn find(&self, address: u32) -> Option<(&str, Option<(&str, u32)>)> {
        let (start, _, name) = self.function(address)?;
        let after = self.lines.partition_point(|(place, ..)| *place <= address);
        let line = after.checked_sub(1).map(|index| self.lines[index]);
        let line = line.filter(|(place, ..)| place >= start);
        let line = line.map(|(_, file, line)| (self.files[file].as_str(), line));
        Some((name, line))
    }
}

/// Returns a name without the part that distinguishes implementations: `Queue::insert` for `impl$3::insert`.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for part in name.split_inclusive("::") {
        if part.starts_with("closure$") {
            plain += "{closure}";
        } else if !part.starts_with("impl$") {
            plain += part;
        }
    }
    plain
}
