//! A second record replaces the first one, which would never be dropped.

use wdm::{Irp, Shared};

fn twice(irp: Irp<'_, Shared<u32>>, record: Shared<u32>) {
    let _ = irp.with_record(record); //~ E0599
}
