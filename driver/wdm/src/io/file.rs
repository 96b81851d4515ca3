//! Open files: the driver's state for each one, and its requests on the device's queues.

use alloc::vec::Vec;
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ptr::null_mut,
    sync::atomic::{Ordering, fence},
};

use nt::atomic::AtomicBool;
use nt::list::{InitializeListHead, InsertTailList, IsListEmpty, RemoveEntryList};
use pinned_init::{PinInit, pin_data, pin_init_from_closure, try_pin_init};

use crate::{Device, DeviceObject, Error, PassiveLevel, Record, Shared};

/// The state that a driver keeps for each open file of its device `D`: made at `IRP_MJ_CREATE`, dropped after
/// `IRP_MJ_CLOSE` (`FileObject->FsContext`).
///
/// A device that keeps no such state uses the type `()`.
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
#[doc(alias = "FILE_OBJECT")]
#[doc(alias = "IRP_MJ_CREATE")]
#[doc(alias = "IRP_MJ_CLOSE")]
#[doc(alias = "FsContext")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a file state of the device `{D}`",
    note = "implement `FileState<{D}>` for it, or use `type File = ();` if the device keeps no state for each open file"
)]
pub trait FileState<D>: Send + Sync + Sized + 'static {
    /// Returns an in-place initialiser of the state of a new open file (`IRP_MJ_CREATE`).
    ///
    /// The open can still fail after this call, if the device is queried for its removal. The state is then dropped without a cleanup, so its
    /// `Drop` must undo what this method did to the device.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error with which the open fails.
    #[doc(alias = "IRP_MJ_CREATE")]
    fn open(device: &D, irql: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error>;
}

impl<D> FileState<D> for () {
    fn open(_: &D, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<(), Error>(()))
    }
}

/// The open files of a device, which owns them.
///
/// A file is freed at `IRP_MJ_CLOSE`. According to the WDK's documentation that comes before
/// `IRP_MN_REMOVE_DEVICE`. Some kernels remove a device that is still open; then the removal frees the remaining
/// files, and a later `IRP_MJ_CLOSE` finds none.
pub(crate) struct OpenFiles {
    lock: UnsafeCell<nt::KSPIN_LOCK>,
    /// Accessed with the lock held.
    list: UnsafeCell<List>,
}

#[repr(C)]
struct List {
    /// The head of the list of [`Link`]s.
    head: nt::LIST_ENTRY,
    is_removed: bool,
}

/// The link of an open file on its device's list.
#[repr(C)]
struct Link {
    entry: nt::LIST_ENTRY,
    /// The device's owner of the file, which was given up.
    owner: *mut (),
}

pub(super) const UNLINKED: nt::LIST_ENTRY = nt::LIST_ENTRY {
    Flink: null_mut(),
    Blink: null_mut(),
};

// SAFETY: the list is accessed with the lock held, and files may be dropped in any thread.
unsafe impl Send for OpenFiles {}
// SAFETY: as above.
unsafe impl Sync for OpenFiles {}

impl OpenFiles {
    /// Makes an uninitialised list, to be initialised in place.
    pub(crate) const fn uninitialised() -> Self {
        Self {
            lock: UnsafeCell::new(0),
            list: UnsafeCell::new(List {
                head: UNLINKED,
                is_removed: false,
            }),
        }
    }

    /// Initialises the list in place.
    ///
    /// # Safety
    /// `self` does not move, and no other code uses it yet.
    pub(crate) unsafe fn initialise(&self) {
        // SAFETY: the lock does not move.
        unsafe { nt::KeInitializeSpinLock(self.lock.get()) };
        // SAFETY: no other code uses the list yet, and the head does not move.
        unsafe { InitializeListHead(self.head()) };
    }

    /// Returns the head of the list, which is never borrowed exclusively, since the entries point to it.
    fn head(&self) -> *mut nt::LIST_ENTRY {
        // The head is the first field.
        self.list.get().cast()
    }

    /// Runs a closure with the list locked. The closure gets the flag that the device was removed.
    fn with<R>(&self, _irql: &mut PassiveLevel, f: impl FnOnce(&mut bool) -> R) -> R {
        // SAFETY: the lock was initialised, and the token says that the IRQL is at most DISPATCH_LEVEL.
        let old_irql = unsafe { nt::KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        // SAFETY: the lock is held, and this is the only reference to the flag made under it.
        let result = f(unsafe { &mut (*self.list.get()).is_removed });
        // SAFETY: the lock was acquired above, at this IRQL.
        unsafe { nt::KeReleaseSpinLock(self.lock.get(), old_irql) };
        result
    }

    /// Drops the state of every file that is still open.
    ///
    /// # Safety
    /// The files' state is an `F`, and none of their IRPs is in progress except `IRP_MJ_CLOSE`.
    pub(crate) unsafe fn release_all<F: Send + Sync + 'static>(&self, irql: &mut PassiveLevel) {
        loop {
            let owner = self.with(irql, |is_removed| {
                *is_removed = true;
                let head = self.head();
                // SAFETY: the list is locked.
                if unsafe { IsListEmpty(head) } {
                    return None;
                }
                // SAFETY: as above.
                let link = unsafe { (*head).Flink };
                // SAFETY: as above.
                unsafe { RemoveEntryList(link) };
                // SAFETY: every entry of the list but its head is the start of a link, which its owner keeps valid.
                Some(unsafe { (*link.cast::<Link>()).owner })
            });
            let Some(owner) = owner else {
                return;
            };
            // SAFETY: `attach` gave up the owner, and this thread removed its link from the list.
            drop(unsafe { Shared::<OpenFile<F>>::from_raw(owner) });
        }
    }
}

/// An open file of a device. `FsContext` points to it.
#[pin_data]
pub(crate) struct OpenFile<F> {
    /// The link on the device's list.
    link: UnsafeCell<Link>,
    /// One for each of the device's queues, by the queue's index; `FsContext2` points to the first.
    queued: Vec<Queued>,
    /// Whether the last handle is closed (`IRP_MJ_CLEANUP`).
    cleaned_up: AtomicBool,
    #[pin]
    pub(crate) state: F,
}

/// The requests of an open file on one queue.
///
/// # Invariants
///
/// The contents are accessed with the lock of that queue held.
pub(crate) struct Queued(UnsafeCell<QueuedInner>);

#[repr(C)]
struct QueuedInner {
    /// The file's IRPs on the queue, in the order of their insertion.
    head: nt::LIST_ENTRY,
    /// Whether the last handle is closed (`IRP_MJ_CLEANUP`), so that no further request is queued.
    is_cleaned_up: bool,
}

// SAFETY: the link is accessed with the device's list locked; the state is an `F`.
unsafe impl<F: Send> Send for OpenFile<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for OpenFile<F> {}

// SAFETY: the contents are accessed with the queue's lock held; IRPs are not tied to a thread.
unsafe impl Send for Queued {}
// SAFETY: as above.
unsafe impl Sync for Queued {}

impl Queued {
    /// Initialises an empty list in place.
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

    /// Makes a list with an uninitialised head, to be initialised in place.
    const fn unlinked() -> Self {
        Self(UnsafeCell::new(QueuedInner {
            head: UNLINKED,
            is_cleaned_up: false,
        }))
    }

    /// Returns whether the file's requests are no longer queued.
    ///
    /// # Safety
    /// The caller holds the queue's lock.
    pub(crate) unsafe fn is_cleaned_up(&self) -> bool {
        // SAFETY: guaranteed by the caller.
        unsafe { (*self.0.get()).is_cleaned_up }
    }

    /// Prevents further requests of the file from being queued.
    ///
    /// # Safety
    /// The caller holds the queue's lock.
    pub(crate) unsafe fn set_cleaned_up(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { (*self.0.get()).is_cleaned_up = true };
    }

    /// Returns the head of the list of the file's IRPs on the queue.
    pub(crate) fn head(&self) -> *mut nt::LIST_ENTRY {
        // The head is the first field.
        self.0.get().cast()
    }

    /// Returns the list entry of the file's first IRP on the queue.
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
    /// Makes a new open file of a device with `count` queues.
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
            // SAFETY: the vector no longer grows, so the list does not move; no other code accesses it yet.
            unsafe { InitializeListHead(queued.head()) };
        }
        let state = F::open(device, irql)?;
        // The initialiser has borrowed the token, so the IRQL is PASSIVE_LEVEL.
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

    /// Records that the last handle is closed.
    pub(crate) fn set_cleaned_up(&self) {
        self.cleaned_up.store(true, Ordering::Relaxed);
        // Pairs with the load in `is_cleaned_up`.
        fence(Ordering::SeqCst);
    }

    /// Returns whether the last handle is closed.
    ///
    /// [`Device::cleanup`] finds a request that was kept before this reads the old value, for the reason that `Extension::is_removed` gives.
    pub(crate) fn is_cleaned_up(&self) -> bool {
        self.cleaned_up.load(Ordering::SeqCst)
    }

    /// Stores the file in the file object that an IRP opens, and adds it to its device's list.
    ///
    /// # Safety
    /// `irp` is an `IRP_MJ_CREATE` with a file object, which the caller owns. It was sent to the device that has
    /// these files.
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
        // SAFETY: no other code accesses the file yet, and its owner keeps it alive.
        unsafe { (*link).owner = owner };
        files.with(irql, |_| {
            // SAFETY: the list is locked, and the entry is on no list.
            unsafe { InsertTailList(files.head(), link.cast()) };
        });
        // SAFETY: guaranteed by the caller.
        unsafe { nt::irp::set_file_contexts(irp, [owner.cast(), queued]) };
    }

    /// Returns the file of an IRP, or `None` if it was sent without one.
    ///
    /// # Safety
    /// The caller owns the IRP, which was sent to a device whose file state is an `F`.
    pub(crate) unsafe fn of(irp: *mut nt::IRP) -> Option<Shared<Self>>
    where
        F: Send + Sync + 'static,
    {
        // SAFETY: guaranteed by the caller; `attach` set the fields.
        let [context, _] = unsafe { nt::irp::file_contexts(irp) };
        if context.is_null() {
            return None;
        }
        // SAFETY: `attach` gave up this owner. It is made again for dropping only after the file's last IRP.
        let owner = ManuallyDrop::new(unsafe { Shared::<Self>::from_raw(context.cast()) });
        Some(Shared::clone(&owner))
    }

    /// Drops the file that an IRP closes, unless the device's removal has already dropped it.
    ///
    /// # Safety
    /// `irp` is an `IRP_MJ_CLOSE` that the caller owns. It was sent to the device that has these files, whose state
    /// is an `F`.
    pub(crate) unsafe fn detach(files: &OpenFiles, irp: *mut nt::IRP, irql: &mut PassiveLevel)
    where
        F: Send + Sync + 'static,
    {
        // SAFETY: guaranteed by the caller; `attach` set the fields.
        let [context, _] = unsafe { nt::irp::file_contexts(irp) };
        if context.is_null() {
            return;
        }
        let owner = files.with(irql, |is_removed| {
            if *is_removed {
                return None;
            }
            // SAFETY: the file is still on the list, so the owner that `attach` gave up was not made again; a file
            // is closed once.
            let owner = unsafe { Shared::<Self>::from_raw(context.cast()) };
            // SAFETY: the list is locked, and the file's entry is on it.
            unsafe { RemoveEntryList(owner.link.get().cast()) };
            Some(owner)
        });
        drop(owner);
    }
}

/// Returns the requests on a queue that belong to the file of an IRP; `None` if the IRP was sent without a file, or by
/// another driver, whose file it may be.
///
/// # Safety
/// The caller owns the IRP, or holds the lock of the queue that the IRP is on. The IRP was sent to a device of this
/// crate, and `index` is the index of one of the device's queues. The reference is used only before the IRP is
/// completed, or while its file cannot be closed.
pub(crate) unsafe fn queued<'a>(irp: *mut nt::IRP, index: usize) -> Option<&'a Queued> {
    // SAFETY: guaranteed by the caller.
    if unsafe { nt::irp::major_function(irp) } == nt::IRP_MJ_INTERNAL_DEVICE_CONTROL {
        return None;
    }
    // SAFETY: guaranteed by the caller; `attach` set the fields.
    let [_, queued] = unsafe { nt::irp::file_contexts(irp) };
    if queued.is_null() {
        return None;
    }
    // SAFETY: the file has a `Queued` for each queue of its device.
    let queued = unsafe { queued.cast::<Queued>().add(index) };
    // SAFETY: the file, with its `Queued`s, stays until the IRP is completed.
    Some(unsafe { &*queued })
}
