//! A power reference is given to two requests.

use wdm::{Irp, PowerReference};

fn twice<'a, 'b>(
    one: Irp<'a>,
    other: Irp<'b>,
    reference: PowerReference,
) -> (Irp<'a, PowerReference>, Irp<'b, PowerReference>) {
    (one.with_record(reference), other.with_record(reference)) //~ E0382
}

fn main() {}
