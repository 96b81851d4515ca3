//! A token is read from a request's input.

use wdm::{IrpView, PassiveLevel};

fn forge(irp: &IrpView) -> Option<PassiveLevel> {
    irp.input().ok() //~ E0277
}
