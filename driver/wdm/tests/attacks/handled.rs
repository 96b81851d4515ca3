//! Attacks on the proof that a request was completed or pended.

use wdm::Handled;

/// A dispatch routine returns a default value instead of handling its IRP.
fn handled_by_default<'irp>() -> Handled<'irp> {
    Handled::default() //~ E0599
}

/// The proof of one call is used as that of another call.
fn handled_lengthened<'a>(it: Handled<'a>) -> Handled<'static> {
    it //~ lifetime
}

/// The proof of one call is used as that of a shorter call.
fn handled_shortened<'a>(it: Handled<'static>) -> Handled<'a> {
    it //~ lifetime
}

/// A proof is exchanged with one of another call through a reference.
fn handled_taken_with_replace<'one, 'other>(one: &mut Handled<'one>, other: &mut Handled<'other>) {
    core::mem::swap(one, other); //~ lifetime
    //~^ lifetime
}

/// One proof is returned for two IRPs.
fn handled_used_twice<'irp>(handled: wdm::Handled<'irp>) -> (wdm::Handled<'irp>, wdm::Handled<'irp>) {
    (handled, handled) //~ E0382
}
