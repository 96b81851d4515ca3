//! Checks the numbers of lines in the tables of the samples.

use std::{fs, path::Path};

/// Returns the lines of the Rust files in a folder that are neither blank nor only a comment.
fn lines(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("the folder is readable");
    let texts = entries.map(|entry| {
        fs::read_to_string(entry.expect("it is readable").path()).expect("it is text")
    });
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    texts.map(|text| text.lines().filter(is_code).count()).sum()
}

#[test]
fn tables_have_the_lines_of_the_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let samples = root.join("driver/samples");
    let text = |path: &Path| fs::read_to_string(path).expect("it is text");
    let (readme, beside) = (
        text(&root.join("README.md")),
        text(&samples.join("README.md")),
    );
    for sample in [
        "cancel", "control", "detect", "event", "filter", "pipe", "ramdisk", "startio",
    ] {
        let folder = samples.join(sample);
        let counted = lines(&folder.join("src")) + lines(&folder.join("sys/src"));
        let is_there = |text: &str, start: &str, cell: usize| {
            let row = text.lines().find(|line| line.starts_with(start));
            let row = row.unwrap_or_else(|| panic!("no row of {sample}"));
            let number = row.split(" | ").nth(cell).unwrap_or_default();
            assert_eq!(number, counted.to_string(), "{row}");
        };
        is_there(&readme, &format!("| [{sample}]"), 2);
        is_there(&beside, &format!("| {sample} |"), 1);
    }
}
