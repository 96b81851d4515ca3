//! A search of the documentation for an NT routine finds the items that call it.

use std::{collections::BTreeSet, fs, path::Path};

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

/// Adds the routines that the sources in a folder call, and the aliases in their documentation.
fn collect(folder: &Path, called: &mut BTreeSet<String>, aliases: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            collect(&path, called, aliases);
            continue;
        }
        let source = fs::read_to_string(&path).expect("the file is readable");
        for line in source.lines().map(str::trim) {
            let alias = line.split_once("doc(alias = \"");
            aliases.extend(alias.and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned())));
            let code = line.split("//").next().unwrap_or_default();
            let calls = code.match_indices('(').map(|(end, _)| {
                let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
                code[..end]
                    .rsplit(|letter| !is_name(letter))
                    .next()
                    .unwrap_or_default()
            });
            called.extend(calls.filter(|name| is_routine(name)).map(str::to_owned));
        }
    }
}

#[test]
fn every_routine_that_is_called_is_an_alias() {
    let (mut called, mut aliases) = (BTreeSet::new(), BTreeSet::new());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    collect(&sources, &mut called, &mut aliases);
    assert!(called.contains("KeInitializeSpinLock"), "{called:?}");
    let missing: Vec<_> = called.difference(&aliases).collect();
    assert!(missing.is_empty(), "no item has these aliases: {missing:?}");
}
