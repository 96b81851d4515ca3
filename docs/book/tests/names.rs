//! Checks that every item in the table "From C" exists in `wdm`, and that a search of `wdm`'s documentation finds every routine in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{ImplItem, Item, TraitItem, Type, UseTree, Visibility};

/// Items of Rust's library, and parts of expressions.
const OTHERS: [&str; 6] = [
    "Box::new",
    "Result",
    "T",
    "Vec::try_reserve_exact",
    "mut",
    "self",
];

/// Returns the two cells of each row of the table.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../src/from_c.md").lines();
    let cells = |line: &'static str| {
        line.strip_prefix("| ")?
            .strip_suffix(" |")?
            .split_once(" | ")
    };
    lines
        .filter_map(cells)
        .filter(|(left, _)| !left.starts_with("in C") && !left.starts_with("---"))
}

/// Returns the code in a cell.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the identifiers in a text.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| word.starts_with(char::is_alphabetic))
}

/// The public items in the sources of a crate.
#[derive(Default)]
struct Crate {
    /// Types, traits, functions and macros, with the names of their methods, variants and constants; a module has its functions.
    items: BTreeMap<String, BTreeSet<String>>,
    aliases: BTreeSet<String>,
}

impl Crate {
    fn add_folder(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            if path.is_dir() {
                self.add_folder(&path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("sources are text");
            let alias = |line: &str| {
                Some(
                    line.split_once("doc(alias = \"")?
                        .1
                        .split_once('"')?
                        .0
                        .to_owned(),
                )
            };
            self.aliases.extend(text.lines().filter_map(alias));
            if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path
                    .file_stem()
                    .expect("it has a name")
                    .to_string_lossy()
                    .into_owned();
                for item in syn::parse_file(&text).expect("sources are Rust").items {
                    self.add(&module, item);
                }
            }
        }
    }

    fn add(&mut self, module: &str, item: Item) {
        let is_public = |visibility: &Visibility| matches!(visibility, Visibility::Public(_));
        let mut has = |item: String, members: Vec<String>| {
            self.items.entry(item).or_default().extend(members);
        };
        match item {
            Item::Struct(item) if is_public(&item.vis) => has(item.ident.to_string(), vec![]),
            Item::Enum(item) if is_public(&item.vis) => has(
                item.ident.to_string(),
                item.variants
                    .iter()
                    .map(|variant| variant.ident.to_string())
                    .collect(),
            ),
            Item::Fn(item) if is_public(&item.vis) => {
                has(module.to_owned(), vec![item.sig.ident.to_string()]);
            }
            Item::Use(item) if module == "lib" && is_public(&item.vis) => {
                leaves(&item.tree, &mut |name| has(name, vec![]));
            }
            Item::Macro(item) => has(
                item.ident
                    .map_or_else(String::new, |name| format!("{name}!")),
                vec![],
            ),
            Item::Trait(item) if is_public(&item.vis) => has(
                item.ident.to_string(),
                item.items
                    .into_iter()
                    .filter_map(|item| match item {
                        TraitItem::Fn(method) => Some(method.sig.ident.to_string()),
                        TraitItem::Const(constant) => Some(constant.ident.to_string()),
                        TraitItem::Type(associated) => Some(associated.ident.to_string()),
                        _ => None,
                    })
                    .collect(),
            ),
            Item::Impl(item) if item.trait_.is_none() => {
                let Type::Path(path) = *item.self_ty else {
                    return;
                };
                let name = path
                    .path
                    .segments
                    .last()
                    .expect("a path is not empty")
                    .ident
                    .to_string();
                has(
                    name,
                    item.items
                        .into_iter()
                        .filter_map(|item| match item {
                            ImplItem::Fn(method) if is_public(&method.vis) => {
                                Some(method.sig.ident.to_string())
                            }
                            _ => None,
                        })
                        .collect(),
                );
            }
            _ => {}
        }
    }

    /// Returns whether code of the right column names an existing item. A method without a type belongs to the type before it, `last`.
    fn has(&self, code: &str, last: &mut String) -> bool {
        if OTHERS.contains(&code) {
            return true;
        }
        if let Some((name, _)) = code.split_once('!') {
            return self.items.contains_key(&format!("{name}!"));
        }
        if let Some((item, member)) = code.split_once("::") {
            item.clone_into(last);
            return self
                .items
                .get(item)
                .is_some_and(|members| members.contains(member));
        }
        if self
            .items
            .get(last)
            .is_some_and(|members| members.contains(code))
        {
            return true;
        }
        identifiers(code).all(|name| {
            name.clone_into(last);
            self.items.contains_key(name) || OTHERS.contains(&name)
        })
    }
}

/// Calls `each` with the names that a `use` declaration imports.
fn leaves(tree: &UseTree, each: &mut impl FnMut(String)) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, each),
        UseTree::Name(name) => each(name.ident.to_string()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, each)),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}

fn wdm() -> Crate {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../driver");
    let mut found = Crate::default();
    found.add_folder(&driver.join("wdm/src"));
    found.add_folder(&driver.join("ctl-code/src"));
    found
        .items
        .insert("ctl_code".into(), ["ctl_code".into()].into());
    found
}

#[test]
fn table_names_items_that_exist() {
    let wdm = wdm();
    for (left, right) in rows() {
        let mut last = String::new();
        for code in code(right) {
            assert!(
                wdm.has(code, &mut last),
                "wdm has no `{code}`: {left} | {right}"
            );
        }
    }
}

#[test]
fn search_finds_the_routines_of_the_table() {
    let wdm = wdm();
    let prefixes = [
        "Dbg",
        "Ex",
        "IRP_",
        "Interlocked",
        "Io",
        "Ke",
        "Mm",
        "Ob",
        "Po",
        "Ps",
        "Zw",
    ];
    let is_routine = |name: &&str| {
        let rest = prefixes
            .iter()
            .filter_map(|prefix| name.strip_prefix(prefix));
        *name != "IoStatus"
            && rest
                .into_iter()
                .any(|rest| rest.starts_with(char::is_uppercase))
    };
    let routines: BTreeSet<_> = rows()
        .flat_map(|(left, _)| code(left))
        .flat_map(identifiers)
        .filter(is_routine)
        .collect();
    let missing: Vec<_> = routines
        .into_iter()
        .filter(|name| !wdm.aliases.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no item has these aliases: {missing:?}");
}

#[test]
fn table_has_sixty_rows() {
    assert!(rows().count() >= 60);
}
