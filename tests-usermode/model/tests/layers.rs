//! The folders of a crate use each other in one direction only, as a table states. The test reads the source text, so that it
//! finds every use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A folder, or a file next to the folders, and the others that it may name.
type Row = (&'static str, &'static [&'static str]);

/// A crate: where its sources are, its folders, each after those that it uses, and the types of one folder that others add
/// methods to.
struct Layers {
    source: &'static str,
    rows: &'static [Row],
    shared: Row,
}

const CRATES: &[Layers] = &[Layers {
    source: "tests-usermode/model/src",
    rows: &[
        ("mutex", &[]),
        ("touch", &[]),
        ("format", &["touch"]),
        ("image", &["format"]),
        ("verifier", &["mutex", "image"]),
        ("host", &["mutex", "touch", "image", "verifier"]),
        ("ke", &["mutex", "format", "verifier", "host"]),
        ("ex", &["mutex", "verifier", "host", "ke"]),
        ("ps", &["mutex", "verifier", "host", "ke", "ex"]),
        (
            "io",
            &["mutex", "image", "verifier", "host", "ke", "ex", "ps"],
        ),
        ("explore", &["mutex", "verifier", "host", "ke"]),
        (
            "kernel",
            &[
                "mutex", "verifier", "host", "ke", "ex", "ps", "io", "explore",
            ],
        ),
    ],
    shared: ("host", &["Call", "Kernel", "Thread"]),
}];

/// The source text of each folder's files, without comments, by the files' names.
fn sources(root: &Path) -> BTreeMap<String, Vec<(String, String)>> {
    fn visit(path: &Path, found: &mut Vec<(String, String)>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("the folder can be read") {
                visit(&entry.expect("the entry can be read").path(), found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).expect("the file can be read");
            let code = text
                .lines()
                .map(|line| line.split("//").next().unwrap_or_default());
            found.push((
                path.display().to_string(),
                code.collect::<Vec<_>>().join("\n"),
            ));
        }
    }
    let mut folders = BTreeMap::<_, Vec<_>>::new();
    for entry in fs::read_dir(root).expect("the crate's sources can be read") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_stem().expect("an entry has a name");
        let name = name.to_string_lossy().into_owned();
        if name != "lib" {
            visit(&path, folders.entry(name).or_default());
        }
    }
    folders
}

/// The first names after `crate::`, alone or in braces.
fn named(code: &str) -> BTreeSet<String> {
    let identifier = |text: &str| -> String {
        let letters = text.chars();
        letters
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let mut names = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(identifier(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut begins = true;
        for (place, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !letter.is_whitespace() => {
                    names.insert(identifier(&group[place..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// The methods that a folder's file adds to the types that folders share.
fn methods(code: &str, shared: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in code.lines() {
        if line.starts_with("impl ") {
            let of = line.trim_start_matches("impl ").trim_end_matches(" {");
            inside = shared.contains(&of);
        }
        if let Some((before, after)) = line.split_once("fn ")
            && inside
            && ["pub ", "pub(crate) "].contains(&before.trim_start())
        {
            let end = after.find(['(', '<']).unwrap_or(after.len());
            names.insert(after[..end].to_owned());
        }
    }
    names
}

/// Returns the uses in the files of a crate that the table does not allow.
fn breaches(layers: &Layers) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate is in the workspace")
        .join(layers.source);
    let folders = sources(&root);
    let mut added = BTreeMap::new();
    for (folder, files) in &folders {
        for (_, code) in files {
            for method in methods(code, layers.shared.1) {
                added.insert(method, folder.clone());
            }
        }
    }
    let mut found = Vec::new();
    for (folder, files) in &folders {
        let row = layers.rows.iter().find(|(name, _)| name == folder);
        let Some((_, uses)) = row else {
            found.push(format!("{folder} is in no row of the table"));
            continue;
        };
        let may = |other: &str| other == folder || uses.contains(&other);
        for (file, code) in files {
            let names = named(code).into_iter().filter(|name| !may(name));
            found.extend(names.map(|name| format!("{file} names {name}")));
            let knows = may(layers.shared.0);
            let called = added.iter().filter(|(method, other)| {
                knows && !may(other) && code.contains(&format!(".{method}("))
            });
            found.extend(called.map(|(method, other)| format!("{file} calls {other}'s {method}")));
            if code.contains("super::super") {
                found.push(format!("{file} names a folder by `super::super`"));
            }
        }
    }
    found
}

#[test]
fn folders_use_only_those_that_the_table_allows() {
    for layers in CRATES {
        assert_eq!(
            breaches(layers),
            <[String; 0]>::default(),
            "in {}",
            layers.source
        );
    }
}

#[test]
fn tables_have_no_cycle() {
    for layers in CRATES {
        for (index, (name, uses)) in layers.rows.iter().enumerate() {
            let before: Vec<_> = layers.rows[..index].iter().map(|(name, _)| name).collect();
            for other in *uses {
                assert!(
                    before.contains(&other),
                    "{name} uses {other}, which is not before it"
                );
            }
        }
    }
}

#[test]
fn a_name_is_found_alone_and_in_braces() {
    let code = "use crate::{io::{Irp, file::File}, ke::Dpc};\nfn f() { crate::ps::start() }";
    let names: Vec<_> = named(code).into_iter().collect();
    assert_eq!(names, ["io", "ke", "ps"]);
}
