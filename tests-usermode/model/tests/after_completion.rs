//! What a driver does with an IRP and its file object after it has completed the IRP.

mod steps;

use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS};
use ntmodel::Rule;
use steps::{Steps, breaks, complete, holds, one_request};

const CORRECT: u8 = 0;
const READS_STATUS: u8 = 1;
const DEREFERENCES_TWICE: u8 = 2;

/// References the file object of a request beyond the request's end.
struct References<const M: u8>;

impl<const M: u8> Steps for References<M> {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        // SAFETY: the IRP is this routine's.
        let file = unsafe { nt::irp::file_object(irp) }.cast();
        // SAFETY: the file is open.
        unsafe { nt::ObfReferenceObject(file) };
        let status = complete(irp, STATUS_SUCCESS);
        // SAFETY: the file is referenced.
        unsafe { nt::ObfDereferenceObject(file) };
        if M == DEREFERENCES_TWICE {
            // SAFETY: whether this may be done is what is tested; so below.
            unsafe { nt::ObfDereferenceObject(file) };
        }
        if M == READS_STATUS {
            // SAFETY: as above. The model keeps the memory.
            return unsafe { nt::irp::status(irp) };
        }
        status
    }
}

#[test]
fn a_file_object_is_referenced_by_the_driver_of_its_device() {
    holds(one_request::<References<CORRECT>>);
}

#[test]
fn file_object_is_dereferenced_more_often_than_referenced() {
    breaks(
        one_request::<References<DEREFERENCES_TWICE>>,
        Rule::Reference,
        "the driver has no reference to it",
    );
}

#[test]
fn status_is_read_in_a_completed_irp() {
    breaks(
        one_request::<References<READS_STATUS>>,
        Rule::CompletedIrp,
        "keep it in a variable",
    );
}
