//! Lists the functions in a PDB.

use std::io::Cursor;

use pdb2::{FallibleIterator, PDB, SymbolData};

/// Returns the names of the functions whose code is in the program.
pub fn names(pdb: &[u8]) -> Result<Vec<String>, String> {
    let read = || {
        let mut pdb = PDB::open(Cursor::new(pdb))?;
        let mut names = Vec::new();
        let information = pdb.debug_information()?;
        let mut modules = information.modules()?;
        while let Some(module) = modules.next()? {
            let Some(module) = pdb.module_info(&module)? else {
                continue;
            };
            let mut symbols = module.symbols()?;
            while let Some(symbol) = symbols.next()? {
                // The crate knows the symbols of functions, so an unknown kind is something else.
                if let Ok(SymbolData::Procedure(function)) = symbol.parse() {
                    names.push(function.name.to_string().into_owned());
                }
            }
        }
        Ok(names)
    };
    read().map_err(|error: pdb2::Error| error.to_string())
}
