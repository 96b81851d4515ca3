//! Checks the tables of the samples: the numbers of lines, and the types that each sample uses.

use std::{
    fs,
    path::{Path, PathBuf},
};

const SAMPLES: [&str; 9] = [
    "cancel", "control", "detect", "event", "filter", "pipe", "ramdisk", "recorder", "startio",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("it is text")
}

/// Returns the lines of the Rust files in a folder that are neither blank nor only a comment.
fn lines(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is readable");
    let texts = entries.map(|entry| text(&entry.expect("it is readable").path()));
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let code =
        |text: String| -> Vec<String> { text.lines().filter(is_code).map(str::to_owned).collect() };
    texts.flat_map(code).collect()
}

#[test]
fn tables_have_the_lines_of_the_samples() {
    let root = root();
    let samples = root.join("driver/samples");
    let (readme, comparison) = (
        text(&root.join("README.md")),
        text(&samples.join("README.md")),
    );
    for sample in SAMPLES {
        let folder = samples.join(sample);
        let counted = lines(&folder.join("src")).len() + lines(&folder.join("sys/src")).len();
        let is_there = |text: &str, start: &str, cell: usize| {
            let row = text.lines().find(|line| line.starts_with(start));
            let row = row.unwrap_or_else(|| panic!("no row of {sample}"));
            let number = row.split(" | ").nth(cell).unwrap_or_default();
            assert_eq!(number, counted.to_string(), "{row}");
        };
        is_there(&readme, &format!("| [{sample}]"), 2);
        is_there(&comparison, &format!("| {sample} |"), 1);
    }
}

#[test]
fn samples_use_the_types_of_the_table() {
    let samples = root().join("driver/samples");
    let readme = text(&samples.join("README.md"));
    let (_, section) = readme
        .split_once("| type or method | samples |")
        .expect("the table");
    let rows = section
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| `"));
    let mut checked = 0;
    for row in rows {
        let (names, users) = row
            .trim_matches(['|', ' '])
            .split_once(" | ")
            .expect("two cells");
        for user in users.split(", ") {
            assert!(SAMPLES.contains(&user), "{row}");
            let code = lines(&samples.join(user).join("src")).join("\n");
            let words: Vec<_> = code
                .split(|part: char| !part.is_alphanumeric() && part != '_')
                .collect();
            for name in names.split(", ") {
                let word = name
                    .trim_matches('`')
                    .rsplit("::")
                    .next()
                    .unwrap_or_default();
                assert!(words.contains(&word), "{user} does not use {name}");
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked}");
}
