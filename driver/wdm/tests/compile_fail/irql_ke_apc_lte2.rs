//! IrqlKeApcLte2: what may take long wants PASSIVE_LEVEL, which code that may run at DISPATCH_LEVEL has not.

use wdm::{Error, Zone, irql::NoSpinLockHeld};

fn extend<L: NoSpinLockHeld>(zone: &Zone<u64>, irql: &mut L) -> Result<(), Error> {
    zone.extend(8, irql) //~ E0277
    //~| Waitable
}

fn main() {}
