//! A dispatch routine returns a default value instead of handling its IRP.

use wdm::Handled;

fn lose<'irp>() -> Handled<'irp> {
    Handled::default() //~ E0599
}
