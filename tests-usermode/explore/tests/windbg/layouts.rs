//! The layouts of this program's types, read from its debug information and named as in a PDB.

use std::{borrow::Cow, collections::BTreeMap, fs};

use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice,
    LittleEndian, SectionId, Unit, UnitOffset,
};
use object::{Object, ObjectSection};
use serde_json::{Value, json};

type Reader<'d> = EndianSlice<'d, LittleEndian>;
type Entry<'d> = DebuggingInformationEntry<Reader<'d>>;

/// The requested types and all types that they contain or point to, by arbitrary keys.
#[derive(Default)]
pub struct Layouts {
    types: BTreeMap<String, Value>,
    named: BTreeMap<String, String>,
}

impl Layouts {
    /// Reads the types with these names, and the types that they refer to, from this program's file.
    pub fn of_this_program(names: &[&str]) -> Self {
        let file = fs::read("/proc/self/exe").expect("the program's own file is readable");
        let file = object::File::parse(&*file).expect("it is an ELF file");
        let section = |id: SectionId| -> Result<Cow<'_, [u8]>, gimli::Error> {
            let section = file.section_by_name(id.name());
            let data = section.and_then(|section| section.uncompressed_data().ok());
            Ok(data.unwrap_or_default())
        };
        let sections = DwarfSections::load(section).expect("it has debug information");
        let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
        let mut headers = dwarf.units();
        let mut units = Vec::new();
        while let Some(header) = headers.next().expect("the units are readable") {
            units.push(dwarf.unit(header).expect("a unit is readable"));
        }
        let program = Program { dwarf, units };
        let mut layouts = Self::default();
        for (name, at) in program.find(names) {
            let key = program.read(at, &mut layouts.types);
            layouts.named.insert(name, key);
        }
        for name in names {
            assert!(
                layouts.named.contains_key(*name),
                "{name} has no debug information"
            );
        }
        layouts
    }

    /// Returns the key of a type.
    pub fn key(&self, name: &str) -> &str {
        &self.named[name]
    }

    /// Returns the offset and the type of a field.
    pub fn field(&self, name: &str, field: &str) -> Value {
        let found = &self.types[self.key(name)]["fields"][field];
        assert!(found.is_object(), "{name} has no field {field}");
        found.clone()
    }

    /// Returns the offset of a nested field.
    pub fn offset(&self, name: &str, path: &[&str]) -> u64 {
        let mut kind = self.key(name);
        let mut offset = 0;
        for field in path {
            let found = &self.types[kind]["fields"][field];
            let place = (found["offset"].as_u64(), found["type"].as_str());
            let (Some(further), Some(inner)) = place else {
                panic!("{name} has no {path:?}");
            };
            offset += further;
            kind = inner;
        }
        offset
    }

    /// Adds a kernel structure with fields of other types; returns its key.
    pub fn add(&mut self, name: &str, fields: &[(&str, Value)]) -> String {
        let fields: BTreeMap<_, _> = fields.iter().cloned().collect();
        let layout = json!({ "kind": "udt", "name": name, "fields": fields });
        self.types.insert(name.into(), layout);
        name.into()
    }

    /// Returns all types as JSON.
    pub fn types(&self) -> Value {
        json!(self.types)
    }
}

/// A program's debug information.
struct Program<'d> {
    dwarf: Dwarf<Reader<'d>>,
    /// The units by increasing offset.
    units: Vec<Unit<Reader<'d>>>,
}

impl<'d> Program<'d> {
    /// Returns the offset of the description of each of these structures, by its full name.
    fn find(&self, names: &[&str]) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for unit in &self.units {
            let mut path: Vec<(isize, String)> = Vec::new();
            let mut entries = unit.entries();
            while let Some(entry) = entries.next_dfs().expect("the entries are readable") {
                let is_structure = entry.tag() == gimli::DW_TAG_structure_type;
                if !is_structure && entry.tag() != gimli::DW_TAG_namespace {
                    continue;
                }
                path.retain(|(depth, _)| *depth < entry.depth());
                path.push((entry.depth(), self.name(unit, entry)));
                let full: Vec<_> = path.iter().map(|(_, name)| name.as_str()).collect();
                let full = full.join("::");
                // A unit that does not use a structure's fields may only declare it.
                let is_declared = entry.attr_value(gimli::DW_AT_declaration).is_some();
                if is_structure && !is_declared && names.contains(&full.as_str()) {
                    found.insert(full, start(unit) + entry.offset().0);
                }
            }
        }
        found
    }

    /// Adds a type to `types`; returns its key.
    fn read(&self, at: usize, types: &mut BTreeMap<String, Value>) -> String {
        let key = format!("{at:x}");
        if types.contains_key(&key) {
            return key;
        }
        // Added before its fields are read, since they can point back to it.
        types.insert(key.clone(), Value::Null);
        let after = self.units.partition_point(|unit| start(unit) <= at);
        let unit = &self.units[after - 1];
        let entry = UnitOffset(at - start(unit));
        let entry = unit.entry(entry).expect("a type is readable");
        let name = self.name(unit, &entry);
        let size = number(&entry, gimli::DW_AT_byte_size);
        let layout = match entry.tag() {
            gimli::DW_TAG_base_type => {
                let encoding = match entry.attr_value(gimli::DW_AT_encoding) {
                    Some(AttributeValue::Encoding(gimli::DW_ATE_boolean)) => "boolean",
                    Some(AttributeValue::Encoding(gimli::DW_ATE_signed)) => "signed",
                    _ => "unsigned",
                };
                json!({ "kind": "intrinsic", "name": name, "size": size, "encoding": encoding })
            }
            gimli::DW_TAG_enumeration_type => {
                json!({ "kind": "intrinsic", "name": name, "size": size, "encoding": "unsigned" })
            }
            gimli::DW_TAG_pointer_type => {
                let to = target(unit, &entry).map(|to| self.read(to, types));
                json!({ "kind": "pointer", "name": name, "size": 8, "to": to })
            }
            gimli::DW_TAG_array_type => {
                let of = target(unit, &entry).map(|of| self.read(of, types));
                json!({ "kind": "array", "name": name, "of": of })
            }
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => {
                let fields = self.fields(unit, &entry, types);
                json!({ "kind": "udt", "name": name, "size": size, "fields": fields })
            }
            // A function, to which only pointers refer.
            _ => json!({ "kind": "function", "name": name, "size": 0 }),
        };
        types.insert(key.clone(), layout);
        key
    }

    /// Returns the fields of a structure. In a PDB, a type with variants has a `tag`, and a `variant0` and so on, each with a
    /// `value`.
    fn fields(
        &self,
        unit: &Unit<Reader<'d>>,
        structure: &Entry<'d>,
        types: &mut BTreeMap<String, Value>,
    ) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::new();
        let mut variants = 0;
        let tree = unit.entries_tree(Some(structure.offset()));
        let mut tree = tree.expect("a structure is readable");
        let root = tree.root().expect("a structure is readable");
        let mut parts = root.children();
        let place = |entry: &Entry<'d>, kind: String| {
            let offset = number(entry, gimli::DW_AT_data_member_location);
            json!({ "offset": offset, "type": kind })
        };
        while let Some(part) = parts.next().expect("its parts are readable") {
            let entry = part.entry();
            if entry.tag() == gimli::DW_TAG_member {
                let kind = target(unit, entry).expect("a field has a type");
                let kind = self.read(kind, types);
                fields.insert(self.name(unit, entry), place(entry, kind));
            }
            if entry.tag() != gimli::DW_TAG_variant_part {
                continue;
            }
            let mut inner = part.children();
            while let Some(part) = inner.next().expect("its variants are readable") {
                let entry = part.entry();
                if entry.tag() == gimli::DW_TAG_member {
                    let kind = target(unit, entry).expect("a tag has a type");
                    let kind = self.read(kind, types);
                    fields.insert("tag".into(), place(entry, kind));
                    continue;
                }
                let mut members = part.children();
                while let Some(member) = members.next().expect("a variant is readable") {
                    let member = member.entry();
                    let kind = target(unit, member).expect("a variant has a type");
                    let kind = self.read(kind, types);
                    let wrapped = format!("{kind}, wrapped");
                    let value = json!({ "value": { "offset": 0, "type": kind } });
                    types.insert(
                        wrapped.clone(),
                        json!({ "kind": "udt", "name": wrapped, "fields": value }),
                    );
                    fields.insert(format!("variant{variants}"), place(member, wrapped));
                    variants += 1;
                }
            }
        }
        fields
    }

    fn name(&self, unit: &Unit<Reader<'d>>, entry: &Entry<'d>) -> String {
        let name = entry.attr_value(gimli::DW_AT_name);
        let name = name.and_then(|name| self.dwarf.attr_string(unit, name).ok());
        name.map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// Returns the offset of a unit.
fn start(unit: &Unit<Reader<'_>>) -> usize {
    let DebugInfoOffset(start) = unit
        .header
        .debug_info_offset()
        .expect("a unit has an offset");
    start
}

fn number(entry: &Entry<'_>, attribute: gimli::DwAt) -> u64 {
    let value = entry.attr_value(attribute);
    value
        .and_then(|value| value.udata_value())
        .unwrap_or_default()
}

/// Returns the offset of the type that an entry refers to, which can be in another unit.
fn target(unit: &Unit<Reader<'_>>, entry: &Entry<'_>) -> Option<usize> {
    match entry.attr_value(gimli::DW_AT_type)? {
        AttributeValue::UnitRef(offset) => Some(start(unit) + offset.0),
        AttributeValue::DebugInfoRef(DebugInfoOffset(offset)) => Some(offset),
        _ => None,
    }
}
