//! The IRPs that drivers allocate.

use core::ffi::c_void;

use nt::{IO_STACK_LOCATION, IRP, MDL};

use super::{
    free,
    irp::{cancel, set_current},
    make, routines,
};

/// An IRP with a stack location for the lower driver.
#[repr(C)]
struct Packet {
    irp: IRP,
    stack: [IO_STACK_LOCATION; 1],
}

routines! {
    fn IoAllocateIrp(_stack_size: i8, _quota: u8) -> *mut IRP {
        // SAFETY: zero is valid for every field.
        let packet = make(unsafe { core::mem::zeroed::<Packet>() });
        let irp = packet.cast::<IRP>();
        // SAFETY: this thread owns the IRP; the same holds for all blocks below.
        unsafe { (*irp).StackCount = 1 };
        // SAFETY: as above.
        unsafe { (*irp).CurrentLocation = 2 };
        // SAFETY: as above; only the address is computed.
        let stack = unsafe { &raw mut (*packet).stack }.cast::<IO_STACK_LOCATION>();
        // SAFETY: as above.
        unsafe { set_current(irp, stack.wrapping_add(1)) };
        irp
    }

    fn IoFreeIrp(irp: *mut IRP) {
        // SAFETY: the caller owns the IRP and gives it up.
        unsafe { free(irp.cast::<Packet>()) };
    }

    fn IoCancelIrp(irp: *mut IRP) -> u8 {
        // SAFETY: the caller keeps the IRP.
        u8::from(unsafe { cancel(irp) })
    }

    fn IoAllocateMdl(_address: *mut c_void, _length: u32, _secondary: u8, _quota: u8, _irp: *mut IRP) -> *mut MDL {
        unreachable!("the bus driver has no direct I/O")
    }

    fn MmBuildMdlForNonPagedPool(_mdl: *mut MDL) {}

    fn IoFreeMdl(_mdl: *mut MDL) {}
}
