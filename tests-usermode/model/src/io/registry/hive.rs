//! The keys of the registry and their values. Names are compared without regard to case.

use std::{collections::BTreeMap, sync::Mutex};

use nt::REG_DWORD;

use crate::host::Config;

/// The path of the key of a driver's service.
pub(crate) const SERVICE: &str = r"\Registry\Machine\System\CurrentControlSet\Services\driver";

const CONTROL_SET: &str = r"\Registry\Machine\System\CurrentControlSet";

/// The registry, which is made from the configuration at its first use.
#[derive(Default)]
pub(in crate::io) struct Registry(pub(super) Mutex<Option<Hive>>);

/// The keys, by their paths in lower case.
pub(in crate::io) struct Hive(BTreeMap<String, Node>);

/// A key.
#[derive(Default)]
pub(super) struct Node {
    /// The last part of its path.
    pub(super) name: String,
    pub(super) values: Vec<Value>,
}

/// A value of a key.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) name: String,
    /// The `REG_XXX` type.
    pub(super) kind: u32,
    pub(super) data: Vec<u8>,
}

/// Returns the path of a key that is given by a path, or by one relative to another key.
pub(super) fn below(root: &str, path: &str) -> String {
    match path {
        "" => root.to_owned(),
        path if path.starts_with('\\') => path.to_owned(),
        path => format!(r"{root}\{path}"),
    }
}

/// Returns the path of the hardware key of a device.
pub(super) fn hardware(pdo: usize) -> String {
    format!(r"{CONTROL_SET}\Enum\Root\DRIVER\{pdo:x}\Device Parameters")
}

/// Returns the path of the software key of a device.
pub(super) fn software(pdo: usize) -> String {
    format!(r"{CONTROL_SET}\Control\Class\DRIVER\{pdo:x}")
}

/// Returns the path of the key of a device interface.
pub(super) fn interface(name: &str) -> String {
    let name = name.replace('\\', "#");
    format!(r"{CONTROL_SET}\Control\DeviceClasses\{name}\Device Parameters")
}

impl Hive {
    pub(super) fn new(config: &Config) -> Self {
        let mut hive = Self(BTreeMap::new());
        hive.add(SERVICE);
        hive.add(&format!(r"{CONTROL_SET}\Control"));
        if !config.parameters.is_empty() {
            hive.add_with(&format!(r"{SERVICE}\Parameters"), &config.parameters);
        }
        hive
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(&path.to_lowercase())
    }

    pub(super) fn node(&self, path: &str) -> Option<&Node> {
        self.0.get(&path.to_lowercase())
    }

    /// Makes a key if it does not exist, with those above it.
    pub(super) fn add(&mut self, path: &str) {
        let ends = path.match_indices('\\').map(|(place, _)| place).skip(1);
        for end in ends.chain([path.len()]) {
            let (path, name) = (&path[..end], path[..end].rsplit('\\').next());
            let node = self.0.entry(path.to_lowercase()).or_default();
            name.unwrap_or_default().clone_into(&mut node.name);
        }
    }

    /// Makes a key with numbers as its values if it does not exist.
    pub(super) fn add_with(&mut self, path: &str, values: &[(String, u32)]) {
        if self.contains(path) {
            return;
        }
        self.add(path);
        for (name, value) in values {
            self.set(path, name, REG_DWORD, &value.to_le_bytes());
        }
    }

    /// Makes a key that does not exist; returns whether there is one above it.
    pub(super) fn create(&mut self, path: &str) -> bool {
        let above = path.rsplit_once('\\');
        let is_below = above.is_some_and(|(above, _)| self.contains(above));
        if is_below {
            self.add(path);
        }
        is_below
    }

    /// Returns the names of the subkeys of a key.
    pub(super) fn subkeys(&self, path: &str) -> Vec<String> {
        let start = format!(r"{}\", path.to_lowercase());
        let below = self.0.range(start.clone()..);
        let below = below.take_while(|(path, _)| path.starts_with(&start));
        let direct = below.filter(|(path, _)| !path[start.len()..].contains('\\'));
        direct.map(|(_, node)| node.name.clone()).collect()
    }

    /// Deletes a key; returns whether it had no subkeys.
    pub(super) fn delete(&mut self, path: &str) -> bool {
        let is_empty = self.subkeys(path).is_empty();
        if is_empty {
            self.0.remove(&path.to_lowercase());
        }
        is_empty
    }

    pub(super) fn value(&self, path: &str, name: &str) -> Option<&Value> {
        let mut values = self.node(path)?.values.iter();
        values.find(|value| value.name.eq_ignore_ascii_case(name))
    }

    /// Sets a value of a key; returns whether the key exists.
    pub(super) fn set(&mut self, path: &str, name: &str, kind: u32, data: &[u8]) -> bool {
        self.remove(path, name);
        let Some(node) = self.0.get_mut(&path.to_lowercase()) else {
            return false;
        };
        node.values.push(Value {
            name: name.to_owned(),
            kind,
            data: data.to_vec(),
        });
        true
    }

    /// Removes a value of a key; returns whether it existed.
    pub(super) fn remove(&mut self, path: &str, name: &str) -> bool {
        let Some(node) = self.0.get_mut(&path.to_lowercase()) else {
            return false;
        };
        let before = node.values.len();
        node.values
            .retain(|value| !value.name.eq_ignore_ascii_case(name));
        node.values.len() != before
    }
}
