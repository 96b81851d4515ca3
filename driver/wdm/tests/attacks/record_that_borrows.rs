//! A record that borrows from the dispatch routine's stack frame outlives it.

use wdm::{Irp, ZoneBox};

fn attach<'a>(irp: Irp<'_>, record: ZoneBox<&'a u32>) {
    let _ = irp.with_record(record); //~ E0521
}
