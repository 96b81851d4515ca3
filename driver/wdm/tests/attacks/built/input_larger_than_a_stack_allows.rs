//! A request of 65,536 bytes is read onto the kernel stack.

use wdm::IrpView;

pub fn read(irp: &IrpView) -> bool {
    irp.input::<[u8; 65536]>().is_ok() //~? E0080
    //~| input_ref
}
