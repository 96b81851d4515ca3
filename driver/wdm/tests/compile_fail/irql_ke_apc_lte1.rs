//! IrqlKeApcLte1: a routine that requires PASSIVE_LEVEL, such as a wait, cannot be called in a DPC.

use wdm::{Error, irql::DispatchLevel, thread};

fn in_dpc(irql: &mut DispatchLevel) -> Result<(), Error> {
    thread::run(1, irql, &|_, _| ()) //~ E0308
    //~| PassiveLevel
}
