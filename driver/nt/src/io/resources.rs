//! The hardware resources of a device, which `IRP_MN_START_DEVICE` has.

use crate::{IRP, irp::current_stack_location};
use core::ptr::addr_of;

/// The types of a [`CM_PARTIAL_RESOURCE_DESCRIPTOR`].
pub const CmResourceTypePort: u8 = 1;
pub const CmResourceTypeInterrupt: u8 = 2;
pub const CmResourceTypeMemory: u8 = 3;

/// `Flags` of an interrupt: it is edge-triggered.
pub const CM_RESOURCE_INTERRUPT_LATCHED: u16 = 1;

/// A resource. `u` is two numbers of 32 bits, the level and the vector, and an affinity, if it is an interrupt; or else a physical
/// address of 64 bits and a length of 32 bits.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct CM_PARTIAL_RESOURCE_DESCRIPTOR {
    pub Type: u8,
    pub ShareDisposition: u8,
    pub Flags: u16,
    pub u: [u32; 4],
}

/// A list of resources. `PartialDescriptors` has `Count` elements.
#[repr(C, packed(4))]
pub struct CM_RESOURCE_LIST {
    /// The number of the lists, one for a PnP driver.
    pub ListCount: u32,
    pub InterfaceType: i32,
    pub BusNumber: u32,
    pub Version: u16,
    pub Revision: u16,
    pub Count: u32,
    pub PartialDescriptors: [CM_PARTIAL_RESOURCE_DESCRIPTOR; 0],
}

const _: () = assert!(
    size_of::<CM_PARTIAL_RESOURCE_DESCRIPTOR>() == 0x14 && size_of::<CM_RESOURCE_LIST>() == 0x14
);

/// Returns `Parameters.StartDevice.AllocatedResourcesTranslated` of the current stack location, which is NULL for a device without
/// resources.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MN_START_DEVICE`.
#[must_use]
pub unsafe fn start_device_resources(irp: *mut IRP) -> *mut CM_RESOURCE_LIST {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<[*mut CM_RESOURCE_LIST; 2]>();
    // SAFETY: the caller guarantees that the PnP manager initialised this member of the union, which is two pointers.
    unsafe { parameters.read()[1] }
}
