//! The memory manager (`Mm`): memory descriptor lists.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

use core::ffi::c_void;

use crate::{
    IRP, UNICODE_STRING,
    model::{Inline, before},
};

/// A memory descriptor list (MDL): the locked pages of a buffer.
///
/// Headers differ in which names the reserved fields have, so it is declared here, for every set of bindings.
#[repr(C)]
pub struct MDL {
    pub Next: *mut MDL,
    pub Size: i16,
    pub MdlFlags: i16,
    pub Reserved: u32,
    pub Process: *mut c_void,
    pub MappedSystemVa: *mut c_void,
    pub StartVa: *mut c_void,
    pub ByteCount: u32,
    pub ByteOffset: u32,
}

pub const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x1;
pub const MDL_PAGES_LOCKED: i16 = 0x2;
pub const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x4;
/// `IoBuildPartialMdl` has built the MDL.
pub const MDL_PARTIAL: i16 = 0x10;
/// The MDL has a mapping of its own, and is partial.
pub const MDL_PARTIAL_HAS_BEEN_MAPPED: i16 = 0x20;

/// The priority of a mapping that may fail if the system is very low on resources.
pub const NormalPagePriority: u32 = 16;
/// The mapping cannot be written.
pub const MdlMappingNoWrite: u32 = 0x8000_0000;
/// The mapping cannot be executed.
pub const MdlMappingNoExecute: u32 = 0x4000_0000;

/// The `MEMORY_CACHING_TYPE` of the registers of a device.
pub const MmNonCached: i32 = 0;
/// The `MEMORY_CACHING_TYPE` of ordinary memory.
pub const MmCached: i32 = 1;

pub const PAGE_READONLY: u32 = 2;
pub const PAGE_READWRITE: u32 = 4;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn MmIsAddressValid(VirtualAddress: *mut c_void) -> u8;
    pub fn MmMapLockedPagesSpecifyCache(
        MemoryDescriptorList: *mut MDL,
        AccessMode: i8,
        CacheType: i32,
        RequestedAddress: *mut c_void,
        BugCheckOnFailure: u32,
        Priority: u32,
    ) -> *mut c_void;
    /// Returns NULL if there is no such routine. On the model, a routine at the address has the calling convention of an image.
    pub fn MmGetSystemRoutineAddress(SystemRoutineName: *const UNICODE_STRING) -> *mut c_void;
    /// `CacheType` is a `MEMORY_CACHING_TYPE`. Returns NULL if there is no room for the mapping.
    pub fn MmMapIoSpace(PhysicalAddress: i64, NumberOfBytes: usize, CacheType: i32) -> *mut c_void;
    /// `Protect` is [`PAGE_READONLY`] or [`PAGE_READWRITE`], with a bit for the type of cache.
    pub fn MmMapIoSpaceEx(PhysicalAddress: i64, NumberOfBytes: usize, Protect: u32) -> *mut c_void;
    pub fn MmUnmapIoSpace(BaseAddress: *mut c_void, NumberOfBytes: usize);
    /// Locks the pageable section of the driver's image that contains an address; returns a handle to it.
    pub fn MmLockPagableDataSection(AddressWithinSection: *mut c_void) -> *mut c_void;
    pub fn MmLockPagableSectionByHandle(ImageSectionHandle: *mut c_void);
    pub fn MmUnlockPagableImageSection(ImageSectionHandle: *mut c_void);
    pub fn MmPageEntireDriver(AddressWithinSection: *mut c_void) -> *mut c_void;
    pub fn MmResetDriverPaging(AddressWithinSection: *mut c_void);
    pub fn MmMapLockedPages(MemoryDescriptorList: *mut MDL, AccessMode: i8) -> *mut c_void;
    pub fn MmBuildMdlForNonPagedPool(MemoryDescriptorList: *mut MDL);
    /// `Operation` is a `LOCK_OPERATION`. An exception is raised if it fails.
    pub fn MmProbeAndLockPages(MemoryDescriptorList: *mut MDL, AccessMode: i8, Operation: i32);
    pub fn MmUnlockPages(MemoryDescriptorList: *mut MDL);
    pub fn MmUnmapLockedPages(BaseAddress: *mut c_void, MemoryDescriptorList: *mut MDL);
    /// `Irp` may be NULL.
    pub fn IoAllocateMdl(
        VirtualAddress: *mut c_void,
        Length: u32,
        SecondaryBuffer: u8,
        ChargeQuota: u8,
        Irp: *mut IRP,
    ) -> *mut MDL;
    pub fn IoFreeMdl(Mdl: *mut MDL);
    /// A `Length` of zero is the rest of the buffer.
    pub fn IoBuildPartialMdl(
        SourceMdl: *mut MDL,
        TargetMdl: *mut MDL,
        VirtualAddress: *mut c_void,
        Length: u32,
    );
}

// On a processor whose caches are coherent, such as x64, the routine does nothing. So it is imported for ARM64 only.
#[cfg(all(feature = "wdk", target_arch = "aarch64"))]
#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn KeFlushIoBuffers(Mdl: *mut MDL, ReadOperation: u8, DmaOperation: u8);
}

/// Does nothing: the caches are coherent.
///
/// # Safety
/// `Mdl` describes locked pages.
#[cfg(not(all(feature = "wdk", target_arch = "aarch64")))]
#[inline]
pub unsafe fn KeFlushIoBuffers(_Mdl: *mut MDL, _ReadOperation: u8, _DmaOperation: u8) {}

/// The `LOCK_OPERATION` of pages that are read, written, or both.
pub const IoReadAccess: i32 = 0;
pub const IoWriteAccess: i32 = 1;
pub const IoModifyAccess: i32 = 2;

/// `MmGetSystemAddressForMdlSafe`: returns the address at which the kernel can access the pages of an MDL, which are
/// mapped if they are not yet; NULL if that fails.
///
/// # Safety
/// The pages of `mdl` are locked, and no other code maps them at the same time.
#[must_use]
pub unsafe fn MmGetSystemAddressForMdlSafe(mdl: *mut MDL, priority: u32) -> *mut c_void {
    before(Inline::SystemAddressForMdl, mdl.cast());
    // SAFETY: guaranteed by the caller.
    let flags = unsafe { (*mdl).MdlFlags };
    if flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        // SAFETY: as above. The flags say that the field is set.
        return unsafe { (*mdl).MappedSystemVa };
    }
    // SAFETY: guaranteed by the caller. A failure is returned as NULL.
    unsafe {
        MmMapLockedPagesSpecifyCache(
            mdl,
            crate::KERNEL_MODE,
            MmCached,
            core::ptr::null_mut(),
            0,
            priority,
        )
    }
}

/// `MmGetMdlVirtualAddress`: returns the address of the buffer, in the address space that it was locked in.
///
/// # Safety
/// `mdl` is valid.
#[must_use]
pub unsafe fn MmGetMdlVirtualAddress(mdl: *mut MDL) -> *mut c_void {
    // SAFETY: guaranteed by the caller.
    let mdl = unsafe { &*mdl };
    mdl.StartVa.wrapping_byte_add(mdl.ByteOffset as usize)
}

/// `MmPrepareMdlForReuse`: releases the mapping of a partial MDL, before it is built again.
///
/// # Safety
/// `mdl` is valid, and no other code uses it.
pub unsafe fn MmPrepareMdlForReuse(mdl: *mut MDL) {
    // SAFETY: guaranteed by the caller.
    let fields = unsafe { &*mdl };
    let (flags, mapped) = (fields.MdlFlags, fields.MappedSystemVa);
    if flags & MDL_PARTIAL_HAS_BEEN_MAPPED != 0 {
        // SAFETY: the flag says that the MDL is mapped there.
        unsafe { MmUnmapLockedPages(mapped, mdl) };
    }
}

/// Notifies the model kernel that the driver is about to access a user-mode buffer, which user mode can change before. In a
/// driver it does nothing.
pub fn access_user_pages(start: *const u8) {
    before(Inline::UserPages, start.cast());
}
