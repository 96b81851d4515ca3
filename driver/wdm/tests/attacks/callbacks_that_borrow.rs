//! A queue's callbacks borrow from a stack frame.

use wdm::QueueCallbacks;

struct Mine<'a>(&'a u32);
impl<'a> QueueCallbacks for Mine<'a> { //~ E0478
//~^ E0803
    type Record = ();
}
