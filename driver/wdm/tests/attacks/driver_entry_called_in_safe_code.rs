//! Safe code calls the entry point with its own driver object.

#![forbid(unsafe_code)]

fn call<D: wdm::Device>() -> i32 {
    wdm::entry::<D>(core::ptr::null_mut(), core::ptr::null_mut()) //~ E0133
}

fn main() {}
