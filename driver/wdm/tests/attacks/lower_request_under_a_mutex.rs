//! A thread waits for the lower drivers while it holds a mutex for which their completion routines could wait.

use wdm::{Lower, Mutex, PassiveLevel};

fn read(bytes: &Mutex<[u8; 4]>, below: &Lower, irql: &mut PassiveLevel) {
    bytes.with(irql, |bytes, irql| {
        let _ = below.read(0, bytes, None, irql); //~ E0308
    });
}
