//! The error of the name `SUCCESS` is asked for.

#![forbid(unsafe_code)]

fn main() {
    let _ = wdm::Error::SUCCESS; //~ E0599
}
