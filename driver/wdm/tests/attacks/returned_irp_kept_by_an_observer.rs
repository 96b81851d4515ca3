//! An observer keeps a reference to the request beyond its completion.

use core::cell::Cell;
use wdm::{PendedIrp, Returned};

struct Keep<'a>(Cell<Option<&'a Returned<PendedIrp>>>);
fn keep(kept: &Keep<'_>, irp: &Returned<PendedIrp>) {
    kept.0.set(Some(irp)); //~ lifetime
}
