//! Devices: what a driver implements, and what the kernel keeps for it in the device extension.

use alloc::boxed::Box;
use core::{
    mem::ManuallyDrop,
    sync::atomic::{AtomicBool, Ordering},
};

use pinned_init::PinInit;

use crate::{
    FileId, Guid, Handled, Irp, NtStatus, PassiveLevel, RegistryKey, interface::DeviceInterface,
    remove_lock::RemoveLock,
};

/// A function driver's device: its state, and what it does with the requests that come to it.
///
/// The value is made when the PnP manager finds a device (AddDevice) and dropped when it is removed; it
/// lives in nonpaged pool and does not move. Every request that is under way holds the device's remove
/// lock, so the value outlives them all. [`driver_entry!`](crate::driver_entry) makes a driver of it.
///
/// WDK: "Writing WDM Drivers".
pub trait Device: Send + Sync + Sized + 'static {
    /// The interface class by which user mode finds the device.
    const INTERFACE: Guid;

    /// Prepares the driver when it is loaded (`DriverEntry`).
    ///
    /// # Errors
    /// Whatever makes the driver unable to work; it is then unloaded.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn driver_entry(_registry: &RegistryKey<'_>, _irql: &mut PassiveLevel) -> Result<(), NtStatus> {
        Ok(())
    }

    /// Gives the initialiser of a new device's state (AddDevice).
    ///
    /// # Errors
    /// Whatever makes the device unable to work; it is then not added.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn add(irql: &mut PassiveLevel) -> Result<impl PinInit<Self, NtStatus>, NtStatus>;

    /// Handles an `IRP_MJ_DEVICE_CONTROL`: completes it or queues it.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn device_control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp>;

    /// Cancels what an open file's last handle leaves queued (`IRP_MJ_CLEANUP`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn cleanup(&self, file: FileId, irql: &mut PassiveLevel);

    /// Refuses new requests that would wait, since the device may be about to be removed
    /// (`IRP_MN_QUERY_REMOVE_DEVICE`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn query_remove(&self, irql: &mut PassiveLevel);

    /// Takes such requests again: the device is not removed after all (`IRP_MN_CANCEL_REMOVE_DEVICE`).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn cancel_remove(&self, irql: &mut PassiveLevel);

    /// Ends every request that waits and refuses new ones: the device is gone
    /// (`IRP_MN_SURPRISE_REMOVAL`, `IRP_MN_REMOVE_DEVICE`). The removal waits until the last has ended.
    ///
    /// May be called twice.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn remove(&self, irql: &mut PassiveLevel);
}

/// The device extension.
///
/// # Invariants
///
/// All but `remove_lock` and `gone` is written once, by AddDevice, before any request arrives. `device`
/// and `interface` are valid for whoever holds the remove lock; the removal takes them out once nobody can.
pub(crate) struct Extension {
    pub(crate) remove_lock: RemoveLock,
    /// The next lower device object in the stack.
    pub(crate) lower: *mut nt::DEVICE_OBJECT,
    interface: ManuallyDrop<DeviceInterface>,
    /// The [`Device`], in the pool: its memory goes with the removal, while the device object itself may
    /// stay on for as long as a handle is open.
    device: *mut (),
    gone: AtomicBool,
}

impl Extension {
    /// Fills a new device object's extension in.
    ///
    /// # Safety
    /// The device object was made for an [`Extension`], and has not been asked for anything yet. `device`
    /// was made by [`pool::allocate`](crate::pool::allocate).
    pub(crate) unsafe fn initialise<D: Device>(
        object: *mut nt::DEVICE_OBJECT,
        lower: *mut nt::DEVICE_OBJECT,
        interface: DeviceInterface,
        device: *mut D,
    ) {
        // SAFETY: the caller gives a valid device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        let new = Self {
            remove_lock: RemoveLock::uninitialised(),
            lower,
            interface: ManuallyDrop::new(interface),
            device: device.cast(),
            gone: AtomicBool::new(false),
        };
        // SAFETY: the extension has the size of an `Extension` and the pool's alignment, and nobody uses
        // it yet.
        unsafe { this.write(new) };
        // SAFETY: as above.
        let extension = unsafe { &*this };
        // SAFETY: the lock is where it stays, nobody uses it yet, and AddDevice runs at PASSIVE_LEVEL.
        unsafe { extension.remove_lock.initialise() };
    }

    /// The extension of one of the driver's device objects.
    ///
    /// # Safety
    /// The device object is one that [`Extension::initialise`] was called for, and exists as long as the
    /// reference is used.
    pub(crate) unsafe fn of<'a>(object: *mut nt::DEVICE_OBJECT) -> &'a Self {
        // SAFETY: the caller gives a valid device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: the extension was initialised and is the device object's until that is freed.
        unsafe { &*this }
    }

    /// Gives an IRP's hold of the remove lock back.
    ///
    /// # Safety
    /// The device object is one of this crate's, and the IRP has a hold.
    pub(crate) unsafe fn release(object: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) {
        // SAFETY: the hold keeps the device object.
        let this = unsafe { (*object).DeviceExtension }.cast::<Self>();
        // SAFETY: as above; the address alone is computed, since the extension may go in the release.
        let lock = unsafe { &raw const (*this).remove_lock };
        // SAFETY: the caller says that the IRP has a hold.
        unsafe { RemoveLock::release(lock, irp) };
    }

    /// The device's state.
    ///
    /// # Safety
    /// `D` is the type that the extension was initialised with, and the caller holds the remove lock as
    /// long as the reference is used.
    pub(crate) unsafe fn device<D: Device>(&self) -> &D {
        // SAFETY: the removal frees the state only when nobody holds the remove lock.
        unsafe { &*self.device.cast::<D>() }
    }

    /// The device's interface.
    ///
    /// The caller holds the remove lock, as every PnP request does.
    pub(crate) fn interface(&self) -> &DeviceInterface {
        &self.interface
    }

    /// Says that the device takes no requests any more.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Whether the device takes no requests any more. A request that just misses it meets the device's
    /// own queues, which refuse under their locks; so no order is needed here.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Frees the device's state and interface.
    ///
    /// # Safety
    /// As for [`Extension::device`]; nobody holds the remove lock or ever will again, and this is called
    /// once, at `PASSIVE_LEVEL`.
    pub(crate) unsafe fn tear_down<D: Device>(&self) {
        // SAFETY: the state was made by `pool::allocate`, and nobody can reach it any more.
        drop(unsafe { Box::from_raw(self.device.cast::<D>()) });
        // SAFETY: nobody can reach the interface any more, and it is read out once.
        drop(unsafe { core::ptr::read(&raw const *self.interface) });
    }
}
