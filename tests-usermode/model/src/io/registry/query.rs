//! `RtlQueryRegistryValues`, which reads values by a table.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlqueryregistryvalues)

use std::{ffi::c_void, ptr::null_mut};

use nt::{
    NTSTATUS, RTL_QUERY_REGISTRY_DELETE, RTL_QUERY_REGISTRY_DIRECT, RTL_QUERY_REGISTRY_NOEXPAND,
    RTL_QUERY_REGISTRY_NOVALUE, RTL_QUERY_REGISTRY_REQUIRED, RTL_QUERY_REGISTRY_SUBKEY,
    RTL_QUERY_REGISTRY_TABLE, RTL_QUERY_REGISTRY_TOPKEY, RTL_QUERY_REGISTRY_TYPECHECK,
    STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_NO_MEMORY,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS, UNICODE_STRING,
};

use super::hive::{self, Value};
use crate::{ex::terminated, host::Call, verifier::Rule};

const REG_NONE: u32 = 0;
const REG_SZ: u32 = 1;
const REG_EXPAND_SZ: u32 = 2;
const REG_MULTI_SZ: u32 = 7;

/// The tag of a string that the routine allocates.
const TAG: u32 = u32::from_le_bytes(*b"RegQ");

/// The number of bits by which `DefaultType` holds the type that the caller expects.
const TYPECHECK_SHIFT: u32 = 24;

/// A table that is processed.
struct Query<'a> {
    call: &'a Call,
    /// The path of the key that the table begins with.
    top: String,
    /// The path of the current key.
    key: String,
    context: *mut c_void,
}

fn is_string(kind: u32) -> bool {
    [REG_SZ, REG_EXPAND_SZ, REG_MULTI_SZ].contains(&kind)
}

impl Query<'_> {
    /// Processes an entry of the table.
    fn entry(&mut self, entry: &RTL_QUERY_REGISTRY_TABLE) -> Result<(), NTSTATUS> {
        let has = |flag: u32| entry.Flags & flag != 0;
        let is_direct = has(RTL_QUERY_REGISTRY_DIRECT);
        let is_subkey = has(RTL_QUERY_REGISTRY_SUBKEY);
        let names_value = !entry.Name.is_null() && !is_subkey;
        let has_routine = entry.QueryRoutine.is_some();
        if is_direct == has_routine && !is_subkey || is_direct && !names_value {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if has(RTL_QUERY_REGISTRY_TOPKEY) || is_subkey {
            self.key.clone_from(&self.top);
        }
        // SAFETY: the entry has a name that ends with a zero, or none.
        let name = String::from_utf16_lossy(unsafe { terminated(entry.Name) });
        if is_subkey {
            if name.is_empty() {
                return Err(STATUS_INVALID_PARAMETER);
            }
            self.key = hive::below(&self.top, &name);
            let hive = &self.call.kernel;
            let exists = hive.with_hive(|hive| hive.contains(&self.key));
            if !exists && has(RTL_QUERY_REGISTRY_REQUIRED) {
                return Err(STATUS_OBJECT_NAME_NOT_FOUND);
            }
            if !has_routine {
                return Ok(());
            }
        }
        if has(RTL_QUERY_REGISTRY_NOVALUE) && !names_value {
            return self.report(entry, entry.Name, REG_NONE, &[]);
        }
        if names_value {
            return self.named(entry, &name);
        }
        let kernel = &self.call.kernel;
        let values = kernel.with_hive(|hive| hive.node(&self.key).map(|node| node.values.clone()));
        let values = values.unwrap_or_default();
        if values.is_empty() && has(RTL_QUERY_REGISTRY_REQUIRED) {
            return Err(STATUS_OBJECT_NAME_NOT_FOUND);
        }
        for value in &values {
            let name: Vec<u16> = value.name.encode_utf16().chain([0]).collect();
            self.deliver(entry, name.as_ptr(), value)?;
        }
        Ok(())
    }

    /// Processes an entry for one value.
    fn named(&self, entry: &RTL_QUERY_REGISTRY_TABLE, name: &str) -> Result<(), NTSTATUS> {
        let has = |flag: u32| entry.Flags & flag != 0;
        let kernel = &self.call.kernel;
        let value = kernel.with_hive(|hive| hive.value(&self.key, name).cloned());
        let Some(value) = value else {
            let kind = entry.DefaultType & 0xff;
            if has(RTL_QUERY_REGISTRY_REQUIRED) {
                return Err(STATUS_OBJECT_NAME_NOT_FOUND);
            }
            if kind == REG_NONE {
                return Ok(());
            }
            return self.deliver(entry, entry.Name, &self.default_of(entry, kind));
        };
        let expected = entry.DefaultType >> TYPECHECK_SHIFT;
        let is_checked = has(RTL_QUERY_REGISTRY_TYPECHECK) && has(RTL_QUERY_REGISTRY_DIRECT);
        if is_checked && expected != value.kind {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        self.deliver(entry, entry.Name, &value)?;
        if has(RTL_QUERY_REGISTRY_DELETE) {
            kernel.with_hive(|hive| hive.remove(&self.key, name));
        }
        Ok(())
    }

    /// Stores a value, or reports it to the routine of its entry.
    fn deliver(
        &self,
        entry: &RTL_QUERY_REGISTRY_TABLE,
        name: *const u16,
        value: &Value,
    ) -> Result<(), NTSTATUS> {
        let is_raw = entry.Flags & RTL_QUERY_REGISTRY_NOEXPAND != 0;
        let expands = value.kind == REG_EXPAND_SZ && !is_raw;
        self.call.require(!expands, Rule::RegistryQuery, || {
            format!(
                "the value {} has references to environment variables: a driver gives RTL_QUERY_REGISTRY_NOEXPAND, since the routines that \
                 expand them are unsafe",
                value.name
            )
        });
        if entry.Flags & RTL_QUERY_REGISTRY_DIRECT != 0 {
            if value.kind == REG_MULTI_SZ && !is_raw {
                return Err(STATUS_INVALID_PARAMETER);
            }
            return self.store(entry.EntryContext, value);
        }
        if value.kind != REG_MULTI_SZ || is_raw {
            return self.report(entry, name, value.kind, &value.data);
        }
        let units: Vec<[u8; 2]> = value.data.as_chunks().0.to_vec();
        let strings = units.split_inclusive(|unit| *unit == [0; 2]);
        for string in strings.filter(|string| string.len() > 1) {
            self.report(entry, name, REG_SZ, &string.concat())?;
        }
        Ok(())
    }

    /// Calls the routine of an entry.
    fn report(
        &self,
        entry: &RTL_QUERY_REGISTRY_TABLE,
        name: *const u16,
        kind: u32,
        data: &[u8],
    ) -> Result<(), NTSTATUS> {
        let Some(routine) = entry.QueryRoutine else {
            return Err(STATUS_INVALID_PARAMETER);
        };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // Aligned as the data of the registry are.
        let mut words: Vec<u64> = vec![0; data.len().div_ceil(8)];
        let start = words.as_mut_ptr().cast::<u8>();
        // SAFETY: the words have room for the data.
        unsafe { start.copy_from(data.as_ptr(), data.len()) };
        let data = if data.is_empty() {
            null_mut()
        } else {
            start.cast()
        };
        let arguments = (
            name.cast_mut(),
            kind,
            data,
            length,
            self.context,
            entry.EntryContext,
        );
        // SAFETY: the routine is called as the kernel calls it, with data that stay until it has returned.
        let status = unsafe { Call::in_driver(routine, arguments) };
        if status < 0 && status != STATUS_BUFFER_TOO_SMALL {
            return Err(status);
        }
        Ok(())
    }

    /// Stores a value in the buffer of an entry, in the form that its type has there.
    fn store(&self, buffer: *mut c_void, value: &Value) -> Result<(), NTSTATUS> {
        if is_string(value.kind) {
            return self.store_string(buffer.cast(), &value.data);
        }
        let data = &value.data;
        if data.len() <= 4 {
            // SAFETY: the caller passes memory for a ULONG.
            unsafe { self.call.fill(buffer.cast(), data) };
            return Ok(());
        }
        // SAFETY: the caller's buffer begins with its length.
        let room = *unsafe { self.call.view_new::<[u8; 4], _>(buffer) };
        let room = i32::from_le_bytes(room);
        let header = if room < 0 { 0 } else { 8 };
        if data.len() + header > room.unsigned_abs() as usize {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let numbers = [length, value.kind].map(u32::to_le_bytes);
        let stored = [&numbers.as_flattened()[..header], data].concat();
        let buffer = buffer.cast::<u8>();
        self.call
            .require_array(buffer, room.unsigned_abs() as usize);
        // SAFETY: the buffer has this length.
        unsafe { self.call.fill(buffer, &stored) };
        Ok(())
    }

    fn store_string(&self, string: *mut UNICODE_STRING, data: &[u8]) -> Result<(), NTSTATUS> {
        self.call.require_room(string);
        let length = u16::try_from(data.len()).map_err(|_| STATUS_BUFFER_TOO_SMALL)?;
        // SAFETY: the caller gives an initialised string.
        let string = unsafe { &mut *string };
        if string.Buffer.is_null() {
            let block = self.call.allocate_pool(length.max(2).into(), TAG, true);
            if block.is_null() {
                return Err(STATUS_NO_MEMORY);
            }
            string.Buffer = block.cast();
            string.MaximumLength = length;
        } else if length > string.MaximumLength {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        let place = string.Buffer.cast::<u8>();
        self.call.require_array(place, string.MaximumLength.into());
        // SAFETY: the buffer has this length.
        unsafe { self.call.fill(place, data) };
        // Without the terminating zero.
        string.Length = length.saturating_sub(2);
        Ok(())
    }
    /// Returns the default value of an entry. The length of a string can be zero, which stands for that up to its end.
    fn default_of(&self, entry: &RTL_QUERY_REGISTRY_TABLE, kind: u32) -> Value {
        let length = match (kind, entry.DefaultLength) {
            (REG_SZ | REG_EXPAND_SZ, 0) => {
                // SAFETY: the default is a string that ends with a zero.
                2 * unsafe { terminated(entry.DefaultData.cast()) }.len() + 2
            }
            (REG_MULTI_SZ, 0) => {
                let mut length = 0;
                loop {
                    let string = entry.DefaultData.cast::<u16>().wrapping_add(length);
                    // SAFETY: each string ends with a zero, and so does the last one, which is empty.
                    let units = unsafe { terminated(string) }.len();
                    length += units + 1;
                    if units == 0 {
                        break 2 * length;
                    }
                }
            }
            (_, length) => length as usize,
        };
        // SAFETY: the default data have this length.
        let data = unsafe { self.call.elements(entry.DefaultData.cast::<u8>(), length) };
        Value {
            name: String::new(),
            kind,
            data: data.to_vec(),
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlQueryRegistryValues(
    place: u32,
    path: *const u16,
    table: *mut RTL_QUERY_REGISTRY_TABLE,
    context: *mut c_void,
    _environment: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_relative("RtlQueryRegistryValues");
    let top = match call.relative(place, path) {
        Ok(top) => top,
        Err(status) => return status,
    };
    if !call.kernel.with_hive(|hive| hive.contains(&top)) {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    let mut query = Query {
        call: &call,
        key: top.clone(),
        top,
        context,
    };
    for index in 0.. {
        // SAFETY: the caller passes a table that ends with an entry without a routine and a name.
        let entry =
            unsafe { call.view_new::<RTL_QUERY_REGISTRY_TABLE, _>(table.wrapping_add(index)) };
        if entry.QueryRoutine.is_none() && entry.Name.is_null() {
            break;
        }
        if let Err(status) = query.entry(entry) {
            return status;
        }
    }
    STATUS_SUCCESS
}
