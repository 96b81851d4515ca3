//! Open files, through which user mode sends requests.

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nt::{
    FILE_OBJECT, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_FLUSH_BUFFERS,
    IRP_MJ_READ, IRP_MJ_WRITE,
};

use crate::{
    host::{
        Call, Kernel, footprint,
        thread::{Attached, Thread},
    },
    io::{Completion, Request, bus, device::DeviceInner, irp::IrpParameters},
    verifier::{BugCheck, Rule},
};

const STATUS_ACCESS_DENIED: i32 = nt::STATUS_ACCESS_DENIED;
const STATUS_INVALID_HANDLE: i32 = nt::STATUS_INVALID_HANDLE;

/// The access that a file is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To read and write.
    ReadWrite,
    /// To query attributes, and to send the IOCTLs that need no access (`FILE_ANY_ACCESS`), as `CreateFile` with no access does.
    Attributes,
}

/// The rights that a read and a write need. An IOCTL code has the same bits for `FILE_READ_ACCESS` and `FILE_WRITE_ACCESS`.
const FILE_READ_DATA: u32 = 1;
const FILE_WRITE_DATA: u32 = 2;

pub(in crate::io) const FILE_READ_ATTRIBUTES: u32 = 0x80;

impl Access {
    /// Returns the rights to the device object that an open with this access needs.
    pub(crate) const fn rights(self) -> u32 {
        match self {
            Self::Attributes => FILE_READ_ATTRIBUTES | nt::SYNCHRONIZE,
            Self::Read => nt::FILE_GENERIC_READ,
            Self::Write => nt::FILE_GENERIC_WRITE,
            Self::ReadWrite => nt::FILE_GENERIC_READ | nt::FILE_GENERIC_WRITE,
        }
    }
}

/// How a file is opened.
pub(crate) struct Opening {
    /// The rights to the device object, none of which is generic.
    pub(crate) access: u32,
    /// The part of the name after the device's name.
    pub(crate) name: String,
    /// The address of the device object whose name is opened; `None` for the physical device object, by the name of an interface.
    pub(crate) object: Option<usize>,
    /// Whether a driver opens it.
    pub(crate) by_kernel: bool,
}

impl Opening {
    /// An opening by user mode of the device itself.
    pub(crate) const fn of_user(access: Access) -> Self {
        Self {
            access: access.rights(),
            name: String::new(),
            object: None,
            by_kernel: false,
        }
    }
}

/// The offset of `FileName` in `FILE_OBJECT.Reserved`, in words.
const FILE_NAME: usize = 6;

/// A file object.
pub(crate) struct FileInner {
    object: Box<UnsafeCell<MaybeUninit<FILE_OBJECT>>>,
    /// The buffer of its name.
    _name: Vec<u16>,
    access: u32,
    by_kernel: bool,
    device: Arc<DeviceInner>,
    /// The address of the device object on which it is opened.
    opened: usize,
    /// The number of IRPs that have not ended.
    irps: AtomicUsize,
    /// Whether the handle is closed: no further system call finds the file.
    handle_closed: AtomicBool,
    /// Whether `IRP_MJ_CLEANUP` has ended too, so that `IRP_MJ_CLOSE` follows the last IRP.
    is_closed: AtomicBool,
    close_sent: AtomicBool,
}

// SAFETY: only the driver reads the object; this crate uses only its address.
unsafe impl Send for FileInner {}
// SAFETY: as above.
unsafe impl Sync for FileInner {}

impl FileInner {
    pub(crate) fn object(&self) -> *mut FILE_OBJECT {
        self.object.get().cast()
    }

    /// The rights to the device object that it was opened with.
    pub(in crate::io) fn access(&self) -> u32 {
        self.access
    }

    /// The mode of its requests.
    pub(crate) fn requestor_mode(&self) -> i8 {
        i8::from(!self.by_kernel)
    }

    /// Records that the current step reads or changes the file. The order in which IRPs are counted in and off makes no
    /// difference until the file is closed.
    fn touch(&self, access: footprint::Access) {
        footprint::touch(self.object().addr(), access);
    }

    fn counting(&self) -> footprint::Access {
        if self.is_closed.load(Ordering::SeqCst) {
            footprint::Access::Exclusive
        } else {
            footprint::Access::Commuting
        }
    }

    pub(crate) fn add_irp(&self) {
        self.touch(self.counting());
        self.irps.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes an IRP. After the last IRP of a closed file `IRP_MJ_CLOSE` is sent at `PASSIVE_LEVEL`: at the end of the
    /// current system call, or by a worker thread.
    pub(crate) fn irp_ended(self: &Arc<Self>, call: &Call) {
        call.synchronise_as(self.object().addr(), self.counting());
        let last = self.irps.fetch_sub(1, Ordering::SeqCst) == 1;
        if !last || !self.is_closed.load(Ordering::SeqCst) {
            return;
        }
        call.kernel.io().defer(Arc::clone(self));
        if !call.is_user() {
            Thread::new_system(&call.kernel, "system worker thread").start(|kernel| {
                kernel.close_deferred(&Call::enter_noted("IRP_MJ_CLOSE"));
            });
        }
    }

    /// Sends `IRP_MJ_CLOSE`, once, when the file is closed and its last IRP has ended.
    fn close(self: &Arc<Self>, call: &Call) {
        self.touch(footprint::Access::Exclusive);
        let over = self.is_closed.load(Ordering::SeqCst) && self.irps.load(Ordering::SeqCst) == 0;
        if over && !self.close_sent.swap(true, Ordering::SeqCst) {
            call.synchronise(self.object().addr());
            call.kernel.io().files.closing(self);
            self.send(call, IRP_MJ_CLOSE);
            self.release_device(call);
        }
    }

    /// Releases the file's reference to its device object, and removes the file.
    fn release_device(self: &Arc<Self>, call: &Call) {
        call.synchronise(self.device.object().addr());
        let devices = &call.kernel.io().devices;
        devices.count_file(std::ptr::with_exposed_provenance_mut(self.opened), -1);
        devices.io_dereference(self.device.object().addr());
        self.device.file_closed(call);
    }

    /// Sends a request without parameters, and waits until it ends.
    fn send(self: &Arc<Self>, call: &Call, major: usize) -> i32 {
        let parameters = IrpParameters {
            major,
            code: if major == nt::IRP_MJ_CREATE {
                self.access
            } else {
                0
            },
            ..IrpParameters::default()
        };
        let device = self.device.top();
        let record = call.new_irp(device, parameters, Some(self), &[], Vec::new());
        call.send_and_wait(device, &record)
    }
}

impl Kernel {
    /// Sends the deferred `IRP_MJ_CLOSE` requests.
    pub(crate) fn close_deferred(&self, call: &Call) {
        for file in self.io().take_deferred() {
            file.close(call);
        }
    }
}

/// An open file of a device. Dropping it closes it, whether or not requests are pending.
pub struct File {
    kernel: Arc<Kernel>,
    inner: Arc<FileInner>,
}

impl File {
    /// Opens a device.
    pub(crate) fn open(
        call: &Call,
        kernel: &Arc<Kernel>,
        device: &Arc<DeviceInner>,
        opening: &Opening,
    ) -> Result<Self, i32> {
        let object = Box::new(UnsafeCell::new(MaybeUninit::<FILE_OBJECT>::zeroed()));
        // SAFETY: zero is valid for every field, and no other thread knows the object yet.
        let fields = unsafe { &mut *object.get().cast::<FILE_OBJECT>() };
        fields.Type = 5;
        fields.Size = i16::try_from(size_of::<FILE_OBJECT>()).unwrap_or_default();
        let named = opening.object.map(std::ptr::with_exposed_provenance_mut);
        let opened = named.unwrap_or_else(|| device.pdo());
        fields.DeviceObject = opened;
        let mut name: Vec<u16> = opening.name.encode_utf16().chain([0]).collect();
        if !opening.name.is_empty() {
            let name = bus::string_of(&mut name);
            fields.Reserved[FILE_NAME] =
                u64::from(name.Length) | u64::from(name.MaximumLength) << 16;
            fields.Reserved[FILE_NAME + 1] = name.Buffer.expose_provenance() as u64;
        }
        let inner = Arc::new(FileInner {
            object,
            _name: name,
            access: opening.access,
            by_kernel: opening.by_kernel,
            device: Arc::clone(device),
            opened: opened.expose_provenance(),
            irps: AtomicUsize::new(0),
            handle_closed: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            close_sent: AtomicBool::new(false),
        });
        footprint::make(inner.object().addr()..inner.object().addr() + 1);
        // A file object references its device object.
        kernel.io().devices.io_reference(device.object().addr());
        device.file_opened();
        kernel.io().devices.count_file(opened, 1);
        kernel.io().files.opened(&inner);
        let status = inner.send(call, nt::IRP_MJ_CREATE);
        if status < 0 {
            kernel.io().files.closing(&inner);
            inner.release_device(call);
            return Err(status);
        }
        Ok(Self {
            kernel: Arc::clone(kernel),
            inner,
        })
    }

    /// Sends an IOCTL (`NtDeviceIoControlFile`), which may end immediately, later, or when it is cancelled.
    ///
    /// With `METHOD_IN_DIRECT` the driver reads from `output`.
    #[must_use]
    pub fn device_control(&self, code: u32, input: &[u8], output: Vec<u8>) -> Request {
        self.request(IRP_MJ_DEVICE_CONTROL, code, 0, input, output)
    }

    /// Sends an internal device control to the file's device as another driver does, without the file.
    #[must_use]
    pub fn internal_device_control(&self, code: u32, input: &[u8], output: Vec<u8>) -> Request {
        let device = &self.inner.device;
        device.internal_device_control(&self.kernel, code, input, output)
    }

    /// Sends a read (`NtReadFile`).
    ///
    /// The device does buffered or direct I/O (`DO_BUFFERED_IO`, `DO_DIRECT_IO`). With neither, the request fails with
    /// `STATUS_NOT_SUPPORTED`, since the model does not support it. The same applies to [`File::write`].
    #[must_use]
    pub fn read(&self, offset: i64, length: usize) -> Request {
        self.request(IRP_MJ_READ, 0, offset, &[], vec![0; length])
    }

    /// Sends a write (`NtWriteFile`).
    #[must_use]
    pub fn write(&self, offset: i64, bytes: &[u8]) -> Request {
        self.request(IRP_MJ_WRITE, 0, offset, bytes, Vec::new())
    }

    /// Sends a flush, for which the driver writes out its buffered data (`NtFlushBuffersFile`).
    #[must_use]
    pub fn flush(&self) -> Request {
        self.request(IRP_MJ_FLUSH_BUFFERS, 0, 0, &[], Vec::new())
    }

    /// Queries information of the file (`NtQueryInformationFile`), by its `FILE_INFORMATION_CLASS`.
    #[must_use]
    pub fn query_information(&self, class: u32, length: usize) -> Request {
        self.request(nt::IRP_MJ_QUERY_INFORMATION, class, 0, &[], vec![0; length])
    }

    /// Sets information of the file (`NtSetInformationFile`), by its `FILE_INFORMATION_CLASS`.
    #[must_use]
    pub fn set_information(&self, class: u32, bytes: &[u8]) -> Request {
        self.request(nt::IRP_MJ_SET_INFORMATION, class, 0, bytes, Vec::new())
    }

    /// Sends the request of a system call, if the file was opened with the required access.
    fn request(
        &self,
        major: usize,
        code: u32,
        offset: i64,
        input: &[u8],
        output: Vec<u8>,
    ) -> Request {
        let (routine, access) = match major {
            IRP_MJ_READ => ("NtReadFile", FILE_READ_DATA),
            IRP_MJ_WRITE => ("NtWriteFile", FILE_WRITE_DATA),
            IRP_MJ_FLUSH_BUFFERS => ("NtFlushBuffersFile", FILE_WRITE_DATA),
            nt::IRP_MJ_QUERY_INFORMATION => ("NtQueryInformationFile", 0),
            nt::IRP_MJ_SET_INFORMATION => ("NtSetInformationFile", 0),
            _ => ("NtDeviceIoControlFile", (code >> 14) & 3),
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_noted(routine);
        self.inner.touch(footprint::Access::Commuting);
        let kernel = Arc::clone(&self.kernel);
        // The system call references the file, unless the handle is already closed. So IRP_MJ_CLOSE is not sent before
        // the IRP has ended.
        self.inner.add_irp();
        let transfers = matches!(major, IRP_MJ_READ | IRP_MJ_WRITE);
        let is_direct = self.inner.device.is_direct();
        let refused = if self.inner.handle_closed.load(Ordering::SeqCst) {
            Some(STATUS_INVALID_HANDLE)
        } else {
            let lacks = access & !self.inner.access != 0;
            if lacks {
                Some(STATUS_ACCESS_DENIED)
            } else if transfers && is_direct.is_none() {
                Some(nt::STATUS_NOT_SUPPORTED)
            } else {
                None
            }
        };
        if let Some(status) = refused {
            self.inner.irp_ended(&call);
            self.kernel.close_deferred(&call);
            let completion = Completion {
                status,
                information: 0,
                output,
            };
            return Request {
                kernel,
                sent: Err(completion),
                answer: status,
            };
        }
        let parameters = IrpParameters {
            code,
            offset,
            input_length: input.len(),
            output_length: output.len(),
            is_direct: transfers && is_direct == Some(true),
            ..IrpParameters::new(major, 0)
        };
        let device = self.inner.device.top();
        let record = call.new_irp(device, parameters, Some(&self.inner), input, output);
        let answer = call.send(device, &record);
        self.inner.irp_ended(&call);
        self.kernel.close_deferred(&call);
        Request {
            kernel,
            sent: Ok(record),
            answer,
        }
    }

    /// Cancels every request of this file; returns whether there was one.
    pub fn cancel_all(&self) -> bool {
        self.cancel(None)
    }

    /// Cancels every request that the calling thread sent through this file; returns whether there was one.
    pub fn cancel_threads_own(&self) -> bool {
        let _attached = Attached::to(&self.kernel);
        let sender = Call::enter_noted("NtCancelIoFile").number;
        self.cancel(Some(sender))
    }

    fn cancel(&self, sender: Option<u32>) -> bool {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_visible("NtCancelIoFileEx", self.inner.object());
        self.inner.touch(footprint::Access::Exclusive);
        let mut live = self.kernel.io().live_of(&self.inner);
        live.retain(|record| sender.is_none_or(|sender| record.sender == sender));
        let mut found = false;
        for record in &live {
            if !record.is_completed() {
                found = true;
                call.cancel_irp(record);
            }
        }
        self.kernel.close_deferred(&call);
        found
    }

    /// Returns its file object with a reference, which [`FileInner::irp_ended`] releases. So `IRP_MJ_CLOSE` is not sent before.
    pub(crate) fn referenced(&self) -> Arc<FileInner> {
        self.inner.add_irp();
        Arc::clone(&self.inner)
    }

    /// Closes the file, whether or not requests are pending.
    pub fn close(self) {
        drop(self);
    }

    /// Closes the handle while other threads may be in a system call on it. `IRP_MJ_CLEANUP` is sent now, and
    /// `IRP_MJ_CLOSE` when the last of these calls and the last request have ended. Later system calls fail.
    pub fn close_handle(&self) {
        {
            // A system call of another thread can begin before.
            let _attached = Attached::to(&self.kernel);
            Call::enter_noted("NtClose").switch_point("NtClose", self.inner.object().addr());
        }
        self.close_now();
    }

    fn close_now(&self) {
        self.inner.touch(footprint::Access::Exclusive);
        if !self.inner.handle_closed.swap(true, Ordering::SeqCst) {
            self.clean_up();
        }
    }

    fn clean_up(&self) {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_noted("NtClose");
        let sent = self.kernel.io().returned_of(&self.inner);
        self.inner.send(&call, IRP_MJ_CLEANUP);
        for (_, irp) in &sent {
            footprint::touch(*irp, footprint::Access::Exclusive);
        }
        let left = self.kernel.io().live_of(&self.inner);
        let mut left = left.iter().filter(|record| {
            let place = sent.binary_search_by_key(&record.number, |(number, _)| *number);
            place.is_ok()
        });
        // An IRP that is on no queue is being served, and ends later.
        let forgotten = left.find(|record| {
            record.has_cancel_routine()
                && !record.is_cancelled()
                && (record.is_linked() || record.is_on_device_queue())
                && !record.is_completed()
        });
        if let Some(record) = forgotten {
            let bug_check = BugCheck::io(0x200, [0, record.address() as u64, 0]);
            let what = format!("{record} is still queued after the IRP_MJ_CLEANUP of its file");
            call.stop(bug_check, Rule::Cleanup, what);
        }
        self.inner.touch(footprint::Access::Exclusive);
        self.inner.is_closed.store(true, Ordering::SeqCst);
        self.inner.close(&call);
        self.kernel.close_deferred(&call);
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // After the system has stopped, no request is sent, and the thread that drops this value continues.
        if !self.kernel.is_halted() {
            self.close_now();
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let irps = self.inner.irps.load(Ordering::Relaxed);
        f.debug_struct("File")
            .field("irps", &irps)
            .finish_non_exhaustive()
    }
}
