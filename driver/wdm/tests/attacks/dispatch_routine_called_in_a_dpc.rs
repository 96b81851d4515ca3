//! A DPC calls the dispatch routine with the DPC's token.

use wdm::{Device, Handled, Irp, irql::DispatchLevel};

fn run<'irp, D: Device>(device: &D, irp: Irp<'irp>, file: &D::File, irql: &mut DispatchLevel) -> Handled<'irp> {
    device.device_control(irp, file, irql) //~ E0308
}
