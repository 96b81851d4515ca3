//! Mappings of a device's memory. Each mapping has memory of its own, which is zeroed.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmapiospace)

use std::{
    ffi::c_void,
    ptr::{NonNull, null_mut},
    sync::{Arc, Mutex},
};

use nt::{DISPATCH_LEVEL, PAGE_READONLY, PAGE_READWRITE};
use region::{Allocation, Protection};

use crate::{
    host::{Call, Kernel, footprint, layout::PAGE_SIZE},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The mappings, and those that were ended, whose pages are closed.
#[derive(Default)]
pub(in crate::io) struct IoSpace(Mutex<Vec<Mapping>>);

struct Mapping {
    physical: u64,
    size: usize,
    start: usize,
    is_mapped: bool,
    pages: Allocation,
}

// SAFETY: the pages belong to no thread.
unsafe impl Send for Mapping {}

impl Kernel {
    /// Returns the memory at which a driver has mapped a physical address with `MmMapIoSpace`, so that a test can play the device. It
    /// stays until the kernel is dropped, but cannot be accessed after `MmUnmapIoSpace`.
    #[must_use]
    pub fn mapped(self: &Arc<Self>, physical: u64) -> Option<NonNull<u8>> {
        let mappings = locked(&self.io().device_memory.0);
        let mut mapped = mappings.iter().filter(|mapping| mapping.is_mapped);
        mapped.find_map(|mapping| {
            let offset = usize::try_from(physical.checked_sub(mapping.physical)?).ok()?;
            let start = std::ptr::with_exposed_provenance_mut::<u8>(mapping.start);
            (offset < mapping.size).then(|| NonNull::new(start.wrapping_add(offset)))?
        })
    }
}

impl Call {
    fn map_io_space(&self, physical: i64, size: usize, protect: u32) -> *mut c_void {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        footprint::touch_everything();
        self.require(size != 0, Rule::IoSpace, || "no bytes are mapped");
        let access = match protect & 0xff {
            PAGE_READONLY => Protection::READ,
            PAGE_READWRITE => Protection::READ_WRITE,
            _ => return null_mut(),
        };
        if self.kernel.fails() {
            return null_mut();
        }
        let offset = physical.cast_unsigned() % PAGE_SIZE as u64;
        let offset = usize::try_from(offset).unwrap_or_default();
        let Ok(pages) = region::alloc(offset + size, access) else {
            return null_mut();
        };
        let start = pages.as_ptr::<u8>().expose_provenance() + offset;
        let mapping = Mapping {
            physical: physical.cast_unsigned(),
            size,
            start,
            is_mapped: true,
            pages,
        };
        locked(&self.kernel.io().device_memory.0).push(mapping);
        std::ptr::with_exposed_provenance_mut(start)
    }

    /// Stops the system if a mapping remains when its driver is unloaded.
    pub(in crate::io) fn require_no_io_space(&self) {
        let mappings = locked(&self.kernel.io().device_memory.0);
        let left = mappings.iter().find(|mapping| mapping.is_mapped);
        let left = left.map(|mapping| mapping.physical);
        drop(mappings);
        self.require(left.is_none(), Rule::IoSpace, || {
            let physical = left.unwrap_or_default();
            let what = format!(
                "the driver is unloaded, and has not called MmUnmapIoSpace for the physical address {physical:#x}"
            );
            (BugCheck(0xce, [0; 4]), what)
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmMapIoSpace(physical: i64, size: usize, _cache: i32) -> *mut c_void {
    Call::enter("MmMapIoSpace").map_io_space(physical, size, PAGE_READWRITE)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmapiospaceex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmMapIoSpaceEx(physical: i64, size: usize, protect: u32) -> *mut c_void {
    Call::enter("MmMapIoSpaceEx").map_io_space(physical, size, protect)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmunmapiospace)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmUnmapIoSpace(base: *mut c_void, size: usize) {
    let call = Call::enter_shared("MmUnmapIoSpace").at_most(DISPATCH_LEVEL);
    let mut mappings = locked(&call.kernel.io().device_memory.0);
    let is_meant = |mapping: &&mut Mapping| mapping.is_mapped && mapping.start == base.addr();
    let found = mappings.iter_mut().find(is_meant);
    let mapped = found.map(|mapping| {
        if mapping.size == size {
            mapping.is_mapped = false;
            let (start, length) = (mapping.pages.as_ptr::<u8>(), mapping.pages.len());
            // SAFETY: the pages are the mapping's, and the driver that accesses them later breaks a rule.
            let _ = unsafe { region::protect(start, length, Protection::NONE) };
        }
        mapping.size
    });
    drop(mappings);
    call.require(mapped == Some(size), Rule::IoSpace, || {
        let how = mapped.map_or_else(
            || "is not mapped".into(),
            |mapped| format!("is mapped with {mapped} bytes"),
        );
        let what = format!("{size} bytes at {base:?} are unmapped, which {how}");
        (BugCheck(0xda, [0; 4]), what)
    });
}
