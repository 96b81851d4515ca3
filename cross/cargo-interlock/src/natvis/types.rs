//! The types of a program and their fields, read from its PDB.

use std::{collections::BTreeMap, io::Cursor};

use pdb2::{FallibleIterator, PDB, TypeData, TypeFinder, TypeIndex};

/// A type, with the details that an expression needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number, or another type without fields that cannot be dereferenced: a function, `void`.
    Plain,
    /// A structure or union, identified by its name.
    Record(String),
    Pointer(Box<Self>),
    Array(Box<Self>),
}

impl Type {
    /// Returns the type of a pointer to this type.
    pub fn pointer(self) -> Self {
        Self::Pointer(Box::new(self))
    }
}

/// The fields of a structure or union, by name.
pub type Fields = BTreeMap<String, Type>;

/// The structures and unions of a program, by name.
#[derive(Default)]
pub struct Types(BTreeMap<String, Fields>);

/// The PDB of a program, in memory.
pub type Pdb<'d> = PDB<'d, Cursor<&'d [u8]>>;

/// Returns the name and content of each file that the linker stored in a PDB.
pub fn files(pdb: &mut Pdb<'_>) -> pdb2::Result<Vec<(String, Vec<u8>)>> {
    let information = pdb.pdb_information()?;
    let mut files = Vec::new();
    for stream in &information.stream_names()? {
        let name = stream.name.to_string();
        if let (Some(name), Some(content)) = (
            name.strip_prefix("/src/files/"),
            pdb.raw_stream(stream.stream_id)?,
        ) {
            files.push((name.to_owned(), content.as_slice().to_vec()));
        }
    }
    Ok(files)
}

impl Types {
    /// Reads the types of a program.
    pub fn read(pdb: &mut Pdb<'_>) -> pdb2::Result<Self> {
        let information = pdb.type_information()?;
        let mut finder = information.finder();
        let mut iterator = information.iter();
        let mut records = Vec::new();
        while let Some(item) = iterator.next()? {
            finder.update(&iterator);
            match item.parse() {
                Ok(TypeData::Class(class)) if !class.properties.forward_reference() => {
                    records.push((class.name, class.fields));
                }
                Ok(TypeData::Union(union)) if !union.properties.forward_reference() => {
                    records.push((union.name, Some(union.fields)));
                }
                // Records that the crate cannot read have no fields that are needed here.
                _ => {}
            }
        }
        let mut types = Self::default();
        for (name, list) in records {
            let mut fields = Fields::new();
            add_fields(&finder, list, &mut fields)?;
            types.0.insert(name.to_string().into_owned(), fields);
        }
        Ok(types)
    }

    /// Adds a structure.
    #[cfg(test)]
    pub fn insert(&mut self, name: &str, fields: &[(&str, Type)]) {
        let fields = fields
            .iter()
            .map(|(name, kind)| ((*name).into(), kind.clone()));
        self.0.insert(name.into(), fields.collect());
    }

    /// Returns whether a structure or union with this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the type of a field.
    pub fn field(&self, record: &str, field: &str) -> Result<&Type, String> {
        let fields = self
            .0
            .get(record)
            .ok_or_else(|| format!("the PDB has no definition of {record}"))?;
        fields
            .get(field)
            .ok_or_else(|| format!("{record} has no field {field}"))
    }

    /// Returns the structures and unions whose name matches a pattern, with the text that matches each `*`.
    pub fn matching(&self, pattern: &str) -> Vec<(&str, Vec<&str>)> {
        let found = self.0.keys().filter_map(|name| {
            let mut arguments = Vec::new();
            matches(pattern, name, &mut arguments).then_some((name.as_str(), arguments))
        });
        found.collect()
    }
}

/// Returns whether a name matches a pattern. Each `*` matches a text with balanced angle brackets.
fn matches<'n>(pattern: &str, name: &'n str, arguments: &mut Vec<&'n str>) -> bool {
    let Some((literal, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(literal) else {
        return false;
    };
    let mut depth = 0;
    for (end, character) in name.char_indices() {
        if depth == 0 && end > 0 {
            arguments.push(name[..end].trim_end());
            if matches(rest, &name[end..], arguments) {
                return true;
            }
            arguments.pop();
        }
        match character {
            '<' => depth += 1,
            '>' if depth == 0 => return false,
            '>' => depth -= 1,
            _ => {}
        }
    }
    false
}

fn add_fields(
    finder: &TypeFinder<'_>,
    list: Option<TypeIndex>,
    fields: &mut Fields,
) -> pdb2::Result<()> {
    let mut next = list;
    while let Some(list) = next {
        let TypeData::FieldList(list) = finder.find(list)?.parse()? else {
            break;
        };
        for field in &list.fields {
            if let TypeData::Member(member) = field {
                let kind = resolve(finder, member.field_type)?;
                fields.insert(member.name.to_string().into_owned(), kind);
            }
        }
        next = list.continuation;
    }
    Ok(())
}

fn resolve(finder: &TypeFinder<'_>, index: TypeIndex) -> pdb2::Result<Type> {
    let kind = match finder.find(index)?.parse()? {
        TypeData::Primitive(primitive) if primitive.indirection.is_some() => Type::Plain.pointer(),
        TypeData::Class(class) => Type::Record(class.name.to_string().into_owned()),
        TypeData::Union(union) => Type::Record(union.name.to_string().into_owned()),
        TypeData::Pointer(pointer) => resolve(finder, pointer.underlying_type)?.pointer(),
        TypeData::Modifier(modifier) => resolve(finder, modifier.underlying_type)?,
        TypeData::Array(array) => Type::Array(Box::new(resolve(finder, array.element_type)?)),
        _ => Type::Plain,
    };
    Ok(kind)
}
