//! The reply is a reference to the input in the system buffer, which the reply overwrites.

use wdm::{Error, PassiveLevel, PendedIrp};

fn echo(irp: PendedIrp, irql: &mut PassiveLevel) -> Result<(), Error> {
    let input = irp.input_ref::<[u32; 4]>()?;
    irp.complete_with(input, irql); //~ E0505
    Ok(())
}
