//! An IRP that opens a file is sent to another thread, which could keep it after the dispatch routine has returned.

use wdm::FileIrp;

fn send(irp: FileIrp<'static>) {
    fn is_send<T: Send>(_: T) {}
    is_send(irp); //~ E0277
}
