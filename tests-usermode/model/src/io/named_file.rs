//! Files that a driver opens by name. They are in memory, in one volume; every folder exists. A test reads and writes them with
//! [`Kernel::read_file`] and [`Kernel::write_file`].
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwcreatefile)

use std::{
    collections::BTreeMap,
    ffi::c_void,
    sync::{Arc, Mutex},
};

use nt::{
    HANDLE, IO_STATUS_BLOCK, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_ACCESS_DENIED, STATUS_END_OF_FILE,
    STATUS_INFO_LENGTH_MISMATCH, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND, STATUS_OBJECT_PATH_SYNTAX_BAD, STATUS_SUCCESS, SYNCHRONIZE,
};

use crate::{
    host::{Call, Kernel, footprint},
    mutex::locked,
    verifier::Rule,
};

type Contents = Arc<Mutex<Vec<u8>>>;

/// The files, by their names in lower case.
#[derive(Default)]
pub(in crate::io) struct Files(Mutex<BTreeMap<String, Contents>>);

/// A file that is open.
struct OpenFile {
    name: String,
    contents: Contents,
    access: u32,
    /// The position of a file that is opened for synchronous I/O.
    position: Option<Mutex<u64>>,
}

/// The prefixes of the names of files.
const VOLUMES: [&str; 5] = [
    r"\??\c:\",
    r"\dosdevices\c:\",
    r"\global??\c:\",
    r"\device\harddiskvolume1\",
    r"\systemroot\",
];

const FILE_READ_DATA: u32 = 1;
const FILE_WRITE_DATA: u32 = 2;
const FILE_APPEND_DATA: u32 = 4;
const DELETE: u32 = 0x1_0000;
const GENERIC_ALL: u32 = 1 << 28;
const GENERIC_WRITE: u32 = 1 << 30;
const GENERIC_READ: u32 = 1 << 31;

/// The dispositions of `ZwCreateFile`, and what it reports.
const FILE_SUPERSEDE: u32 = 0;
const FILE_OPEN: u32 = 1;
const FILE_CREATE: u32 = 2;
const FILE_OPEN_IF: u32 = 3;
const FILE_OVERWRITE: u32 = 4;
const FILE_OVERWRITE_IF: u32 = 5;

/// `FILE_SYNCHRONOUS_IO_ALERT` and `FILE_SYNCHRONOUS_IO_NONALERT`
const SYNCHRONOUS: u32 = 0x30;

/// `FILE_USE_FILE_POINTER_POSITION` and `FILE_WRITE_TO_END_OF_FILE` as values of `ByteOffset`.
const USE_POSITION: i64 = -2;
const END_OF_FILE: i64 = -1;

/// The values of `FILE_INFORMATION_CLASS`.
const FILE_STANDARD_INFORMATION: i32 = 5;
const FILE_DISPOSITION_INFORMATION: i32 = 13;
const FILE_POSITION_INFORMATION: i32 = 14;
const FILE_END_OF_FILE_INFORMATION: i32 = 20;

const STATUS_INVALID_INFO_CLASS: NTSTATUS = 0xc000_0003_u32.cast_signed();

/// Returns the name of a file in its volume, in lower case.
fn in_volume(name: &str) -> Result<String, NTSTATUS> {
    if !name.starts_with('\\') {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    let name = name.to_lowercase();
    let in_volume = VOLUMES.iter().find_map(|volume| {
        let rest = name.strip_prefix(volume)?;
        let folder = if *volume == r"\systemroot\" {
            r"windows\"
        } else {
            ""
        };
        Some(format!("{folder}{rest}"))
    });
    in_volume.ok_or(STATUS_OBJECT_PATH_NOT_FOUND)
}

/// Replaces generic access rights by those of files.
fn mapped(access: u32) -> u32 {
    let read = access & (GENERIC_READ | GENERIC_ALL) != 0;
    let write = access & (GENERIC_WRITE | GENERIC_ALL) != 0;
    let all = access & GENERIC_ALL != 0;
    access
        | if read {
            FILE_READ_DATA | SYNCHRONIZE
        } else {
            0
        }
        | if write {
            FILE_WRITE_DATA | FILE_APPEND_DATA | SYNCHRONIZE
        } else {
            0
        }
        | if all { DELETE } else { 0 }
}

impl Kernel {
    /// Returns the contents of a file, with a name such as `\??\C:\log.txt`.
    #[must_use]
    pub fn read_file(&self, name: &str) -> Option<Vec<u8>> {
        let files = locked(&self.io().named_files.0);
        let contents = files.get(&in_volume(name).ok()?)?;
        Some(locked(contents).clone())
    }

    /// Writes a file, so that drivers can open it by a name such as `\??\C:\log.txt`.
    ///
    /// # Panics
    /// If the name is none of a file.
    pub fn write_file(&self, name: &str, contents: &[u8]) {
        let name = in_volume(name);
        let name = name.unwrap_or_else(|status| panic!("it is no file: {status:#x}"));
        let mut files = locked(&self.io().named_files.0);
        *locked(files.entry(name).or_default()) = contents.to_vec();
    }
}

impl Call {
    /// Enters a routine for files: at `PASSIVE_LEVEL`, with special kernel APCs enabled, by which the I/O is completed.
    fn enter_file(routine: &'static str) -> Self {
        let call = Self::enter(routine);
        call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
        let is_guarded = call.is_guarded();
        call.require(!is_guarded, Rule::IrqlZwPassive, || {
            "the thread is in a guarded region, and the I/O is completed by a special kernel APC"
        });
        call
    }

    fn open_file(&self, name: &str, disposition: u32) -> Result<(Contents, u32), NTSTATUS> {
        let name = in_volume(name)?;
        let mut files = locked(&self.kernel.io().named_files.0);
        let existing = files.get(&name).cloned();
        match (existing, disposition) {
            (Some(_), FILE_CREATE) => Err(STATUS_OBJECT_NAME_COLLISION),
            (Some(contents), FILE_OPEN | FILE_OPEN_IF) => Ok((contents, FILE_OPEN)),
            (Some(contents), FILE_SUPERSEDE | FILE_OVERWRITE | FILE_OVERWRITE_IF) => {
                locked(&contents).clear();
                // FILE_SUPERSEDED and FILE_OVERWRITTEN
                Ok((contents, if disposition == 0 { 0 } else { 3 }))
            }
            (None, FILE_OPEN | FILE_OVERWRITE) => Err(STATUS_OBJECT_NAME_NOT_FOUND),
            (None, FILE_SUPERSEDE | FILE_CREATE | FILE_OPEN_IF | FILE_OVERWRITE_IF) => {
                let contents = Contents::default();
                files.insert(name, Arc::clone(&contents));
                Ok((contents, FILE_CREATE))
            }
            _ => Err(STATUS_INVALID_PARAMETER),
        }
    }

    fn create_file(
        &self,
        place: *mut HANDLE,
        access: u32,
        attributes: *mut OBJECT_ATTRIBUTES,
        status_block: *mut IO_STATUS_BLOCK,
        (disposition, options): (u32, u32),
    ) -> NTSTATUS {
        self.require_room(place);
        self.require_room(status_block);
        let (name, _) = self.attributes(attributes);
        let Some(name) = name else {
            return STATUS_OBJECT_PATH_SYNTAX_BAD;
        };
        let access = mapped(access);
        let synchronous = options & SYNCHRONOUS;
        if synchronous == SYNCHRONOUS || synchronous != 0 && access & SYNCHRONIZE == 0 {
            return STATUS_INVALID_PARAMETER;
        }
        if self.kernel.fails() {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        let (contents, result) = match self.open_file(&name, disposition) {
            Ok(opened) => opened,
            Err(status) => return status,
        };
        let file = OpenFile {
            name: in_volume(&name).unwrap_or_default(),
            contents,
            access,
            position: (synchronous != 0).then(Mutex::default),
        };
        let handle = self.kernel.open_handle(Arc::new(file));
        // SAFETY: the caller passes memory for the handle.
        unsafe { place.write(handle) };
        end(status_block, STATUS_SUCCESS, result as usize)
    }

    fn opened(&self, handle: HANDLE) -> Result<Arc<OpenFile>, NTSTATUS> {
        let file = self.kernel.object_of::<OpenFile>(handle);
        file.ok_or(STATUS_INVALID_HANDLE)
    }

    /// Finds the file and the offset of a read or a write, and signals the event of the caller at its end.
    fn transfer(
        &self,
        (handle, event): (HANDLE, HANDLE),
        access: u32,
        place: *mut IO_STATUS_BLOCK,
        (buffer, length): (*mut c_void, u32),
        offset: *mut i64,
        run: impl FnOnce(&mut Vec<u8>, u64) -> Result<usize, NTSTATUS>,
    ) -> NTSTATUS {
        self.require_room(place);
        self.require_array(buffer.cast::<u8>(), length as usize);
        let file = match self.opened(handle) {
            Ok(file) if file.access & access != 0 => file,
            Ok(_) => return STATUS_ACCESS_DENIED,
            Err(status) => return status,
        };
        // SAFETY: the caller passes NULL or an offset.
        let given = unsafe { self.optional(offset) };
        let mut contents = locked(&file.contents);
        let position = file.position.as_ref().map(|position| *locked(position));
        let start = match (given, position) {
            (None | Some(USE_POSITION), Some(position)) => position,
            (Some(END_OF_FILE), _) if access != FILE_READ_DATA => contents.len() as u64,
            (Some(given), _) if given >= 0 => given.cast_unsigned(),
            _ => return STATUS_INVALID_PARAMETER,
        };
        let (status, bytes) = match run(&mut contents, start) {
            Ok(bytes) => (STATUS_SUCCESS, bytes),
            Err(status) => (status, 0),
        };
        drop(contents);
        if let Some(position) = &file.position {
            *locked(position) = start + bytes as u64;
        }
        footprint::touch_everything();
        if !event.is_null() {
            // SAFETY: the caller passes the handle of an event.
            unsafe { nt::ZwSetEvent(event, std::ptr::null_mut()) };
        }
        end(place, status, bytes)
    }
}

/// Stores the result of a routine; returns its status.
fn end(place: *mut IO_STATUS_BLOCK, status: NTSTATUS, bytes: usize) -> NTSTATUS {
    // SAFETY: the caller of the routine passes memory for the structure.
    let block = unsafe { &mut *place };
    // The status is the first member, in a union with a pointer.
    // SAFETY: as above.
    unsafe { (&raw mut *block).cast::<NTSTATUS>().write(status) };
    block.Information = bytes as u64;
    status
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwCreateFile(
    place: *mut HANDLE,
    access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
    status_block: *mut IO_STATUS_BLOCK,
    _size: *mut i64,
    _file_attributes: u32,
    _share: u32,
    disposition: u32,
    options: u32,
    _extended: *mut c_void,
    _extended_length: u32,
) -> NTSTATUS {
    let call = Call::enter_file("ZwCreateFile");
    call.create_file(
        place,
        access,
        attributes,
        status_block,
        (disposition, options),
    )
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwopenfile)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwOpenFile(
    place: *mut HANDLE,
    access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
    status_block: *mut IO_STATUS_BLOCK,
    _share: u32,
    options: u32,
) -> NTSTATUS {
    let call = Call::enter_file("ZwOpenFile");
    call.create_file(
        place,
        access,
        attributes,
        status_block,
        (FILE_OPEN, options),
    )
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwreadfile)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwReadFile(
    handle: HANDLE,
    event: HANDLE,
    _apc: *mut c_void,
    _apc_context: *mut c_void,
    status_block: *mut IO_STATUS_BLOCK,
    buffer: *mut c_void,
    length: u32,
    offset: *mut i64,
    _key: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_file("ZwReadFile");
    let read = |contents: &mut Vec<u8>, start: u64| {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let rest = contents.get(start..).filter(|rest| !rest.is_empty());
        let Some(rest) = rest else {
            return Err(STATUS_END_OF_FILE);
        };
        let read = &rest[..rest.len().min(length as usize)];
        // SAFETY: the caller passes a buffer of this length.
        unsafe { call.fill(buffer.cast(), read) };
        Ok(read.len())
    };
    let handles = (handle, event);
    call.transfer(
        handles,
        FILE_READ_DATA,
        status_block,
        (buffer, length),
        offset,
        read,
    )
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwwritefile)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwWriteFile(
    handle: HANDLE,
    event: HANDLE,
    _apc: *mut c_void,
    _apc_context: *mut c_void,
    status_block: *mut IO_STATUS_BLOCK,
    buffer: *mut c_void,
    length: u32,
    offset: *mut i64,
    _key: *mut u32,
) -> NTSTATUS {
    let call = Call::enter_file("ZwWriteFile");
    let write = |contents: &mut Vec<u8>, start: u64| {
        let start = usize::try_from(start).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let end = start
            .checked_add(length as usize)
            .ok_or(STATUS_INVALID_PARAMETER)?;
        if contents.len() < end {
            contents.resize(end, 0);
        }
        // SAFETY: the caller passes a buffer of this length.
        let new = unsafe { call.elements(buffer.cast::<u8>(), length as usize) };
        contents[start..end].copy_from_slice(new);
        Ok(length as usize)
    };
    let access = FILE_WRITE_DATA | FILE_APPEND_DATA;
    let handles = (handle, event);
    call.transfer(
        handles,
        access,
        status_block,
        (buffer, length),
        offset,
        write,
    )
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwqueryinformationfile)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwQueryInformationFile(
    handle: HANDLE,
    status_block: *mut IO_STATUS_BLOCK,
    information: *mut c_void,
    length: u32,
    class: i32,
) -> NTSTATUS {
    let call = Call::enter_file("ZwQueryInformationFile");
    call.require_room(status_block);
    let file = match call.opened(handle) {
        Ok(file) => file,
        Err(status) => return status,
    };
    let size = locked(&file.contents).len() as u64;
    let position = file
        .position
        .as_ref()
        .map_or(0, |position| *locked(position));
    // FILE_STANDARD_INFORMATION has AllocationSize, EndOfFile, NumberOfLinks, DeletePending and Directory.
    let standard = [size.next_multiple_of(0x1000), size, 1];
    let answer: &[u64] = match class {
        FILE_STANDARD_INFORMATION => &standard,
        FILE_POSITION_INFORMATION => &[position],
        _ => return STATUS_INVALID_INFO_CLASS,
    };
    if (length as usize) < size_of_val(answer) {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    call.require_array(information.cast::<u8>(), length as usize);
    // SAFETY: the caller passes a buffer of this length.
    unsafe { call.fill(information.cast(), answer) };
    end(status_block, STATUS_SUCCESS, size_of_val(answer))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwsetinformationfile)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwSetInformationFile(
    handle: HANDLE,
    status_block: *mut IO_STATUS_BLOCK,
    information: *mut c_void,
    length: u32,
    class: i32,
) -> NTSTATUS {
    let call = Call::enter_file("ZwSetInformationFile");
    call.require_room(status_block);
    let file = match call.opened(handle) {
        Ok(file) => file,
        Err(status) => return status,
    };
    let least = if class == FILE_DISPOSITION_INFORMATION {
        1
    } else {
        8
    };
    if length < least {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    call.require_array(information.cast::<u8>(), length as usize);
    // SAFETY: the caller passes a buffer of this length.
    let number = || unsafe { information.cast::<u64>().read_unaligned() };
    match class {
        FILE_DISPOSITION_INFORMATION if file.access & DELETE == 0 => return STATUS_ACCESS_DENIED,
        FILE_DISPOSITION_INFORMATION => {
            // SAFETY: as above.
            if unsafe { information.cast::<u8>().read() } != 0 {
                locked(&call.kernel.io().named_files.0).remove(&file.name);
            }
        }
        FILE_POSITION_INFORMATION => match &file.position {
            Some(position) => *locked(position) = number(),
            None => return STATUS_INVALID_PARAMETER,
        },
        FILE_END_OF_FILE_INFORMATION if file.access & FILE_WRITE_DATA == 0 => {
            return STATUS_ACCESS_DENIED;
        }
        FILE_END_OF_FILE_INFORMATION => {
            let size = usize::try_from(number()).unwrap_or(usize::MAX);
            locked(&file.contents).resize(size.min(1 << 30), 0);
        }
        _ => return STATUS_INVALID_INFO_CLASS,
    }
    end(status_block, STATUS_SUCCESS, 0)
}
