//! IrqlIoApcLte: a routine that requires an IRQL below DISPATCH_LEVEL, such as reading the registry, is not called in a DPC.

use wdm::{RegistryKey, irql::DispatchLevel};

fn in_dpc(registry: &RegistryKey<'_>, irql: &mut DispatchLevel) -> u32 {
    registry.dword("Parameters", "LogLevel", irql).unwrap_or(0) //~ E0277
    //~| Waitable
}
