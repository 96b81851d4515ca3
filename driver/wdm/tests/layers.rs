//! The folders of `src` use each other in one direction only.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{ItemUse, UseTree, visit::Visit};

/// The folders, and which others each may use.
const LAYERS: [(&str, &[&str]); 4] = [
    ("ke", &[]),
    ("ex", &["ke"]),
    ("io", &["ke", "ex"]),
    ("ps", &["ke"]),
];

fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|(layer, _)| *layer == name)
}

/// The paths that a `use` names, each by its segments.
fn flatten(tree: &UseTree, mut before: Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, paths);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before.clone(), paths);
            }
        }
        UseTree::Name(name) if name.ident == "self" => paths.push(before),
        UseTree::Name(name) => {
            before.push(name.ident.to_string());
            paths.push(before);
        }
        UseTree::Rename(name) => {
            before.push(name.ident.to_string());
            paths.push(before);
        }
        UseTree::Glob(_) => paths.push(before),
    }
}

/// Every path of a file that is written with its crate's or a folder's name first.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'a> Visit<'a> for Paths {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        flatten(&item.tree, Vec::new(), &mut self.0);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments = path.segments.iter();
        self.0
            .push(segments.map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

impl Paths {
    fn of(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("the source is readable");
        let parsed = syn::parse_file(&text).expect("the source is Rust");
        let mut paths = Self::default();
        paths.visit_file(&parsed);
        paths
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn folders_use_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What the crate's root re-exports, and the folder that each name comes from.
    let exported: HashMap<_, _> = Paths::of(&root.join("lib.rs"))
        .0
        .into_iter()
        .filter(|path| path.len() > 1 && is_layer(&path[0]))
        .map(|mut path| (path.pop().unwrap_or_default(), path.swap_remove(0)))
        .collect();
    assert_eq!(exported.get("SpinLock").map(String::as_str), Some("ke"));

    let mut used = 0;
    for (layer, allowed) in LAYERS {
        let mut files = vec![root.join(format!("{layer}.rs"))];
        sources(&root.join(layer), &mut files);
        for file in files {
            for path in Paths::of(&file).0 {
                let Some(named) = path.get(1).filter(|_| path[0] == "crate") else {
                    continue;
                };
                let folder = if is_layer(named) {
                    named
                } else if let Some(folder) = exported.get(named) {
                    folder
                } else {
                    continue;
                };
                used += 1;
                assert!(
                    folder == layer || allowed.contains(&folder.as_str()),
                    "{}: {} is in `{folder}`, which `{layer}` may not use",
                    file.display(),
                    path.join("::")
                );
            }
        }
    }
    assert!(used > 100, "{used} paths were seen");
}
