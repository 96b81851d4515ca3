//! A token is not sent to another thread, since it states the IRQL of the thread that it was lent to.

use wdm::PassiveLevel;

fn run_elsewhere(irql: &mut PassiveLevel) {
    fn another_thread(_: impl Send) {}
    another_thread(irql); //~ E0277
    //~| `Send`
}
