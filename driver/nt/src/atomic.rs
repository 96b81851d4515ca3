//! Atomics whose accesses the model kernel observes.
//!
//! They are those of [`core::sync::atomic`]. In a driver they have no additional cost; on a host the model kernel is notified before each
//! access, so that it can determine which steps of two threads touch the same variable.

use core::{ops::Deref, sync::atomic};

use crate::model::{Inline, before};

/// An atomic variable. The model kernel is notified before each access.
#[repr(transparent)]
#[derive(Debug)]
pub struct Observed<A>(A);

impl<A> Deref for Observed<A> {
    type Target = A;

    fn deref(&self) -> &A {
        observed(&self.0)
    }
}

/// Notifies the model kernel that a variable is about to be accessed, and returns the variable.
pub fn observed<A>(variable: &A) -> &A {
    before(Inline::Atomic, (&raw const *variable).cast());
    variable
}

impl<T> AtomicPtr<T> {
    /// The address of the variable, for a routine of the kernel that sets it. The model kernel does not observe these accesses.
    pub const fn as_ptr(&self) -> *mut *mut T {
        self.0.as_ptr()
    }
}

macro_rules! atomics {
    ($($name:ident$(<$parameter:ident>)?, $value:ty;)*) => {
        $(
            #[doc = concat!("[`core::sync::atomic::", stringify!($name), "`].")]
            pub type $name$(<$parameter>)? = Observed<atomic::$name$(<$parameter>)?>;

            impl$(<$parameter>)? $name$(<$parameter>)? {
                /// Makes a variable with an initial value.
                #[must_use]
                pub const fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value))
                }
            }
        )*
    };
}

atomics! {
    AtomicBool, bool;
    AtomicU32, u32;
    AtomicUsize, usize;
    AtomicPtr<T>, *mut T;
}
