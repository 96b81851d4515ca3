//! A search of the documentation for an NT routine finds the items that call it, and their documentation is complete.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The prefixes of NT's routines.
const PREFIXES: [&str; 12] = [
    "Dbg", "Ex", "Io", "Iof", "Ke", "Mm", "Ob", "Obf", "Po", "Ps", "Rtl", "Zw",
];

fn is_routine(name: &str) -> bool {
    let rest = PREFIXES
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix));
    rest.into_iter()
        .any(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
}

/// Returns the paths and contents of the crate's sources.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut sources = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let source = fs::read_to_string(&path).expect("the file is readable");
                sources.push((path, source));
            }
        }
    }
    sources
}

/// Returns the alias that a line gives to an item.
fn alias(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("doc(alias = \"")?;
    Some(rest.split_once('"')?.0)
}

/// The routines that no page of the WDK's documentation describes.
const WITHOUT_PAGE: [&str; 6] = [
    "ExInitializeZone",
    "ExExtendZone",
    "ExInterlockedExtendZone",
    "ExInterlockedAllocateFromZone",
    "ExInterlockedFreeToZone",
    "KeRemoveByKeyDeviceQueueIfBusy",
];

/// Returns what the documentation of a public item lacks. `item` is the documentation, the attributes and the start of the code.
fn missing(item: &str, is_in_trait: bool) -> Option<String> {
    let mut lines = item
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with("///"));
    let is_start = |line: &str| line.starts_with("pub ") || is_in_trait && line.starts_with("fn ");
    let start = lines.clone().find(|line| is_start(line))?;
    let is_function = ["pub fn ", "pub unsafe fn ", "fn "]
        .iter()
        .any(|kind| start.starts_with(kind));
    let routines: Vec<_> = lines
        .by_ref()
        .take_while(|line| *line != start)
        .filter_map(alias)
        .collect();
    let has_page = |routine: &&str| is_routine(routine) && !WITHOUT_PAGE.contains(routine);
    // A constant function computes with plain data, unless it takes the place of a routine.
    if (is_function || start.contains(" fn ") && routines.iter().any(|name| is_routine(name)))
        && !item.contains("/// # IRQL")
    {
        return Some(format!("{start}: no section `# IRQL`"));
    }
    (routines.iter().any(has_page) && !item.contains("https://learn.microsoft.com/"))
        .then(|| format!("{start}: no link to the page of {routines:?}"))
}

#[test]
fn every_public_item_is_documented_with_its_irql_and_page() {
    let mut found = vec![];
    for (path, source) in sources() {
        let (mut item, mut is_in_trait) = (String::new(), false);
        for line in source.lines().chain([""]) {
            item += line;
            item += "\n";
            // No documentation or attribute contains a blank line, which separates items, or the start or end of an `impl` or a trait.
            if line.is_empty()
                || line == "}"
                || line.ends_with('{') && !line.starts_with([' ', '/'])
            {
                let what = missing(&item, is_in_trait);
                found.extend(what.map(|what| format!("{}: {what}", path.display())));
                item.clear();
            }
            // An unsafe trait states the IRQL of its methods once.
            is_in_trait = (is_in_trait || line.starts_with("pub trait ")) && line != "}";
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_routine_that_is_called_is_an_alias() {
    let sources = sources();
    let lines = || {
        sources
            .iter()
            .flat_map(|(_, source)| source.lines().map(str::trim))
    };
    let aliases: BTreeSet<_> = lines().filter_map(alias).collect();
    let called: BTreeSet<_> = lines()
        .filter_map(|line| line.split("//").next())
        .flat_map(|code| {
            code.match_indices('(').filter_map(|(end, _)| {
                let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
                code[..end].rsplit(|letter| !is_name(letter)).next()
            })
        })
        .filter(|name| is_routine(name))
        .collect();
    assert!(called.contains("KeInitializeSpinLock"), "{called:?}");
    let missing: Vec<_> = called.difference(&aliases).collect();
    assert!(missing.is_empty(), "no item has these aliases: {missing:?}");
}
