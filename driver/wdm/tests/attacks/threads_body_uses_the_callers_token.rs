//! The closure that several threads run uses the token of the thread that waits for them, or a request of its dispatch routine.

use wdm::{Irp, NtStatus, PassiveLevel, thread};

fn run(irp: Irp<'_>, irql: &mut PassiveLevel) {
    let mut other = Some(irp);
    let _ = thread::run(2, irql, &|_, irql| { //~ E0277
        if let Some(irp) = other.take() {
            drop(irp.complete(NtStatus::SUCCESS, irql));
        }
    });
}

fn token(irql: &mut PassiveLevel, other: &PassiveLevel) {
    let _ = thread::run(2, irql, &|_, _| drop(other)); //~ E0277
}
