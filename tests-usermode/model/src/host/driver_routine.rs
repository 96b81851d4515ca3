//! The routines of a driver, which the kernel calls with the calling convention of the code that contains them.
//!
//! A driver that is linked with this program has the host's convention. A routine of an [image](crate::image) has the Microsoft
//! x64 convention, which on Windows is the host's.

/// A pointer to a routine of a driver.
pub(crate) trait DriverRoutine: Copy {
    /// The parameters, as a tuple.
    type Arguments;
    /// The result.
    type Output;

    /// Calls the routine.
    ///
    /// # Safety
    /// The arguments are valid by the documentation of the routine.
    unsafe fn call(self, arguments: Self::Arguments) -> Self::Output;
}

macro_rules! driver_routines {
    ($(($($argument:ident: $type:ident),*))*) => {
        $(
            impl<R, $($type),*> DriverRoutine for unsafe extern "C" fn($($type),*) -> R {
                type Arguments = ($($type,)*);
                type Output = R;

                unsafe fn call(self, ($($argument,)*): Self::Arguments) -> R {
                    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
                    if crate::image::contains(self as usize) {
                        // SAFETY: the routine is in an image, so it has this convention.
                        let routine = unsafe {
                            std::mem::transmute::<Self, unsafe extern "win64" fn($($type),*) -> R>(self)
                        };
                        // SAFETY: guaranteed by the caller.
                        return unsafe { routine($($argument),*) };
                    }
                    // SAFETY: guaranteed by the caller.
                    unsafe { self($($argument),*) }
                }
            }
        )*
    };
}

driver_routines! {
    (a: A)
    (a: A, b: B)
    (a: A, b: B, c: C)
    (a: A, b: B, c: C, d: D)
    (a: A, b: B, c: C, d: D, e: E)
    (a: A, b: B, c: C, d: D, e: E, f: F)
}
