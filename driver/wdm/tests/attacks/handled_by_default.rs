//! A dispatch routine returns a default value instead of handling its IRP.

#![forbid(unsafe_code)]

use wdm::Handled;

fn lose<'irp>() -> Handled<'irp> {
    Handled::default() //~ E0599
}

fn main() {}
