//! A queue's callback keeps the token that it is lent.

use wdm::{IrpView, NtStatus, irql::ObjectHeld};

struct Keep<'a>(Option<&'a mut ObjectHeld>);
fn before_completion(kept: &mut Keep<'_>, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
    kept.0 = Some(irql); //~ lifetime
}
