//! Checks that the files to which the repository's Markdown pages link, and the tasks of `cargo make` that they name, exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Adds the Markdown files of a folder, except those in hidden folders and in `target`.
fn add_pages(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            add_pages(&path, pages);
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
}

/// Calls a closure with each page of the repository and its text.
fn for_each_page(mut check: impl FnMut(&Path, &str)) {
    let mut pages = Vec::new();
    add_pages(&root(), &mut pages);
    for page in pages {
        check(&page, &fs::read_to_string(&page).expect("it is text"));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn each_link_to_a_file_leads_to_one() {
    for_each_page(|page, text| {
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap_or_default();
            let is_file = !target.is_empty() && !target.contains(':');
            let path = page.with_file_name("").join(target);
            assert!(!is_file || path.exists(), "{}: {target}", page.display());
        }
    });
}

#[test]
fn each_task_of_cargo_make_exists() {
    let makefile = fs::read_to_string(root().join("Makefile.toml")).expect("it is text");
    for_each_page(|page, text| {
        for command in ["cross/make ", "cargo make "] {
            for after in text.split(command).skip(1) {
                let is_end = |c: char| !(c.is_ascii_lowercase() || c == '-');
                let task = after.split(is_end).next().unwrap_or_default();
                let exists = makefile.contains(&format!("[tasks.{task}]"));
                let is_task = task.starts_with(|c: char| c != '-');
                assert!(!is_task || exists, "{}: {command}{task}", page.display());
            }
        }
    });
}
