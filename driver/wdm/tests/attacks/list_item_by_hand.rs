//! Safe code implements the links of an item.

use core::ptr::NonNull;

struct Mine;
impl wdm::ListItem for Mine { //~ E0200
    fn entry(&self) -> NonNull<nt::LIST_ENTRY> { //~ E0433
        NonNull::dangling()
    }
    fn into_entry(self) -> NonNull<nt::LIST_ENTRY> { //~ E0433
        NonNull::dangling()
    }
    unsafe fn from_entry(_: NonNull<nt::LIST_ENTRY>) -> Self { //~ E0433
        //~^ unsafe_code
        Self
    }
}
