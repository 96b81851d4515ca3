//! The view of an IRP with one type of record is used as the view of one with another type.

use wdm::{IrpView, Shared};

fn coerce<'a>(it: &'a IrpView<Shared<for<'x> fn(&'x u8)>>) -> &'a IrpView<Shared<fn(&'static u8)>> {
    it //~ E0308
}
