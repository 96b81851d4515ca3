//! A driver with data for each open file, in `FsContext`.

use std::sync::Arc;

use nt::{DEVICE_OBJECT, FILE_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use ntmodel::{Access, Driver, Kernel};

use crate::{
    frame::{CORRECT, Lock, allocate, free},
    steps::{FIRST, Stage, Steps, complete, entry},
};

const FREES_AT_CLEANUP: u8 = 1;
const FREES_TWICE: u8 = 2;
const LEAVES_DATA_OF_FAILED_CREATE: u8 = 3;
const FREES_NEVER: u8 = 4;
/// The correct driver that refuses to be opened.
const REFUSES: u8 = 10;

struct Files<const M: u8>;

fn context(irp: *mut IRP) -> *mut Lock {
    nt!(irp::file_contexts(irp))[0].cast()
}

impl<const M: u8> Steps for Files<M> {
    type Own = u64;

    fn other(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        match nt!(irp::major_function(irp)) {
            nt::IRP_MJ_CREATE => {
                let data = allocate::<Lock>();
                // SAFETY: the block was allocated.
                unsafe { &*data }.initialise();
                if matches!(M, REFUSES | LEAVES_DATA_OF_FAILED_CREATE) {
                    // The file gets no IRP_MJ_CLOSE.
                    if M == REFUSES {
                        free(data);
                    }
                    return complete(irp, STATUS_UNSUCCESSFUL);
                }
                let contexts = [data.cast(), std::ptr::null_mut()];
                nt!(irp::set_file_contexts(irp, contexts));
            }
            nt::IRP_MJ_CLOSE if M != FREES_AT_CLEANUP && M != FREES_NEVER => free(context(irp)),
            _ => {}
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let data = context(irp);
        // SAFETY: a correct driver keeps it until the file is closed.
        unsafe { &*data }.with(|| ());
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(_: &u64, file: *mut FILE_OBJECT) {
        if matches!(M, FREES_AT_CLEANUP | FREES_TWICE) {
            // SAFETY: the I/O manager passes the file object.
            free(unsafe { (*file).FsContext }.cast::<Lock>());
        }
    }
}

/// One thread closes the handle while another one sends a request on it.
fn closed<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Files<M>>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        drop(file.device_control(FIRST, &[], Vec::new()));
    });
    stage.file.close_handle();
    other.join();
    stage.tear_down();
}

fn refused<const M: u8>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<Files<M>>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    assert!(device.open_anyway(Access::ReadWrite).is_err());
    device.remove().expect("no file is open");
    driver.unload();
}

pairs! {
    data_of_a_file_is_freed_while_a_request_uses_it:
        closed::<FREES_AT_CLEANUP>, closed::<CORRECT>, FreedMemory, "";
    data_of_a_file_is_freed_by_cleanup_and_close:
        closed::<FREES_TWICE>, closed::<CORRECT>, Pool, "was freed before";
    data_of_a_file_that_was_not_opened_is_not_freed:
        refused::<LEAVES_DATA_OF_FAILED_CREATE>, refused::<REFUSES>, Pool, "not freed";
    data_of_a_closed_file_is_not_freed:
        closed::<FREES_NEVER>, closed::<CORRECT>, Pool, "not freed";
}
