//! One `Handled` is returned for two IRPs.

fn two<'irp>(handled: wdm::Handled<'irp>) -> (wdm::Handled<'irp>, wdm::Handled<'irp>) {
    (handled, handled) //~ E0382
}
