//! The constant `Error::SUCCESS` is used.

fn attack() {
    let _ = wdm::Error::SUCCESS; //~ E0599
}
