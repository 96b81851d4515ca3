//! Devices that a driver opens by name, and references to their file objects.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdeviceobjectpointer)

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
    UNICODE_STRING,
};

use crate::{
    host::Call,
    io::{
        File,
        file::{FileInner, Opening},
        security::specific,
    },
    mutex::locked,
    verifier::Rule,
};

/// The file objects that the driver has references to, with the number of references, by their addresses.
#[derive(Default)]
pub(crate) struct FileReferences(
    Mutex<HashMap<usize, (Arc<FileInner>, usize)>>,
    Mutex<HashMap<usize, Weak<FileInner>>>,
);

impl FileReferences {
    /// Records a file object, which a driver can reference until its `IRP_MJ_CLOSE`.
    pub(in crate::io) fn opened(&self, file: &Arc<FileInner>) {
        locked(&self.1).insert(file.object().addr(), Arc::downgrade(file));
    }

    /// Records that `IRP_MJ_CLOSE` of a file is sent.
    pub(in crate::io) fn closing(&self, file: &FileInner) {
        locked(&self.1).remove(&file.object().addr());
    }

    fn open_file(&self, object: usize) -> Option<Arc<FileInner>> {
        locked(&self.1).get(&object)?.upgrade()
    }
}

impl Call {
    /// Adds a reference to a file object. Returns the new count, or `None` if it is not an open file, and the driver has no reference to
    /// it.
    pub(in crate::io) fn reference_file(&self, object: usize) -> Option<usize> {
        let references = &self.kernel.io().files;
        let mut files = locked(&references.0);
        if let Some((_, count)) = files.get_mut(&object) {
            *count += 1;
            return Some(*count);
        }
        let file = references.open_file(object)?;
        file.add_irp();
        files.insert(object, (file, 1));
        Some(1)
    }

    /// Removes a reference to a file object. Returns the new count, or `None` if the driver has no reference to it.
    /// Removing the last one closes the file.
    pub(in crate::io) fn dereference_file(&self, object: usize) -> Option<usize> {
        let mut files = locked(&self.kernel.io().files.0);
        let (_, count) = files.get_mut(&object)?;
        *count -= 1;
        let count = *count;
        if count == 0 {
            let file = files.remove(&object);
            drop(files);
            if let Some((file, _)) = file {
                file.irp_ended(self);
                if self.irql() == 0 {
                    self.kernel.close_deferred(self);
                }
            }
        }
        Some(count)
    }

    /// Describes the references to file objects that keep files open, if there are any.
    pub(in crate::io) fn file_references(&self) -> Option<String> {
        let left = locked(&self.kernel.io().files.0).len();
        (left != 0).then(|| {
            format!("{left} file objects stay open, which the driver has references to: ObDereferenceObject releases them")
        })
    }

    /// Stops the system if a driver that is unloaded has references to file objects that count.
    pub(in crate::io) fn require_no_file_reference(&self, counts: fn(&FileInner) -> bool) {
        let files = locked(&self.kernel.io().files.0);
        let left = files.values().filter(|(file, _)| counts(file)).count();
        drop(files);
        self.require(left == 0, Rule::Reference, || {
            format!(
                "the driver is unloaded with references to {left} file objects, of its own device or of IoGetDeviceObjectPointer, that \
                 ObDereferenceObject has not released"
            )
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetDeviceObjectPointer(
    name: *mut UNICODE_STRING,
    access: u32,
    file: *mut *mut FILE_OBJECT,
    device: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let call = Call::enter("IoGetDeviceObjectPointer");
    call.require_at_most(0, Rule::IrqlIoPassive5, 0x2_000e);
    call.require_room(name);
    call.require_room(file);
    call.require_room(device);
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passes a name.
    let name = unsafe { call.text(name) };
    let access = specific(access);
    let kernel = Arc::clone(&call.kernel);
    let (inner, named, name) = match kernel.io().namespace.admit(&name, access, None) {
        Ok(inner) => inner,
        Err(status) => return status,
    };
    let opening = Opening {
        access,
        name,
        object: Some(named),
        by_kernel: true,
    };
    let opened = File::open(&call, &kernel, &inner, &opening);
    inner.file_closed(&call);
    let opened = match opened {
        Ok(opened) => opened,
        Err(status) => return status,
    };
    let referenced = opened.referenced();
    let object = referenced.object();
    locked(&kernel.io().files.0).insert(object.expose_provenance(), (referenced, 1));
    // The handle is closed, and the reference to the file object stays.
    opened.close();
    // SAFETY: the caller passes memory for the answers.
    unsafe { file.write(object) };
    // SAFETY: as above.
    unsafe { device.write(inner.top()) };
    STATUS_SUCCESS
}
