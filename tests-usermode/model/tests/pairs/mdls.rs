//! MDLs of a driver, and the memory that they describe.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::Arc,
};

use nt::{DEVICE_OBJECT, IRP, KEVENT, MDL, NTSTATUS, STATUS_SUCCESS};
use ntmodel::Kernel;

use crate::{
    call::{fill_in, on_completion, sets_event, wait},
    filters::{Function, LATER},
    frame::{CORRECT, TAG, initialise_event},
    steps::{FIRST, Stage, Steps, complete, end_of, entry, lower},
};

const FREES_MDL_EARLY: u8 = 1;
const FREES_BUFFER_EARLY: u8 = 2;

/// Sends a buffer to the driver below, which writes to it.
struct Sends<const M: u8>;

fn block() -> *mut c_void {
    nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 64, TAG))
}

fn mdl_of(block: *mut c_void) -> *mut MDL {
    let mdl = nt!(IoAllocateMdl(block, 64, 0, 0, null_mut()));
    nt!(MmBuildMdlForNonPagedPool(mdl));
    mdl
}

impl<const M: u8> Steps for Sends<M> {
    type Own = UnsafeCell<KEVENT>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        initialise_event(own.get());
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        // SAFETY: the device object is attached to.
        let size = unsafe { (*lower).StackSize };
        let sent = nt!(IoAllocateIrp(size, 0));
        let block = block();
        let mdl = mdl_of(block);
        nt!(set_mdl(sent, mdl));
        fill_in(sent, LATER);
        on_completion(sent, sets_event, own.get().cast());
        nt!(IofCallDriver(lower, sent));
        if M == FREES_MDL_EARLY {
            nt!(IoFreeMdl(mdl));
        }
        if M == FREES_BUFFER_EARLY {
            nt!(ExFreePoolWithTag(block, TAG));
        }
        wait(own.get());
        nt!(IoFreeIrp(sent));
        if M != FREES_MDL_EARLY {
            nt!(IoFreeMdl(mdl));
        }
        if M != FREES_BUFFER_EARLY {
            nt!(ExFreePoolWithTag(block, TAG));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

fn sent<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Sends<M>>]);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

const LEAVES_LOCKED: u8 = 1;
const LEAVES_MAPPED: u8 = 2;
const UNLOCKS_OF_SYSTEM: u8 = 3;

/// Locks the buffer of each request with `METHOD_NEITHER`, and maps a block for user mode.
struct Locks<const M: u8>;

const NEITHER: u32 = 0x22_2017;
const OUT_DIRECT: u32 = 0x22_2012;

impl<const M: u8> Locks<M> {
    fn lock(irp: *mut IRP) {
        // SAFETY: this routine has the IRP.
        let buffer = unsafe { (*irp).UserBuffer };
        let mdl = nt!(IoAllocateMdl(buffer, 64, 0, 0, null_mut()));
        nt!(MmProbeAndLockPages(mdl, 1, 1));
        // As in <https://github.com/wbenny/KSOCKET/issues/2>.
        if M != LEAVES_LOCKED {
            nt!(MmUnlockPages(mdl));
        }
        nt!(IoFreeMdl(mdl));
    }

    /// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmaplockedpagesspecifycache>
    fn map() {
        let block = block();
        let mdl = mdl_of(block);
        let mapped = nt!(MmMapLockedPagesSpecifyCache(
            mdl,
            1,
            nt::MmCached,
            null_mut(),
            0,
            nt::NormalPagePriority
        ));
        if M != LEAVES_MAPPED {
            nt!(MmUnmapLockedPages(mapped, mdl));
        }
        nt!(IoFreeMdl(mdl));
        nt!(ExFreePoolWithTag(block, TAG));
    }
}

impl<const M: u8> Steps for Locks<M> {
    type Own = Cell<u64>;

    fn control(_: *mut DEVICE_OBJECT, _: &Cell<u64>, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == NEITHER {
            Self::lock(irp);
            Self::map();
        } else if M == UNLOCKS_OF_SYSTEM {
            let mdl = nt!(irp::mdl(irp));
            nt!(MmUnlockPages(mdl));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

fn locked<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Locks<M>>(kernel);
    for code in [NEITHER, OUT_DIRECT] {
        end_of(&stage.file.device_control(code, &[], vec![0; 64]));
    }
    stage.tear_down();
}

pairs! {
    mdl_is_freed_while_the_lower_driver_has_its_irp:
        sent::<FREES_MDL_EARLY>, sent::<CORRECT>, Mdl, "was freed";
    buffer_of_an_mdl_is_freed_while_the_lower_driver_has_its_irp:
        sent::<FREES_BUFFER_EARLY>, sent::<CORRECT>, Mdl, "";
    mdl_is_freed_with_its_pages_locked:
        locked::<LEAVES_LOCKED>, locked::<CORRECT>, Mdl, "locked";
    mdl_is_freed_with_its_pages_mapped_for_user_mode:
        locked::<LEAVES_MAPPED>, locked::<CORRECT>, Mdl, "mapped";
    pages_that_the_io_manager_has_locked_are_unlocked:
        locked::<UNLOCKS_OF_SYSTEM>, locked::<CORRECT>, Mdl, "";
}
