//! Checks that the folders of `nt` and of `wdm` use each other in one direction only.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{ForeignItem, Item, ItemUse, UseTree, visit::Visit};

/// The folders, and the other folders that each may use.
const LAYERS: [(&str, &[&str]); 5] = [
    ("ke", &[]),
    ("ex", &["ke"]),
    ("mm", &[]),
    ("ps", &["ke"]),
    ("io", &["ke", "ex", "mm", "ps"]),
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
        UseTree::Glob(_) => {
            before.push("*".into());
            paths.push(before);
        }
    }
}

/// Every path in a file.
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
    fn of(file: &Path) -> Vec<Vec<String>> {
        let mut paths = Self::default();
        paths.visit_file(&parse(file));
        paths.0
    }
}

fn parse(file: &Path) -> syn::File {
    let text = fs::read_to_string(file).expect("the source is readable");
    syn::parse_file(&text).expect("the source is Rust")
}

/// The names of the items that a file declares and a glob import can import.
fn declared(file: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for item in parse(file).items {
        match item {
            Item::Const(item) => names.push(item.ident),
            Item::Fn(item) => names.push(item.sig.ident),
            Item::Struct(item) => names.push(item.ident),
            Item::Type(item) => names.push(item.ident),
            Item::ForeignMod(item) => names.extend(item.items.into_iter().filter_map(|item| {
                if let ForeignItem::Fn(item) = item {
                    Some(item.sig.ident)
                } else {
                    None
                }
            })),
            _ => {}
        }
    }
    names.iter().map(ToString::to_string).collect()
}

/// The names that a crate's root re-exports, and the folder of each.
fn exported(root: &Path) -> HashMap<String, String> {
    let mut exported = HashMap::new();
    for mut path in Paths::of(&root.join("lib.rs")) {
        if path.len() < 2 || !is_layer(&path[0]) {
            continue;
        }
        let name = path.pop().unwrap_or_default();
        let names = if name == "*" {
            declared(&root.join(path.join("/")).with_extension("rs"))
        } else {
            vec![name]
        };
        let folder = path.swap_remove(0);
        exported.extend(names.into_iter().map(|name| (name, folder.clone())));
    }
    exported
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

/// Checks the folders of a crate; returns the number of paths that name a folder.
fn check(root: &Path) -> usize {
    let exported = exported(root);
    let mut used = 0;
    for (layer, allowed) in LAYERS {
        let file = root.join(layer).with_extension("rs");
        let mut files: Vec<_> = file.is_file().then_some(file).into_iter().collect();
        if root.join(layer).is_dir() {
            sources(&root.join(layer), &mut files);
        }
        for file in files {
            for path in Paths::of(&file) {
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
    used
}

#[test]
fn folders_use_each_other_in_one_direction() {
    let wdm = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(check(&wdm.join("src")) > 100);
    assert!(check(&wdm.join("../nt/src")) > 1);
    assert_eq!(exported(&wdm.join("src"))["SpinLock"], "ke");
    assert_eq!(exported(&wdm.join("../nt/src"))["ZONE_HEADER"], "ex");
    assert_eq!(exported(&wdm.join("../nt/src"))["KeSetTimer"], "ke");
}
