//! Open files: what a driver keeps for each open of its device, and what each has on the device's queues.

use alloc::vec::Vec;
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ptr::null_mut,
    sync::atomic::{AtomicBool, Ordering},
};

use nt::list::{InitializeListHead, InsertTailList, IsListEmpty, RemoveEntryList};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{Device, DeviceObject, Error, PassiveLevel, Record, Shared};

/// The state that a driver keeps for each open of its device `D`: made at `IRP_MJ_CREATE`, dropped after `IRP_MJ_CLOSE`.
///
/// In C it is what `FileObject->FsContext` points to. A device that keeps none has the type `()`.
///
/// # Examples
///
/// ```
/// use pinned_init::PinInit;
/// use wdm::{Error, FileState, InterlockedLong, PassiveLevel};
///
/// struct Meter;
///
/// struct Reader {
///     reads: InterlockedLong,
/// }
///
/// impl FileState<Meter> for Reader {
///     fn open(_: &Meter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
///         Ok(Ok::<_, Error>(Self { reads: InterlockedLong::new(0) }))
///     }
/// }
/// ```
#[doc(alias = "FsContext")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no state of an open file of `{D}`",
    note = "implement `FileState<{D}>` for it, or let the device keep none: `type File = ();`"
)]
pub trait FileState<D>: Send + Sync + Sized + 'static {
    /// Gives the initialiser of the state of a new open file (`IRP_MJ_CREATE`).
    ///
    /// # Errors
    /// What the open fails with.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn open(device: &D, irql: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error>;
}

impl<D> FileState<D> for () {
    fn open(_: &D, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<(), Error>(()))
    }
}

/// The open files of a device, which owns them.
///
/// A file goes at `IRP_MJ_CLOSE`. By Windows' documents that comes before `IRP_MN_REMOVE_DEVICE`; for a kernel that removes
/// a device which is still open, the removal frees what is left, and a later `IRP_MJ_CLOSE` finds nothing.
pub(crate) struct OpenFiles {
    lock: UnsafeCell<nt::KSPIN_LOCK>,
    /// Read and changed with the lock held.
    list: UnsafeCell<List>,
}

#[repr(C)]
struct List {
    /// Of the links of open files.
    head: nt::LIST_ENTRY,
    is_gone: bool,
}

/// What links an open file to its device's others.
#[repr(C)]
struct Link {
    entry: nt::LIST_ENTRY,
    /// The device's owner of the file, given up.
    owner: *mut (),
}

const UNLINKED: nt::LIST_ENTRY = nt::LIST_ENTRY {
    Flink: null_mut(),
    Blink: null_mut(),
};

// SAFETY: the list is reached with the lock held, and files may be dropped in any thread.
unsafe impl Send for OpenFiles {}
// SAFETY: as above.
unsafe impl Sync for OpenFiles {}

impl OpenFiles {
    /// Room for a list, to be initialised where it stays.
    pub(crate) const fn uninitialised() -> Self {
        Self {
            lock: UnsafeCell::new(0),
            list: UnsafeCell::new(List {
                head: UNLINKED,
                is_gone: false,
            }),
        }
    }

    /// Initialises the list in its place.
    ///
    /// # Safety
    /// `self` stays where it is, and nobody uses it yet.
    pub(crate) unsafe fn initialise(&self) {
        // SAFETY: the lock stays where it is.
        unsafe { nt::KeInitializeSpinLock(self.lock.get()) };
        // SAFETY: nobody else uses the list yet, and the head stays where it is.
        unsafe { InitializeListHead(self.head()) };
    }

    /// The head of the list. It is never borrowed exclusively, since its entries point to it.
    fn head(&self) -> *mut nt::LIST_ENTRY {
        // The head is the first field.
        self.list.get().cast()
    }

    /// Runs a closure with the list locked, at `PASSIVE_LEVEL` before. It gets the flag that says that the device is gone.
    fn with<R>(&self, _irql: &mut PassiveLevel, f: impl FnOnce(&mut bool) -> R) -> R {
        // SAFETY: the lock was initialised, and the token says that the IRQL is at most DISPATCH_LEVEL.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        // SAFETY: the lock is held, and this is the only reference to the flag made under it.
        let result = f(unsafe { &mut (*self.list.get()).is_gone });
        // SAFETY: the lock was taken above, at this IRQL.
        unsafe { nt::KeReleaseSpinLock(self.lock.get(), old_irql) };
        result
    }

    /// Drops what is kept for every file that is still open.
    ///
    /// # Safety
    /// The files' state is an `F`, and no IRP of theirs is under way but `IRP_MJ_CLOSE`.
    pub(crate) unsafe fn release_all<F: Send + Sync + 'static>(&self, irql: &mut PassiveLevel) {
        loop {
            let owner = self.with(irql, |is_gone| {
                *is_gone = true;
                let head = self.head();
                // SAFETY: the list is locked.
                if unsafe { IsListEmpty(head) } {
                    return None;
                }
                // SAFETY: as above.
                let link = unsafe { (*head).Flink };
                // SAFETY: as above.
                unsafe { RemoveEntryList(link) };
                // SAFETY: every entry of the list but its head starts a link, whose owner keeps it.
                Some(unsafe { (*link.cast::<Link>()).owner })
            });
            let Some(owner) = owner else {
                return;
            };
            // SAFETY: the owner was given up by `attach`, and its link was taken off the list by this thread.
            drop(unsafe { Shared::<OpenFile<F>>::from_raw(owner) });
        }
    }
}

/// An open file of a device, to which `FsContext` points.
#[pin_data]
pub(crate) struct OpenFile<F> {
    /// On the device's list.
    link: UnsafeCell<Link>,
    /// One for each of the device's queues, by the queue's index; `FsContext2` points to the first.
    queued: Vec<Queued>,
    /// Whether the last handle is closed (`IRP_MJ_CLEANUP`).
    cleaned_up: AtomicBool,
    #[pin]
    pub(crate) state: F,
}

/// What an open file has on one queue.
///
/// # Invariants
///
/// All of it is read and changed while the lock of that queue is held.
pub(crate) struct Queued(UnsafeCell<QueuedInner>);

#[repr(C)]
struct QueuedInner {
    /// The file's IRPs on the queue, in the order of their insertion.
    head: nt::LIST_ENTRY,
    /// Whether the last handle is closed (`IRP_MJ_CLEANUP`), so that nothing may be queued any more.
    is_cleaned_up: bool,
}

// SAFETY: the link is reached with the device's list locked; the state is an `F`.
unsafe impl<F: Send> Send for OpenFile<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for OpenFile<F> {}

// SAFETY: the contents are reached while the queue's lock is held; IRPs belong to no thread.
unsafe impl Send for Queued {}
// SAFETY: as above.
unsafe impl Sync for Queued {}

impl Queued {
    /// Initialises an empty list in its place.
    pub(crate) fn new() -> impl PinInit<Self> {
        let initialise = |slot: *mut Self| {
            // SAFETY: the slot is valid for writes.
            unsafe { slot.write(Self::unlinked()) };
            // SAFETY: the list stays in the slot, and the head is its first field.
            unsafe { InitializeListHead(slot.cast()) };
            Ok(())
        };
        // SAFETY: the closure initialises the slot and does not fail.
        unsafe { pin_init_from_closure(initialise) }
    }

    /// A list whose head is to be initialised where it stays.
    const fn unlinked() -> Self {
        Self(UnsafeCell::new(QueuedInner {
            head: UNLINKED,
            is_cleaned_up: false,
        }))
    }

    /// Whether nothing may be queued for the file any more.
    ///
    /// # Safety
    /// The caller holds the queue's lock.
    pub(crate) unsafe fn is_cleaned_up(&self) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { (*self.0.get()).is_cleaned_up }
    }

    /// Says that nothing may be queued for the file any more.
    ///
    /// # Safety
    /// The caller holds the queue's lock.
    pub(crate) unsafe fn set_cleaned_up(&self) {
        // SAFETY: passed on to the caller.
        unsafe { (*self.0.get()).is_cleaned_up = true };
    }

    /// The head of the list of the file's IRPs on the queue.
    pub(crate) fn head(&self) -> *mut nt::LIST_ENTRY {
        // The head is the first field.
        self.0.get().cast()
    }

    /// The entry of the first of the file's IRPs on the queue.
    ///
    /// # Safety
    /// The caller holds the queue's lock.
    pub(crate) unsafe fn first(&self) -> Option<*mut nt::LIST_ENTRY> {
        let head = self.head();
        // SAFETY: the list was initialised, and the caller holds the lock.
        if unsafe { IsListEmpty(head) } {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { (*head).Flink })
    }
}

const _: () = assert!(core::mem::offset_of!(QueuedInner, head) == 0);

impl<F> OpenFile<F> {
    /// Makes what is kept for a new open file of a device with that many queues.
    pub(crate) fn new<D: Device<File = F>>(
        count: usize,
        device: &D,
        object: &DeviceObject,
        irql: &mut PassiveLevel,
    ) -> Result<Shared<Self>, Error>
    where
        F: FileState<D>,
    {
        let mut queued = Vec::new();
        queued
            .try_reserve_exact(count)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        queued.extend((0..count).map(|_| Queued::unlinked()));
        for queued in &queued {
            // SAFETY: the vector does not grow any more, so the list stays where it is; nobody else knows it yet.
            unsafe { InitializeListHead(queued.head()) };
        }
        let state = F::open(device, irql)?;
        // At PASSIVE_LEVEL, by the token that the initialiser has borrowed.
        Shared::allocate(
            try_pin_init!(Self {
                link: UnsafeCell::new(Link { entry: UNLINKED, owner: null_mut() }),
                queued,
                cleaned_up: AtomicBool::new(false),
                state <- state,
            }? Error),
            Some(object.clone()),
        )
    }

    /// Says that the last handle is closed.
    pub(crate) fn set_cleaned_up(&self) {
        self.cleaned_up.store(true, Ordering::Relaxed);
    }

    /// Whether the last handle is closed. Who just misses it comes under a lock of the driver's later, under which
    /// [`Device::cleanup`] finds what was kept. So no order is needed here.
    pub(crate) fn is_cleaned_up(&self) -> bool {
        self.cleaned_up.load(Ordering::Relaxed)
    }

    /// Ties the file to the file object that an IRP opens, and gives it to its device.
    ///
    /// # Safety
    /// `irp` is an `IRP_MJ_CREATE` that the caller owns, with a file object, of the device that has these files.
    pub(crate) unsafe fn attach(
        this: Shared<Self>,
        files: &OpenFiles,
        irp: *mut nt::IRP,
        irql: &mut PassiveLevel,
    ) where
        F: Send + Sync + 'static,
    {
        let queued = this.queued.as_ptr().cast_mut().cast();
        let link = this.link.get();
        let owner = this.into_raw();
        // SAFETY: nobody else has the file yet, which its owner keeps.
        unsafe { (*link).owner = owner };
        files.with(irql, |_| {
            // SAFETY: the list is locked, and the entry on none.
            unsafe { InsertTailList(files.head(), link.cast()) };
        });
        // SAFETY: passed on to the caller.
        unsafe { nt::irp::set_file_contexts(irp, [owner.cast(), queued]) };
    }

    /// The file that an IRP was sent through; `None` if it was sent through none.
    ///
    /// # Safety
    /// The caller owns the IRP, which was sent to a device whose file state is an `F`.
    pub(crate) unsafe fn of(irp: *mut nt::IRP) -> Option<Shared<Self>>
    where
        F: Send + Sync + 'static,
    {
        // SAFETY: passed on to the caller; `attach` set the fields.
        let [context, _] = unsafe { nt::irp::file_contexts(irp) };
        if context.is_null() {
            return None;
        }
        // SAFETY: `attach` gave this owner up, and it is made again for good after the file's last IRP only.
        let owner = ManuallyDrop::new(unsafe { Shared::<Self>::from_raw(context.cast()) });
        Some(Shared::clone(&owner))
    }

    /// Drops what is kept for the file that an IRP closes, unless the device's removal has done so.
    ///
    /// # Safety
    /// `irp` is an `IRP_MJ_CLOSE` that the caller owns, of the device that has these files, whose state is an `F`.
    pub(crate) unsafe fn detach(files: &OpenFiles, irp: *mut nt::IRP, irql: &mut PassiveLevel)
    where
        F: Send + Sync + 'static,
    {
        // SAFETY: passed on to the caller; `attach` set the fields.
        let [context, _] = unsafe { nt::irp::file_contexts(irp) };
        if context.is_null() {
            return;
        }
        let owner = files.with(irql, |is_gone| {
            if *is_gone {
                return None;
            }
            // SAFETY: the list still has the file, so `attach`'s owner keeps it; and a file is closed once.
            let owner = unsafe { Shared::<Self>::from_raw(context.cast()) };
            // SAFETY: the list is locked, and the file's entry on it.
            unsafe { RemoveEntryList(owner.link.get().cast()) };
            Some(owner)
        });
        drop(owner);
    }
}

/// What the file of an IRP has on a queue; `None` if the IRP was sent through no file.
///
/// # Safety
/// The caller owns the IRP, or holds the queue's lock while the IRP is on it. The IRP was sent to a device of this crate,
/// and `index` is that of one of the device's queues. The reference is used no longer than the IRP is not completed, or
/// while its file cannot be closed.
pub(crate) unsafe fn queued<'a>(irp: *mut nt::IRP, index: usize) -> Option<&'a Queued> {
    // SAFETY: passed on to the caller; `attach` set the fields.
    let [_, queued] = unsafe { nt::irp::file_contexts(irp) };
    if queued.is_null() {
        return None;
    }
    // SAFETY: the file has one for each queue of its device.
    let queued = unsafe { queued.cast::<Queued>().add(index) };
    // SAFETY: the file, and with it what it has on its queues, stays until the IRP is completed.
    Some(unsafe { &*queued })
}
