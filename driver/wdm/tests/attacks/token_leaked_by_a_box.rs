//! A leaked box extends the lifetime of a token to `'static`.

use wdm::PassiveLevel;

fn leak(irql: &mut PassiveLevel) -> &'static mut &'static mut PassiveLevel {
    Box::leak(Box::new(irql)) //~ lifetime
}
