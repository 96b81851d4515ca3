//! A DPC has a context that is not `Sync`, which two processors could use.

use core::cell::Cell;
use wdm::{Dpc, DpcRoutine, irql::DispatchLevel};

struct Mine(Cell<u32>);
impl DpcRoutine for Mine { //~ E0277
    fn run(_: &Dpc<Self>, _: &mut DispatchLevel) {}
}
