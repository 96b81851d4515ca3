//! The driver makes a `Handled` itself.

fn forge<'irp>(irp: wdm::Irp<'irp>) -> wdm::Handled<'irp> {
    core::mem::forget(irp);
    wdm::Handled { status: 0x103, _mark: core::marker::PhantomData } //~ E0451
}
