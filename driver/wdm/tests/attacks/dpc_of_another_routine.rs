//! A DPC with one routine is coerced to a DPC with another.

use wdm::{Dpc, DpcRoutine, irql::DispatchLevel};

struct R<F>(F);
impl<F: Send + Sync + 'static> DpcRoutine for R<F> {
    fn run(_: &Dpc<Self>, _: &mut DispatchLevel) {}
}

fn coerce<'a>(it: &'a Dpc<R<for<'x> fn(&'x u8)>>) -> &'a Dpc<R<fn(&'static u8)>> {
    it //~ E0308
}
