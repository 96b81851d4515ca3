//! A record is implemented without `unsafe`.

struct Mine;
impl wdm::Record for Mine { //~ E0200
    type Target = ();
    fn into_raw(self) -> *mut () {
        core::ptr::null_mut()
    }
    unsafe fn from_raw(_: *mut ()) -> Self { //~ unsafe_code
        Self
    }
    unsafe fn borrow<'a>(_: *mut ()) -> &'a () { //~ unsafe_code
        &()
    }
}
