//! The table "From C" names what `wdm` has.

use std::{collections::BTreeSet, fs, path::Path};

/// The identifiers in a text.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| word.starts_with(char::is_alphabetic))
}

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            sources(&path, text);
        } else {
            text.push_str(&fs::read_to_string(path).expect("sources are text"));
        }
    }
}

#[test]
fn table_names_what_wdm_has() {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../driver");
    let mut text = String::new();
    for folder in ["wdm/src", "ctl-code/src"] {
        sources(&driver.join(folder), &mut text);
    }
    let known: BTreeSet<_> = identifiers(&text).collect();
    // Of Rust's own library, and names of the reader's.
    let others = BTreeSet::from([
        "Box",
        "MyControlDevice",
        "MyDevice",
        "MyFilter",
        "Result",
        "T",
        "Vec",
        "mut",
        "self",
        "try_reserve_exact",
    ]);

    let book = include_str!("../src/from_c.md");
    let rows = book
        .lines()
        .filter_map(|line| line.strip_suffix(" |")?.rsplit_once(" | "));
    let code = rows.flat_map(|(_, right)| right.split('`').skip(1).step_by(2));
    let unknown: BTreeSet<_> = code
        .flat_map(identifiers)
        .filter(|name| !known.contains(name) && !others.contains(name))
        .collect();
    assert!(unknown.is_empty(), "wdm has none of {unknown:?}");
}

#[test]
fn table_has_sixty_rows() {
    let rows = include_str!("../src/from_c.md")
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    assert!(rows.count() >= 60);
}
