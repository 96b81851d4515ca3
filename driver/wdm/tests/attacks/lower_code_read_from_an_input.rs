//! A program chooses the code with which the driver calls the lower device.

use wdm::{ControlCode, Error, Irp};

fn chosen(irp: &Irp<'_>) -> Result<ControlCode, Error> {
    irp.input::<ControlCode>() //~ E0277
}
