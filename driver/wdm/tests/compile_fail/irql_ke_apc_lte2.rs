//! IrqlKeApcLte2: a routine that may take long requires PASSIVE_LEVEL, for which code at DISPATCH_LEVEL has no token.

use wdm::{Error, Zone, irql::NoSpinLockHeld};

fn extend<L: NoSpinLockHeld>(zone: &Zone<u64>, irql: &mut L) -> Result<(), Error> {
    zone.extend(8, irql) //~ E0277
    //~| Waitable
}
