//! The owner of a record is made twice from its pointer.

use wdm::{Record, Shared};

fn two(record: Shared<u32>) -> Shared<u32> {
    let raw = record.into_raw();
    Shared::from_raw(raw) //~ E0133
}
