//! Checks NatVis files, which define how WinDbg shows a driver's types. A debugger ignores an element with a type or field that does not
//! exist; this check reports it.

mod expression;
#[cfg(test)]
mod tests;
mod types;

use std::{collections::BTreeSet, io::Cursor};

use roxmltree::{Document, Node};

use expression::Scope;
use types::Types;

/// The types of a program and the files in its PDB.
pub struct Pdb {
    types: Types,
    files: Vec<(String, Vec<u8>)>,
}

/// The result for a file.
pub struct Checked {
    /// The number of the program's types that the file shows.
    pub types: usize,
    /// The number of expressions that were checked.
    pub expressions: usize,
}

impl Pdb {
    /// Reads a PDB.
    pub fn parse(data: &[u8]) -> Result<Self, String> {
        let read = || {
            let mut pdb = types::Pdb::open(Cursor::new(data))?;
            let types = Types::read(&mut pdb)?;
            let files = types::files(&mut pdb)?;
            Ok(Self { types, files })
        };
        read().map_err(|error: pdb2::Error| error.to_string())
    }

    /// Checks that the PDB contains a NatVis file, and every type and field that it names.
    ///
    /// The types and fields of optional elements may be missing unless `must_hold` is set.
    pub fn check(&self, natvis: &[u8], must_hold: bool) -> Result<Checked, Vec<String>> {
        let text = str::from_utf8(natvis).map_err(|error| vec![error.to_string()])?;
        let checked = check(text, &self.types, must_hold);
        if self.files.iter().any(|(_, content)| content == natvis) {
            return checked;
        }
        let names: Vec<_> = self.files.iter().map(|(name, _)| name.as_str()).collect();
        let missing = format!("is not in the PDB, which has these files: {names:?}");
        let others = checked.err().unwrap_or_default();
        Err([missing].into_iter().chain(others).collect())
    }
}

fn check(text: &str, types: &Types, must_hold: bool) -> Result<Checked, Vec<String>> {
    let document = Document::parse(text).map_err(|error| vec![error.to_string()])?;
    let mut check = Check {
        must_hold,
        errors: BTreeSet::new(),
        expressions: 0,
    };
    let mut shown = 0;
    for node in document.root_element().children().filter(Node::is_element) {
        let pattern = node.attribute("Name").unwrap_or_default();
        let matching = types.matching(pattern);
        if !node.has_tag_name((namespace(&node), "Type")) {
            check.error(&node, "this element is not supported");
        } else if matching.is_empty() {
            check.error(&node, &format!("the PDB has no type {pattern}"));
        }
        shown += matching.len();
        for (this, arguments) in matching {
            let mut scope = Scope {
                types,
                this,
                arguments,
                variables: [].into(),
            };
            check.children(&node, &mut scope);
        }
    }
    if check.errors.is_empty() {
        Ok(Checked {
            types: shown,
            expressions: check.expressions,
        })
    } else {
        // Sorted by line.
        Err(check
            .errors
            .into_iter()
            .map(|(line, what)| format!("line {line}: {what}"))
            .collect())
    }
}

fn namespace<'n>(node: &Node<'n, '_>) -> &'n str {
    node.tag_name().namespace().unwrap_or_default()
}

struct Check {
    must_hold: bool,
    errors: BTreeSet<(u32, String)>,
    expressions: usize,
}

impl Check {
    fn error(&mut self, node: &Node<'_, '_>, what: &str) {
        let line = node.document().text_pos_at(node.range().start).row;
        let name = node.tag_name().name();
        self.errors.insert((line, format!("{name}: {what}")));
    }

    fn children(&mut self, node: &Node<'_, '_>, scope: &mut Scope<'_>) {
        for child in node.children().filter(Node::is_element) {
            self.element(&child, scope);
        }
    }

    /// Checks an element. Later elements of the same parent can use its variables.
    fn element(&mut self, node: &Node<'_, '_>, scope: &mut Scope<'_>) {
        if let Some(condition) = node.attribute("Condition") {
            self.expression(node, condition, scope);
        }
        let text = node.text().unwrap_or_default();
        match node.tag_name().name() {
            "DisplayString" => self.braces(node, text, scope),
            "Item" => {
                self.braces(node, node.attribute("Name").unwrap_or_default(), scope);
                self.expression(node, text, scope);
            }
            "ExpandedItem" | "Size" | "Exec" => self.expression(node, text, scope),
            "Variable" => {
                let value = node.attribute("InitialValue").unwrap_or_default();
                self.expressions += 1;
                match (scope.type_of(value), node.attribute("Name")) {
                    (Ok(kind), Some(name)) => {
                        scope.variables.insert(name.into(), kind);
                    }
                    (Ok(_), None) => self.error(node, "has no name"),
                    (Err(error), _) => self.error(node, &format!("{value}: {error}")),
                }
            }
            "Expand" | "Synthetic" | "CustomListItems" | "Loop" => {
                self.children(node, &mut scope.clone());
            }
            "Break" => {}
            _ => self.error(node, "this element is not supported"),
        }
    }

    fn expression(&mut self, node: &Node<'_, '_>, text: &str, scope: &Scope<'_>) {
        self.expressions += 1;
        let may_be_missing = !self.must_hold && node.attribute("Optional") == Some("true");
        match scope.type_of(text) {
            Err(error) if !may_be_missing => self.error(node, &format!("{text}: {error}")),
            _ => {}
        }
    }

    /// Checks the expressions in the braces of a text; `{{` stands for one brace.
    fn braces(&mut self, node: &Node<'_, '_>, text: &str, scope: &Scope<'_>) {
        let text = text.replace("{{", "").replace("}}", "");
        for part in text.split('{').skip(1) {
            match part.split_once('}') {
                Some((expression, _)) => self.expression(node, expression, scope),
                None => self.error(node, "a brace is not closed"),
            }
        }
    }
}
