//! Safe code calls the entry point of a control device's driver, which would make the device a second time.

fn call<D: wdm::ControlDevice>() -> i32 {
    wdm::control_entry::<D>(core::ptr::null_mut(), core::ptr::null_mut()) //~ E0133
}
