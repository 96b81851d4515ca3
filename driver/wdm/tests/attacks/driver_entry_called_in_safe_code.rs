//! Safe code calls the entry point with its own driver object.

fn call<D: wdm::Device>() -> i32 {
    wdm::entry::<D>(core::ptr::null_mut(), core::ptr::null_mut()) //~ E0133
}
