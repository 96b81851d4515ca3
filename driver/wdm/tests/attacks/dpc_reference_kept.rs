//! A DPC routine keeps the reference to its DPC, past the drop of the DPC.

use std::sync::Mutex;
use wdm::{Dpc, DpcRoutine, irql::DispatchLevel};

struct Mine(Mutex<Option<&'static Dpc<Mine>>>);
impl DpcRoutine for Mine {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        *dpc.0.lock().unwrap() = Some(dpc); //~ E0521
    }
}
