//! Executive resources: reader/writer locks for threads at `APC_LEVEL` or below.

use crate::NTSTATUS;

/// An executive resource. Its contents are opaque.
#[repr(C)]
pub struct ERESOURCE {
    pub Reserved: [u64; 13],
}

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn ExInitializeResourceLite(Resource: *mut ERESOURCE) -> NTSTATUS;
    pub fn ExDeleteResourceLite(Resource: *mut ERESOURCE) -> NTSTATUS;
    pub fn ExAcquireResourceExclusiveLite(Resource: *mut ERESOURCE, Wait: u8) -> u8;
    pub fn ExAcquireResourceSharedLite(Resource: *mut ERESOURCE, Wait: u8) -> u8;
    pub fn ExReleaseResourceLite(Resource: *mut ERESOURCE);
    pub fn ExConvertExclusiveToSharedLite(Resource: *mut ERESOURCE);
    pub fn ExIsResourceAcquiredExclusiveLite(Resource: *mut ERESOURCE) -> u8;
    /// Returns how often the thread has acquired the resource, shared or exclusive.
    pub fn ExIsResourceAcquiredSharedLite(Resource: *mut ERESOURCE) -> u32;
    /// The result is a structure that drivers ignore.
    pub fn ExEnterCriticalRegionAndAcquireResourceExclusive(
        Resource: *mut ERESOURCE,
    ) -> *mut core::ffi::c_void;
    pub fn ExEnterCriticalRegionAndAcquireResourceShared(
        Resource: *mut ERESOURCE,
    ) -> *mut core::ffi::c_void;
    pub fn ExReleaseResourceAndLeaveCriticalRegion(Resource: *mut ERESOURCE);
}
