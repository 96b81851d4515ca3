//! One proof is returned for two IRPs.

#![forbid(unsafe_code)]

fn two<'irp>(handled: wdm::Handled<'irp>) -> (wdm::Handled<'irp>, wdm::Handled<'irp>) {
    (handled, handled) //~ E0382
}

fn main() {}
