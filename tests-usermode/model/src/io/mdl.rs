//! Direct I/O: the MDL of a request, and the user-mode pages that it describes.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use nt::{
    DISPATCH_LEVEL, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL,
    MDL_PARTIAL_HAS_BEEN_MAPPED, MDL_SOURCE_IS_NONPAGED_POOL,
};

use crate::{
    host::{Call, layout::FREED},
    io::{
        device::DeviceInner,
        irp::{IrpParameters, IrpRecord, zeroed},
        own_mdl::locked_mdl,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The buffer of a request with direct I/O: pages that the driver and user mode share.
pub(crate) struct DirectBuffer {
    pages: Box<UnsafeCell<[u128]>>,
    length: usize,
    /// The content that user mode wrote, if the pages were locked for reading only.
    written_by_user: Option<Mutex<Vec<u8>>>,
}

/// The pages of a request that has ended.
pub(crate) enum UnlockedPages {
    /// The content of the buffer in user mode.
    Output(Vec<u8>),
    /// The driver may only read the pages, but can have changed them.
    Input { changed: bool },
}

impl IrpParameters {
    /// Returns whether the pages of a request with direct I/O are locked for reading only; `None` if the request has no
    /// MDL.
    fn is_locked_for_reading(&self) -> Option<bool> {
        match (self.major, self.code & 3) {
            (nt::IRP_MJ_READ, _) if self.is_direct => Some(false),
            (nt::IRP_MJ_WRITE, _) if self.is_direct => Some(true),
            (
                nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL,
                nt::METHOD_IN_DIRECT,
            ) => Some(true),
            (
                nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL,
                nt::METHOD_OUT_DIRECT,
            ) => Some(false),
            _ => None,
        }
    }

    /// Returns the number of bytes of input and output that share the system buffer.
    pub(crate) fn buffered_lengths(&self) -> (usize, usize) {
        let lengths = (self.input_length, self.output_length);
        match self.major {
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => match self.code & 3 {
                nt::METHOD_BUFFERED => lengths,
                nt::METHOD_IN_DIRECT | nt::METHOD_OUT_DIRECT => (self.input_length, 0),
                _ => (0, 0),
            },
            // The lengths are other parameters of the request.
            nt::IRP_MJ_PNP => (0, 0),
            _ if self.is_direct => (0, 0),
            _ => lengths,
        }
    }
}

impl DeviceInner {
    /// Returns whether the buffers of reads and writes are described by MDLs (`DO_DIRECT_IO`) or copied
    /// (`DO_BUFFERED_IO`); `None` if neither.
    pub(crate) fn is_direct(&self) -> Option<bool> {
        // SAFETY: the device objects of a stack are alive.
        let flags = unsafe { (*self.top()).Flags };
        match flags & (nt::DO_BUFFERED_IO | nt::DO_DIRECT_IO) {
            0 => None,
            flags => Some(flags & nt::DO_DIRECT_IO != 0),
        }
    }
}

impl DirectBuffer {
    /// Locks the pages of a request that has an MDL and a buffer.
    pub(crate) fn lock(parameters: &IrpParameters, input: &[u8], output: &[u8]) -> Option<Self> {
        let is_input = parameters.is_locked_for_reading()?;
        let bytes = if parameters.major == nt::IRP_MJ_WRITE {
            input
        } else {
            output
        };
        if bytes.is_empty() {
            return None;
        }
        let this = Self {
            pages: zeroed(bytes.len()),
            length: bytes.len(),
            written_by_user: is_input.then(|| Mutex::new(bytes.to_vec())),
        };
        this.write(0, bytes);
        Some(this)
    }

    /// Makes the MDL, whose pages are not mapped yet.
    pub(crate) fn mdl(&self) -> MDL {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        locked_mdl(self.pages.get().cast(), length)
    }

    fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: the pages have this length and live as long as `self`. User mode and the driver may access them at
        // any time, by atomics; a driver that breaks this rule has a data race, as on Windows.
        unsafe { std::slice::from_raw_parts(self.pages.get().cast(), self.length) }
    }

    fn read(&self) -> Vec<u8> {
        let bytes = self.bytes().iter();
        bytes.map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let room = self.bytes().iter().skip(offset);
        for (byte, new) in room.zip(bytes) {
            byte.store(*new, Ordering::Relaxed);
        }
    }

    /// Writes to the buffer as user mode, which may do so at any time until the end of the request.
    pub(crate) fn write_as_user(&self, record: &IrpRecord, offset: usize, bytes: &[u8]) {
        let start = self.pages.get().cast::<u8>();
        let _call = Call::enter_visible("user mode writes its buffer", start);
        record.touch();
        // Locked while the pages are written, since the completion unlocks them.
        let state = locked(&record.state);
        if state.completion.is_some() {
            return;
        }
        if let Some(written) = &self.written_by_user {
            let mut written = locked(written);
            let room = written.iter_mut().skip(offset);
            room.zip(bytes).for_each(|(byte, new)| *byte = *new);
        }
        self.write(offset, bytes);
    }

    /// Unlocks the pages of a request that has ended; a later write is an error of the driver. The caller has locked the
    /// request's state.
    pub(crate) fn unlock(&self) -> UnlockedPages {
        let bytes = self.read();
        self.write(0, &vec![FREED; self.length]);
        match &self.written_by_user {
            None => UnlockedPages::Output(bytes),
            Some(written) => UnlockedPages::Input {
                changed: *locked(written) != bytes,
            },
        }
    }

    /// Returns whether the pages were written to since they were unlocked.
    pub(in crate::io) fn is_used_after_unlock(&self) -> bool {
        let mut bytes = self.bytes().iter();
        bytes.any(|byte| byte.load(Ordering::Relaxed) != FREED)
    }
}

impl Call {
    /// Returns the request of an MDL, which has not ended.
    pub(in crate::io) fn request_of_mdl(&self, mdl: *mut MDL) -> Arc<IrpRecord> {
        let record = self.kernel.io().find_around(mdl.addr());
        let Some(record) = record.filter(|record| record.mdl() == mdl) else {
            let (rule, what) = if self.kernel.io().mdls.was_freed(mdl) {
                (Rule::Mdl, "is an MDL that was freed")
            } else {
                (Rule::Pointer, "is not the MDL of a request")
            };
            let bug_check = BugCheck(0x50, [mdl.addr() as u64, 0, 0, 0]);
            self.stop(bug_check, rule, format!("{mdl:?} {what}"))
        };
        self.live_irp(record.raw());
        record
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpagesspecifycache)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut MDL,
    mode: i8,
    _cache: i32,
    _requested: *mut c_void,
    bug_check_on_failure: u32,
    _priority: u32,
) -> *mut c_void {
    let call = Call::enter_noted("MmMapLockedPagesSpecifyCache");
    call.require(bug_check_on_failure == 0, Rule::Mdl, || {
        let what = "BugCheckOnFailure is TRUE: drivers set it to FALSE, and expect NULL";
        (BugCheck::verifier(0x82, [mdl.addr() as u64, 0, 0]), what)
    });
    map(&call, mdl, mode, true)
}

/// The obsolete routine, which stops the system if it fails for kernel mode.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpages)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmMapLockedPages(mdl: *mut MDL, mode: i8) -> *mut c_void {
    map(&Call::enter_noted("MmMapLockedPages"), mdl, mode, false)
}

fn map(call: &Call, mdl: *mut MDL, mode: i8, can_fail: bool) -> *mut c_void {
    let is_user = mode != 0;
    let (highest, code) = if is_user {
        (1, 0x77)
    } else {
        (DISPATCH_LEVEL, 0xe5)
    };
    call.require_at_most(highest, Rule::Irql, code);
    call.require_mdl(mdl);
    // SAFETY: the MDL is the driver's, or that of a request that has not ended, whose driver is the caller.
    let fields = unsafe { &mut *mdl };
    let start = fields.StartVa.wrapping_byte_add(fields.ByteOffset as usize);
    let is_mapped = !is_user && fields.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA != 0;
    call.require(!is_mapped, Rule::Mdl, || "the MDL is mapped again");
    let is_partial = fields.MdlFlags & MDL_PARTIAL != 0;
    // Such pages are mapped for the system as long as they exist.
    let is_nonpaged = fields.MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL != 0;
    let is_locked = fields.MdlFlags & MDL_PAGES_LOCKED != 0 || is_partial || is_user && is_nonpaged;
    call.require(
        is_locked,
        Rule::Mdl,
        || "the pages of the MDL are mapped, and are not locked",
    );
    if is_user {
        // The model has one address space.
        call.kernel.io().mdls.map_for_user(mdl, start);
        return start;
    }
    if can_fail && call.kernel.fails() {
        return null_mut();
    }
    fields.MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
    if is_partial {
        fields.MdlFlags |= MDL_PARTIAL_HAS_BEEN_MAPPED;
    }
    fields.MappedSystemVa = start;
    start
}
