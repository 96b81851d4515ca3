//! A token is made to live for ever by a leaked box.

use wdm::PassiveLevel;

fn leak(irql: &mut PassiveLevel) -> &'static mut &'static mut PassiveLevel {
    Box::leak(Box::new(irql)) //~ lifetime
}
