//! Attacks on the IRPs that come back from the lower driver.

use wdm::{Handled, Irp, NtStatus, PassiveLevel, PendedIrp, Returned, Shared};

/// A request that has come back keeps its mark no longer than its call: it is stored for another.
fn returned_irp_as_static(irp: Returned<Irp<'_>>) -> Returned<Irp<'static>> {
    irp //~ lifetime
}

/// A driver says of a request of its own that the lower drivers have completed it, with what is in its status block.
fn returned_irp_forged(irp: PendedIrp) -> Returned<PendedIrp> {
    Returned(irp) //~ E0423
}

/// The proof of a request that came back is returned for another call of the dispatch routine.
fn returned_irp_of_another_call<'a>(_: &Irp<'a>, other: Irp<'static>, irql: &mut PassiveLevel) -> Handled<'a> {
    other.forward_and_wait(irql).complete(irql) //~ lifetime
}

/// A request that has come back is completed by its owner and as it came.
fn returned_irp_used_after_into_irp(irp: Returned<PendedIrp>, irql: &mut PassiveLevel) {
    match irp.into_irp() {
        Ok(owner) => owner.complete(NtStatus::SUCCESS, irql),
        Err(_) => {}
    }
    irp.complete(irql); //~ E0382
}

/// A filter takes the owner out of a request that has come back by a pattern.
fn returned_open_taken_out_by_a_pattern<'irp>(irp: Returned<Irp<'irp>>) -> Irp<'irp> {
    let Returned(irp) = irp; //~ E0532
    irp
}

/// A request that has come back is coerced to one with another record.
fn returned_record_shortened(irp: Returned<PendedIrp<Shared<u32>>>) -> Returned<PendedIrp<Shared<u64>>> {
    irp //~ E0308
}
