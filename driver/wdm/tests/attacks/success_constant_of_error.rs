//! The constant `Error::SUCCESS` is used.

#![forbid(unsafe_code)]

fn main() {
    let _ = wdm::Error::SUCCESS; //~ E0599
}
