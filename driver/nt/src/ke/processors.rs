//! Processors, and the affinity of threads to them.

use crate::NTSTATUS;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// The number of processors. In C it is `*KeNumberProcessors` on systems since Windows 7, which have the routines below.
    pub static KeNumberProcessors: i8;
    /// Returns a `KAFFINITY` with a bit for each active processor.
    pub fn KeQueryActiveProcessors() -> usize;
    pub fn KeQueryMaximumProcessorCount() -> u32;
    pub fn KeQueryActiveGroupCount() -> u16;
    pub fn KeQueryMaximumGroupCount() -> u16;
    /// Returns a `KAFFINITY` with a bit for each active processor of a group.
    pub fn KeQueryGroupAffinity(GroupNumber: u16) -> usize;
    pub fn KeGetProcessorNumberFromIndex(
        ProcIndex: u32,
        ProcNumber: *mut PROCESSOR_NUMBER,
    ) -> NTSTATUS;
    pub fn KeGetProcessorIndexFromNumber(ProcNumber: *mut PROCESSOR_NUMBER) -> u32;
    pub fn KeSetSystemAffinityThread(Affinity: usize);
    pub fn KeRevertToUserAffinityThread();
    /// Returns the previous system affinity, or zero.
    pub fn KeSetSystemAffinityThreadEx(Affinity: usize) -> usize;
    pub fn KeRevertToUserAffinityThreadEx(Affinity: usize);
    /// `PreviousAffinity` may be NULL.
    pub fn KeSetSystemGroupAffinityThread(
        Affinity: *mut GROUP_AFFINITY,
        PreviousAffinity: *mut GROUP_AFFINITY,
    );
    pub fn KeRevertToUserGroupAffinityThread(PreviousAffinity: *mut GROUP_AFFINITY);
}

/// A processor, by its number in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PROCESSOR_NUMBER {
    pub Group: u16,
    pub Number: u8,
    pub Reserved: u8,
}

/// Some processors of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GROUP_AFFINITY {
    /// A `KAFFINITY`.
    pub Mask: usize,
    pub Group: u16,
    pub Reserved: [u16; 3],
}

/// `INVALID_PROCESSOR_INDEX`
pub const INVALID_PROCESSOR_INDEX: u32 = u32::MAX;
