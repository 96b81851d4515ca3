//! Uses of an IRP and its file object by a driver after it has completed the IRP.

#[macro_use]
mod call;
mod steps;

use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS};
use ntmodel::Rule;
use steps::{Steps, breaks, complete, holds, one_request};

const CORRECT: u8 = 0;
const READS_STATUS: u8 = 1;
const DEREFERENCES_TWICE: u8 = 2;
const WRITES: u8 = 3;

/// References the file object of a request beyond the request's end.
struct References<const M: u8>;

impl<const M: u8> Steps for References<M> {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        let file = nt!(irp::file_object(irp)).cast();
        nt!(ObfReferenceObject(file));
        let status = complete(irp, STATUS_SUCCESS);
        nt!(ObfDereferenceObject(file));
        if M == DEREFERENCES_TWICE {
            nt!(ObfDereferenceObject(file));
        }
        if M == WRITES {
            nt!(irp::set_information(irp, 0));
        }
        if M == READS_STATUS {
            return nt!(irp::status(irp));
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
    let scenario = one_request::<References<DEREFERENCES_TWICE>>;
    let text = "the driver has no reference to it";
    breaks(scenario, Rule::Reference, text);
}

#[test]
fn status_is_read_in_a_completed_irp() {
    let scenario = one_request::<References<READS_STATUS>>;
    let text = "keep it in a variable";
    breaks(scenario, Rule::CompletedIrp, text);
}

#[test]
fn a_completed_irp_is_written() {
    let text = "was written after";
    breaks(one_request::<References<WRITES>>, Rule::CompletedIrp, text);
}
