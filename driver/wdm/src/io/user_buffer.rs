//! The buffer of a request with direct I/O.

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use zerocopy::FromBytes;

use crate::Error;

/// The buffer of a request with direct I/O: the sender's own pages, which it can change at any time.
///
/// [`Irp::user_buffer`](crate::Irp::user_buffer) and [`PendedIrp::user_buffer`](crate::PendedIrp::user_buffer) lend it. The
/// driver only copies out of it, and checks the copy; there is no reference to its bytes. A [`Reply`](crate::Reply) writes
/// to it.
///
/// WDK: [Using Direct I/O](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-direct-i-o),
/// [MmGetSystemAddressForMdlSafe](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmgetsystemaddressformdlsafe).
///
/// # Examples
///
/// ```
/// use wdm::{Error, Handled, Irp, PassiveLevel};
///
/// /// Takes the first number of a write, of a device with `IoType::Direct`.
/// fn first(irp: &mut Irp<'_>) -> Result<u32, Error> {
///     irp.user_buffer()?.read(0)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver checks a length in the buffer and reads it again when it uses it: another thread of the process has changed it
/// in between. Or it does not check whether `MmGetSystemAddressForMdlSafe` has returned NULL, or uses the address after it
/// has completed the IRP.
#[doc(alias = "MDL")]
#[doc(alias = "MdlAddress")]
#[doc(alias = "MmGetSystemAddressForMdlSafe")]
pub struct UserBuffer<'a> {
    start: NonNull<u8>,
    length: usize,
    _irp: PhantomData<&'a ()>,
}

impl UserBuffer<'_> {
    /// Maps the buffer of an IRP, unless it is mapped already; `is_input` says that the driver will not write to it.
    ///
    /// # Safety
    /// The caller has exclusive access to the IRP as long as the buffer is used. The IRP is one with direct I/O and a buffer of
    /// `length` bytes. The IRQL is at most `DISPATCH_LEVEL`.
    pub(super) unsafe fn map(
        irp: *mut nt::IRP,
        mut length: usize,
        is_input: bool,
    ) -> Result<Self, Error> {
        let start = if length == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: the caller owns the IRP.
            let mdl = unsafe { nt::irp::mdl(irp) };
            if mdl.is_null() {
                return Err(Error::INVALID_DEVICE_REQUEST);
            }
            let access = if is_input { nt::MdlMappingNoWrite } else { 0 };
            let priority = nt::NormalPagePriority | nt::MdlMappingNoExecute | access;
            // SAFETY: the MDL of an IRP is valid until the IRP is completed.
            let described = unsafe { (*mdl).ByteCount } as usize;
            length = length.min(described);
            // SAFETY: the I/O manager has locked the pages, and the caller has exclusive access to the IRP.
            let start = unsafe { nt::MmGetSystemAddressForMdlSafe(mdl, priority) };
            NonNull::new(start.cast()).ok_or(Error::INSUFFICIENT_RESOURCES)?
        };
        Ok(Self {
            start,
            length,
            _irp: PhantomData,
        })
    }

    /// Returns the length of the buffer in bytes.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Returns whether the buffer has no bytes.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the address of `length` bytes at an offset, to access them once.
    fn at(&self, offset: usize, length: usize) -> Result<*mut u8, Error> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length) {
            return Err(Error::INVALID_BUFFER_SIZE);
        }
        if self.length != 0 {
            nt::access_user_pages(self.start.as_ptr());
        }
        Ok(self.start.as_ptr().wrapping_add(offset))
    }

    /// Copies the bytes at an offset out of the buffer. Two copies of the same bytes can differ.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_BUFFER_SIZE` if the buffer has fewer bytes; then none was copied.
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result<(), Error> {
        let from = self.at(offset, to.len())?;
        // SAFETY: the buffer is mapped, and has these bytes; `to` is the caller's own memory.
        unsafe { copy_shared(from, to.as_mut_ptr(), to.len(), true) };
        Ok(())
    }

    /// Returns a copy of a value at an offset, which need not be aligned.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_BUFFER_SIZE` if the buffer ends before the value does.
    pub fn read<T: FromBytes>(&self, offset: usize) -> Result<T, Error> {
        const {
            assert!(
                size_of::<T>() <= 1024,
                "a value of more than 1,024 bytes is too large for a kernel stack: use `copy_to`"
            );
        }
        let from = self.at(offset, size_of::<T>())?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as in `copy_to`.
        unsafe { copy_shared(from, value.as_mut_ptr().cast(), size_of::<T>(), true) };
        // SAFETY: every byte was written, and any bytes are a valid `T`.
        Ok(unsafe { value.assume_init() })
    }

    /// Copies bytes into the buffer, at an offset.
    ///
    /// # Errors
    /// As for [`UserBuffer::copy_to`].
    ///
    /// # Safety
    /// The buffer was not mapped as an input.
    pub(super) unsafe fn copy_from(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        let to = self.at(offset, from.len())?;
        // SAFETY: the buffer is mapped to be written, and has room for these bytes, which are only read.
        unsafe { copy_shared(to, from.as_ptr().cast_mut(), from.len(), false) };
        Ok(())
    }
}

/// Copies bytes between memory that user mode accesses at the same time and memory of the driver: into the driver's, or
/// out of it. Each byte is accessed once.
///
/// Every access to the shared memory is atomic, so a race can only result in a mixture of old and new bytes.
///
/// # Safety
/// `shared` is valid for these accesses, and `own` for writes or reads of `length` bytes; no other code writes `own`.
unsafe fn copy_shared(shared: *mut u8, own: *mut u8, length: usize, is_into_own: bool) {
    let mut done = 0;
    while done < length {
        let (shared, own) = (shared.wrapping_add(done), own.wrapping_add(done));
        #[expect(clippy::cast_ptr_alignment, reason = "the alignment is checked next")]
        let word = shared.cast::<u64>();
        if word.is_aligned() && length - done >= size_of::<u64>() {
            // SAFETY: the word is inside the shared memory, and aligned.
            let word = unsafe { AtomicU64::from_ptr(word) };
            if is_into_own {
                let value = word.load(Ordering::Relaxed);
                // SAFETY: the caller's memory has room for the word.
                unsafe { own.cast::<u64>().write_unaligned(value) };
            } else {
                // SAFETY: the caller's memory has the bytes of the word.
                let value = unsafe { own.cast::<u64>().read_unaligned() };
                word.store(value, Ordering::Relaxed);
            }
            done += size_of::<u64>();
        } else {
            // SAFETY: the byte is inside the shared memory.
            let byte = unsafe { AtomicU8::from_ptr(shared) };
            if is_into_own {
                // SAFETY: as above.
                unsafe { own.write(byte.load(Ordering::Relaxed)) };
            } else {
                // SAFETY: as above.
                byte.store(unsafe { own.read() }, Ordering::Relaxed);
            }
            done += 1;
        }
    }
}
