//! A reply to the dispatch routine's IRP is sent to another thread.

use wdm::{Irp, Reply};

fn send<T: Send>(_: T) {}

fn run(irp: Irp<'_>) {
    let reply: Reply<Irp<'_>> = irp.reply();
    send(reply); //~ E0277
}
