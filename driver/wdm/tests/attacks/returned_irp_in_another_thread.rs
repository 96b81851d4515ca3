//! The dispatch routine's IRP is sent to another thread after it has returned.

use wdm::{Irp, Returned};

fn send<T: Send>(_: T) {}

fn run(irp: Returned<Irp<'_>>) {
    send(irp); //~ E0277
}
