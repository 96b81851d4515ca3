//! `before_completion` keeps the view of the IRP.

use core::cell::Cell;
use wdm::{IrpView, NtStatus, QueueCallbacks, irql::NoSpinLockHeld};

struct Keep<'a>(Cell<Option<&'a IrpView>>);
fn keep<L: NoSpinLockHeld>(kept: &Keep<'_>, irp: &IrpView, _: NtStatus, _: &mut L) {
    kept.0.set(Some(irp)); //~ lifetime
}
fn none<C: QueueCallbacks>() {}
