//! The power policy of a device: whether it is in D0 or in D3.
//!
//! All of the state is in one word, and each change is one interlocked exchange. The thread that changes it calls [`step`], which sends a
//! request if the device is not in the state that the word demands, and no request is in progress. The routine that is called at the
//! end of a request makes a work item call `step` again, so a change during a request is not lost, and requests that are completed
//! immediately do not nest.
//!
//! A failure is recorded first, and then `power_up_failed` is called. So for each reference either the method is called after the reference was
//! made, or another request is sent.
//!
//! WDK: [Managing Device Power Policy](https://learn.microsoft.com/windows-hardware/drivers/kernel/managing-device-power-policy).

use core::{
    ffi::c_void,
    mem::ManuallyDrop,
    ptr::{NonNull, from_ref, null_mut},
    sync::atomic::Ordering,
};

use nt::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

use crate::{
    DeviceObject, DevicePowerState, Error, NewDevice, PassiveLevel, Record,
    io::{device_object::Deferred, extension::Extension, forward::CompletionRoutine},
    ke::irql::NoSpinLockHeld,
};

/// The power policy of a device: the device is in D0 while the system works and a [`PowerReference`] exists, and otherwise in D3
/// (`PoRequestPowerIrp`).
///
/// A driver that makes one in [`Device::add`](crate::Device::add) owns the power policy of the device stack, as a function driver
/// usually does. [`Device::set_power`](crate::Device::set_power) is called before the device loses its power and after it has got
/// it back. Only one driver of a stack may own the policy.
///
/// When the system goes to sleep, D3 is requested even if the device is in it, and the request for the system's state is completed after that
/// one, with its status. When the system works again, the request is completed immediately, as Microsoft recommends, and the device enters D0 if
/// there is a reference. A stopped device stays in the state that it is in. A device that is in D3 when it is stopped enters D0 when it is started again, and D3 after that if there is no reference.
/// This crate does not ask the drivers beforehand (`IRP_MN_QUERY_POWER` for D3), uses neither D1 nor D2, and requests no wake
/// signal (`IRP_MN_WAIT_WAKE`).
///
/// WDK: [Managing Device Power Policy](https://learn.microsoft.com/windows-hardware/drivers/kernel/managing-device-power-policy),
/// [Handling a System Set-Power IRP in a Device Power Policy
/// Owner](https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-a-system-set-power-irp-in-a-device-power-policy-owner),
/// [PoRequestPowerIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-porequestpowerirp).
///
/// # Examples
///
/// ```
/// use wdm::{Handled, Irp, IrpQueue, PassiveLevel, PowerPolicy, PowerReference, QueueCallbacks, Shared};
///
/// /// Queues a request that is served in D0. The reference is dropped when the request is completed.
/// fn queue<'irp, C: QueueCallbacks<Record = PowerReference>>(
///     irp: Irp<'irp>,
///     waiting: &Shared<IrpQueue<C>>,
///     policy: &PowerPolicy,
///     irql: &mut PassiveLevel,
/// ) -> Handled<'irp> {
///     match policy.power_up(irql) {
///         Ok(reference) => {
///             let pending = waiting.insert(irp.with_record(reference), irql);
///             policy.retry(irql);
///             // If the device is in D0 now, serve the request here.
///             pending
///         }
///         Err(error) => irp.complete(error, irql),
///     }
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver decides that its device is idle, and a request arrives before it has sent the request for D3: the device is off, and
/// the request waits forever. It sends a second request while the first one is in progress, powers the device up while the system is
/// asleep, completes the request for the system's state before the device has entered D3, or waits for a power request in a thread
/// that the power manager needs.
#[doc(alias = "PoRequestPowerIrp")]
#[doc(alias = "PoRegisterDeviceForIdleDetection")]
#[doc(alias = "PoSetDeviceBusy")]
pub struct PowerPolicy(DeviceObject);

impl PowerPolicy {
    /// Makes the driver the owner of the power policy of a device that is being added.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn new(device: &mut NewDevice) -> Self {
        let owner = from_ref(&OWNER).cast_mut();
        device.power().owner.store(owner, Ordering::Relaxed);
        Self(DeviceObject::clone(device))
    }

    /// Returns a reference that keeps the device in D0, and makes the device enter D0 if it is in D3.
    ///
    /// The call does not wait. [`Device::set_power`](crate::Device::set_power) is called when the device is in D0, or
    /// [`Device::power_up_failed`](crate::Device::power_up_failed) if it cannot enter it. Either can be called before this returns. So a driver
    /// that queues a request with the reference then checks whether the device is in D0, and calls [`retry`](PowerPolicy::retry).
    ///
    /// WDK: [PoRequestPowerIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-porequestpowerirp).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held: the device can be called during the call.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if the power manager cannot allocate the request, or if there are 2^32 - 1 references;
    /// `STATUS_DELETE_PENDING` if the removal of the device has just begun. Later no request is sent, and the queues of the device refuse the
    /// requests that wait for it.
    #[doc(alias = "PoRequestPowerIrp")]
    pub fn power_up<L: NoSpinLockHeld>(&self, _irql: &mut L) -> Result<PowerReference, Error> {
        let old = self.0.power().change(|state| {
            with_reference(state).map_or(state, |state| state & !(FAILED | UNREPORTED))
        });
        with_reference(old).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        let reference = PowerReference(self.0.clone());
        step(&self.0)?;
        Ok(reference)
    }

    /// Makes the device enter D0 again if it was notified that it cannot, and there is a reference.
    ///
    /// Call it after a request was queued with a reference: a call of [`Device::power_up_failed`](crate::Device::power_up_failed) that came
    /// before has not found the request.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held, as for [`power_up`](PowerPolicy::power_up).
    pub fn retry<L: NoSpinLockHeld>(&self, _irql: &mut L) {
        self.0.power().change(|state| match state & UNREPORTED {
            0 => state & !FAILED,
            _ => state,
        });
        // If this fails, `power_up_failed` is called.
        let _ = step(&self.0);
    }
}

/// Keeps a device in D0 while the system works. [`PowerPolicy::power_up`] makes it.
///
/// It can be the [record](crate::Irp::with_record) of a request, so that the device has power until the last request is completed. To
/// keep the power for some time after it, a driver has a reference in its state, which a [`Timer`](crate::Timer) drops.
///
/// It can be dropped at any IRQL up to `DISPATCH_LEVEL` and while any lock is held: a work item of the device requests D3.
#[must_use = "the device loses its power when the reference is dropped"]
pub struct PowerReference(DeviceObject);

impl Drop for PowerReference {
    fn drop(&mut self) {
        self.0
            .power()
            .change_and_defer(&self.0, |state| state - REFERENCE);
    }
}

// SAFETY: the pointer is that of the reference to the device object, which `from_raw` makes again. The target has no data.
unsafe impl Record for PowerReference {
    type Target = ();

    fn into_raw(self) -> *mut () {
        ManuallyDrop::new(self).0.as_raw()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { DeviceObject::from_raw(raw) })
    }

    unsafe fn borrow<'a>(_raw: *mut ()) -> &'a () {
        &()
    }
}

/// The routines of the driver that owns the policy. A driver that makes no [`PowerPolicy`] does not contain them.
struct Owner {
    started: fn(&DeviceObject),
    stopped: fn(&DeviceObject),
    removed: fn(&DeviceObject),
    system_works: fn(&DeviceObject),
    lower_drivers_sleep: CompletionRoutine,
}

static OWNER: Owner = Owner {
    started,
    stopped,
    removed,
    system_works,
    lower_drivers_sleep,
};

/// The device is started, and not removed.
const STARTED: usize = 1;
/// The last state that the device has entered is D0.
const ON: usize = 1 << 1;
/// A request for a state of the device is in progress.
const SENT: usize = 1 << 2;
/// The system sleeps, or is about to.
const ASLEEP: usize = 1 << 3;
/// A request for a sleeping state of the system is to be completed when the device is in D3.
const SYSTEM_IRP: usize = 1 << 4;
/// The link is on the list of the device object.
const DEFERRED: usize = 1 << 5;
/// The last request has failed. None is sent until something changes.
const FAILED: usize = 1 << 6;
/// D3 is to be requested even if the device is in it, since the system goes to sleep.
const D3_REQUIRED: usize = 1 << 7;
/// The request for D0 has failed, and the device was not notified yet.
const UNREPORTED: usize = 1 << 8;
/// The device has power since it was restarted, but was last notified that it loses power. So it must be notified that it is in D0.
const RESTARTED: usize = 1 << 9;
/// `power_up_failed` is about to be called. No request for D0 is sent until it has returned, since `set_power` could be called before it.
const REPORTING: usize = 1 << 10;
/// The device is stopped, to be started again with other resources. Until then a request is sent only if the system goes to sleep.
const STOPPED: usize = 1 << 11;
/// One reference.
const REFERENCE: usize = 1 << 32;

/// Adds a reference to a state; `None` if there are 2^32 - 1, the most that it can count. A driver that forgets its references can make
/// that many. If the count became 0 again, the device would lose its power while it is in use.
const fn with_reference(state: usize) -> Option<usize> {
    state.checked_add(REFERENCE)
}

/// The action that a state requires.
enum Next {
    Nothing,
    Request(DevicePowerState),
    CompleteSystemIrp,
}

impl Next {
    const fn of(state: usize) -> Self {
        let is_needed = state >= REFERENCE || state & RESTARTED != 0;
        let should_be_on = is_needed && state & ASLEEP == 0;
        let is_right = should_be_on == (state & ON != 0);
        let is_demanded = state & D3_REQUIRED != 0 || state & (FAILED | STOPPED) == 0 && !is_right;
        if state & (SENT | REPORTING) != 0 {
            Self::Nothing
        } else if state & STARTED != 0 && is_demanded {
            Self::Request(if should_be_on {
                DevicePowerState::D0
            } else {
                DevicePowerState::D3
            })
        } else if state & SYSTEM_IRP != 0 {
            Self::CompleteSystemIrp
        } else {
            Self::Nothing
        }
    }

    /// Returns whether a work item has something to do in a state.
    const fn is_due(state: usize) -> bool {
        state & UNREPORTED != 0 || !matches!(Self::of(state), Self::Nothing)
    }

    const fn after(self, state: usize) -> usize {
        match self {
            Self::Nothing => state,
            Self::Request(_) => state & !D3_REQUIRED | SENT,
            Self::CompleteSystemIrp => state & !(SYSTEM_IRP | D3_REQUIRED),
        }
    }
}

/// The power policy in the block of the device object.
///
/// # Invariants
///
/// * While `SENT` is set, there is a hold of the remove lock with the address of this value as its tag.
/// * While `SYSTEM_IRP` is set, `system_irp` is an IRP that the driver owns, with its hold.
/// * While `DEFERRED` is set, [`DeviceObject::power_link`] is on the device object's list; only the thread that sets the bit writes it.
pub(crate) struct Power {
    /// `OWNER` or NULL.
    owner: AtomicPtr<Owner>,
    state: AtomicUsize,
    system_irp: AtomicPtr<nt::IRP>,
    /// The error of which the device is notified.
    error: AtomicU32,
}

impl Power {
    pub(crate) const fn new() -> Self {
        Self {
            owner: AtomicPtr::new(null_mut()),
            state: AtomicUsize::new(0),
            system_irp: AtomicPtr::new(null_mut()),
            error: AtomicU32::new(0),
        }
    }

    /// Returns the routines of the owner, if this driver is the owner.
    fn owner(&self) -> Option<&'static Owner> {
        // SAFETY: the pointer is NULL, or that of a static.
        unsafe { self.owner.load(Ordering::Relaxed).as_ref() }
    }

    /// Returns the completion routine of a request to enter a sleeping state, if the driver owns the policy. The IRP is marked
    /// pending, and the routine completes it when the device is in D3.
    pub(crate) fn lower_drivers_sleep(&self) -> Option<CompletionRoutine> {
        Some(self.owner()?.lower_drivers_sleep)
    }

    /// Returns whether this driver owns the policy, so that [`deferred`] notifies the device that it cannot be powered up.
    pub(crate) fn is_owned(&self) -> bool {
        self.owner().is_some()
    }

    /// Records that the device was started and is in D0; if there is no reference, D3 is requested.
    pub(crate) fn started(object: &DeviceObject) {
        if let Some(owner) = object.power().owner() {
            (owner.started)(object);
        }
    }

    /// Records that the device is stopped. [`Power::started`] follows, or the removal.
    pub(crate) fn stopped(object: &DeviceObject) {
        if let Some(owner) = object.power().owner() {
            (owner.stopped)(object);
        }
    }

    /// Records that the device is removed. A request for a state of the system that waits is completed.
    pub(crate) fn removed(object: &DeviceObject) {
        if let Some(owner) = object.power().owner() {
            (owner.removed)(object);
        }
    }

    /// Records that the system works.
    pub(crate) fn system_works(object: &DeviceObject) {
        if let Some(owner) = object.power().owner() {
            (owner.system_works)(object);
        }
    }

    /// Changes the state; returns the old one.
    fn change(&self, change: impl Fn(usize) -> usize) -> usize {
        let mut old = self.state.load(Ordering::Relaxed);
        loop {
            match self.state.compare_exchange_weak(
                old,
                change(old),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(old) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// Records that a request has failed; if it was a request for D0, the device is notified.
    fn fail(&self, object: &DeviceObject, state: DevicePowerState, error: Error) {
        let unreported = match state {
            DevicePowerState::D0 => UNREPORTED,
            _ => 0,
        };
        self.error
            .store(error.to_raw().cast_unsigned(), Ordering::Relaxed);
        self.change_and_defer(object, |state| {
            let state = state & !(SENT | RESTARTED | FAILED);
            // The requested state may no longer be required.
            let failed = match Next::of(state) {
                Next::Request(_) => FAILED,
                _ => 0,
            };
            state | failed | unreported
        });
    }

    /// Changes the state, and defers [`step`] if it has something to do, or the device must be notified that it cannot be powered up.
    fn change_and_defer(&self, object: &DeviceObject, change: impl Fn(usize) -> usize) {
        let marked = |old| {
            let new = change(old);
            if Next::is_due(new) {
                new | DEFERRED
            } else {
                new
            }
        };
        let old = self.change(marked);
        if old & DEFERRED == 0 && marked(old) & DEFERRED != 0 {
            let link = object.power_link();
            // SAFETY: this thread has set the bit, so the link is on no list, and no other thread uses it.
            unsafe { link.write(Deferred::new(deferred)) };
            // SAFETY: the link was just initialised. The block lives until the list is empty.
            unsafe { object.defer(link) };
        }
    }

    /// Gives the request for a sleeping state of the system the status of the one for D3 that was sent for it. If none could be sent, the request
    /// keeps the status of the lower drivers, since a driver must not fail it. The caller has not cleared `SENT` yet.
    fn note_status(&self, status: i32) {
        // `D3_REQUIRED` is set while the request for D3 is one from before the system went to sleep.
        if self.state.load(Ordering::Acquire) & (SYSTEM_IRP | D3_REQUIRED) == SYSTEM_IRP {
            // SAFETY: the driver owns the IRP, and no other thread accesses it while `SENT` is set.
            unsafe { nt::irp::set_status(self.system_irp.load(Ordering::Relaxed), status) };
        }
    }

    /// The address as the tag of a hold, which is never dereferenced.
    fn tag(&self) -> *mut nt::IRP {
        from_ref(self).cast_mut().cast()
    }
}

fn started(object: &DeviceObject) {
    object.power().change_and_defer(object, |state| {
        let is_off = state & (STARTED | ON) == STARTED;
        let power = if is_off { RESTARTED } else { ON };
        (state | STARTED | power) & !(ASLEEP | FAILED | UNREPORTED | STOPPED)
    });
}

fn stopped(object: &DeviceObject) {
    object.power().change(|state| state | STOPPED);
}

fn removed(object: &DeviceObject) {
    object.power().change(|state| state & !STARTED);
    let _ = step(object);
}

fn system_works(object: &DeviceObject) {
    object
        .power()
        .change(|state| state & !(ASLEEP | FAILED | UNREPORTED));
    let _ = step(object);
}

/// Completes a request to enter a sleeping state when the device is in D3. The power manager sends one such request at a time.
///
/// # Safety
/// Called by the I/O manager, once, at most at `DISPATCH_LEVEL`, with no spin lock held. The IRP has a hold, and the dispatch routine
/// has marked it pending.
unsafe extern "C" fn lower_drivers_sleep(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    _context: *mut c_void,
) -> i32 {
    // SAFETY: this routine owns the IRP until it returns.
    if Error::check(unsafe { nt::irp::status(irp) }).is_err() {
        // SAFETY: the IRP's hold, which only this call releases, has kept the device until now.
        unsafe { Extension::release(object, irp) };
        return nt::STATUS_SUCCESS;
    }
    // SAFETY: the IRP's hold keeps the device object.
    let extension = unsafe { Extension::of(object) };
    // A reference of its own, since the IRP's hold may be released in `step`.
    let object = DeviceObject::clone(&extension.object);
    let power = object.power();
    power.system_irp.store(irp, Ordering::Relaxed);
    power.change(|state| (state | ASLEEP | SYSTEM_IRP | D3_REQUIRED) & !FAILED);
    let _ = step(&object);
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

/// Performs the action that the state requires. The caller holds no spin lock, at most at `DISPATCH_LEVEL`.
///
/// # Errors
/// The request for a state of the device could not be sent.
fn step(object: &DeviceObject) -> Result<(), Error> {
    let power = object.power();
    let mut result = Ok(());
    loop {
        let old = power.change(|state| Next::of(state).after(state));
        match Next::of(old) {
            Next::Nothing => return result,
            Next::Request(state) => match request(object, state) {
                Ok(()) => return result,
                Err(error) => {
                    power.fail(object, state, error);
                    result = Err(error);
                }
            },
            Next::CompleteSystemIrp => {
                let irp = power.system_irp.load(Ordering::Relaxed);
                // SAFETY: this thread has cleared the bit, so it owns the IRP.
                unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
                // SAFETY: the IRP had a hold, and its address is only the tag of the hold.
                unsafe { Extension::release(object.as_ptr(), irp) };
            }
        }
    }
}

/// Requests a state of the device (`PoRequestPowerIrp`). The thread has set `SENT`.
fn request(object: &DeviceObject, state: DevicePowerState) -> Result<(), Error> {
    let device = object.as_ptr();
    let tag = object.power().tag();
    // SAFETY: the reference keeps the device object, which was started, so its extension is initialised.
    let extension = unsafe { Extension::of(device) };
    if extension.is_removed() || !extension.holds.acquire(tag) {
        return Err(Error::DELETE_PENDING);
    }
    let context = ManuallyDrop::new(object.clone()).as_raw();
    // SAFETY: the device object is attached, and the hold keeps it there. The IRQL is at most DISPATCH_LEVEL.
    let status = unsafe {
        nt::PoRequestPowerIrp(
            device,
            nt::IRP_MN_SET_POWER,
            state as i32,
            Some(requested),
            context.cast(),
            null_mut(),
        )
    };
    if status == nt::STATUS_PENDING {
        return Ok(());
    }
    // SAFETY: the routine is not called, so this is the only use of the context.
    drop(unsafe { DeviceObject::from_raw(context) });
    // SAFETY: the hold was acquired above.
    unsafe { Extension::release(device, tag) };
    Err(Error::INSUFFICIENT_RESOURCES)
}

/// The `PowerCompletion` routine of [`request`].
///
/// # Safety
/// Called by the power manager, once, at most at `DISPATCH_LEVEL` and with no spin lock held, with a reference to the device object.
unsafe extern "C" fn requested(
    device: *mut nt::DEVICE_OBJECT,
    _minor: u8,
    state: i32,
    context: *mut c_void,
    status: *mut nt::IO_STATUS_BLOCK,
) {
    // SAFETY: guaranteed by the caller.
    let object = unsafe { DeviceObject::from_raw(context.cast()) };
    // The status is at the start of the block, in a union.
    // SAFETY: as above.
    let status = unsafe { status.cast::<i32>().read() };
    let power = object.power();
    match (Error::check(status), state == DevicePowerState::D0 as i32) {
        (Ok(()), true) => {
            power.change_and_defer(&object, |state| state & !(SENT | RESTARTED) | ON);
        }
        (Err(error), true) => power.fail(&object, DevicePowerState::D0, error),
        // The device was notified before the lower drivers that it loses its power, so it is not in D0 even if they have failed.
        (_, false) => {
            power.note_status(status);
            power.change_and_defer(&object, |state| state & !(SENT | ON));
        }
    }
    // A work item may have to wait for a thread, or for a page on a disk that is already off, so the system does not wait for the work item.
    if power.state.load(Ordering::Relaxed) & SYSTEM_IRP != 0 {
        let _ = step(&object);
    }
    // SAFETY: `request` has acquired the hold. The reference keeps the device object.
    unsafe { Extension::release(device, power.tag()) };
}

/// The deferred part of [`Power::change_and_defer`].
///
/// # Safety
/// [`DeviceObject::power_link`] returned `link`, and the work item of the device object runs.
unsafe fn deferred(link: NonNull<Deferred>, irql: &mut PassiveLevel) {
    // SAFETY: guaranteed by the caller; the work item's reference keeps the block.
    let object = unsafe { DeviceObject::of_power_link(link) };
    let power = object.power();
    let old = power.change(|state| match state & UNREPORTED {
        0 => state & !DEFERRED,
        _ => state & !(DEFERRED | UNREPORTED) | REPORTING,
    });
    if old & UNREPORTED != 0 {
        tell(&object, irql);
        power.change(|state| state & !REPORTING);
    }
    let _ = step(&object);
}

/// Notifies the device that it cannot be powered up, unless it is removed. `Device::remove` completes the requests then.
fn tell(object: &DeviceObject, irql: &mut PassiveLevel) {
    let (device, power) = (object.as_ptr(), object.power());
    // SAFETY: as in `request`.
    let extension = unsafe { Extension::of(device) };
    if extension.is_removed() || !extension.holds.acquire(power.tag()) {
        return;
    }
    let error = power.error.load(Ordering::Relaxed).cast_signed();
    if let Err(error) = Error::check(error) {
        // SAFETY: the hold was just acquired.
        unsafe { extension.power_up_failed(error, irql) };
        // SAFETY: as above.
        unsafe { Extension::called(device) };
    }
    // SAFETY: as above.
    unsafe { Extension::release(device, power.tag()) };
}

#[cfg(test)]
mod tests {
    use super::{REFERENCE, with_reference};

    #[test]
    fn references_that_were_forgotten_do_not_wrap() {
        assert_eq!(with_reference(usize::MAX - REFERENCE), Some(usize::MAX));
        assert_eq!(with_reference(REFERENCE * 0xffff_ffff), None);
    }
}
