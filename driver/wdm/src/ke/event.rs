//! Event objects.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use pinned_init::{PinInit, pin_data, pin_init, pin_init_from_closure};

use crate::ke::{
    irql::{AtMostDispatch, Waitable},
    place::Place,
    wait,
};

/// The threads that an [`Event`] releases when it is set.
///
/// WDK: [KeInitializeEvent](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializeevent).
///
/// # Examples
///
/// ```
/// use pinned_init::PinInit;
/// use wdm::{Event, EventType};
///
/// /// Stays set, so that every thread that waits for it can stop.
/// fn stop() -> impl PinInit<Event> {
///     Event::new(EventType::Notification, false)
/// }
/// ```
#[doc(alias = "EVENT_TYPE")]
#[doc(alias = "NotificationEvent")]
#[doc(alias = "SynchronizationEvent")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// All waiting threads, and all that wait before the event is cleared (`NotificationEvent`).
    Notification,
    /// One thread, whose wait clears the event (`SynchronizationEvent`).
    Synchronization,
}

/// An event object: threads wait until other code, which may run at `DISPATCH_LEVEL`, sets it (`KEVENT`).
///
/// WDK: [Event Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/event-objects).
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use wdm::{Dpc, DpcRoutine, Event, PassiveLevel, Shared, irql::DispatchLevel};
///
/// /// Signals a thread that the device is ready.
/// struct Ready(Shared<Event>);
///
/// impl DpcRoutine for Ready {
///     fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
///         dpc.0.set(irql);
///     }
/// }
///
/// fn is_ready_soon(ready: &Event, irql: &mut PassiveLevel) -> bool {
///     ready.wait_for(Duration::from_millis(100), irql)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver waits with a spin lock held, or in a DPC; or it frees the event while a thread waits for it. Here a wait takes the
/// [`PassiveLevel`](crate::PassiveLevel) token, which is borrowed while a spin lock is held, and borrows the event.
#[doc(alias = "KEVENT")]
#[pin_data]
pub struct Event {
    #[pin]
    object: UnsafeCell<nt::KEVENT>,
    place: Place,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: only the kernel's routines access the object, and any thread may call them.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Initialises an event (`KeInitializeEvent`).
    ///
    /// WDK: [KeInitializeEvent](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializeevent).
    ///
    /// # IRQL
    /// Any.
    #[doc(alias = "KeInitializeEvent")]
    pub fn new(kind: EventType, is_set: bool) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            object <- initialised(kind, is_set),
            place: Place::of(this),
            _pinned: PhantomPinned,
        })
    }

    /// Returns the pointer that the kernel's routines take.
    fn object(&self) -> *mut nt::KEVENT {
        self.place.check(self);
        self.object.get()
    }

    /// Sets the event and returns whether it was set before (`KeSetEvent`).
    ///
    /// WDK: [KeSetEvent](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetevent).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeSetEvent")]
    pub fn set<L: AtMostDispatch>(&self, _irql: &mut L) -> bool {
        // KeSetEvent may only read a notification event that is set already. So what this thread has written before is visible before that read, to a
        // thread that clears the event afterwards.
        fence(Ordering::SeqCst);
        // SAFETY: the event was initialised in place. With FALSE for Wait the routine may be called at
        // DISPATCH_LEVEL.
        unsafe { nt::KeSetEvent(self.object(), 0, 0) != 0 }
    }

    /// Clears the event (`KeClearEvent`).
    ///
    /// A thread that clears the event, then finds nothing to do, and waits, misses nothing that another thread leaves before it sets the event.
    ///
    /// WDK: [KeClearEvent](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keclearevent).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeClearEvent")]
    pub fn clear<L: AtMostDispatch>(&self, _irql: &mut L) {
        // SAFETY: the event was initialised in place.
        unsafe { nt::KeClearEvent(self.object()) };
        // The routine is one write. Without the fence, a processor could find a list empty before it clears the event that another thread has
        // set after it pushed to the list.
        fence(Ordering::SeqCst);
    }

    /// Waits until the event is set (`KeWaitForSingleObject`).
    ///
    /// The thread cannot be terminated while it waits, so the driver must guarantee that the event is set. Do not
    /// wait in a dispatch routine for an action of user mode, which would keep a process from exiting: pend the
    /// request instead.
    ///
    /// WDK:
    /// [KeWaitForSingleObject](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitforsingleobject).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeWaitForSingleObject")]
    pub fn wait<L: Waitable>(&self, irql: &mut L) {
        // SAFETY: the event was initialised in place, and is borrowed until the wait ends.
        unsafe { wait::for_object(self.object().cast(), irql) };
    }

    /// Waits until the event is set, at most for a time interval, and returns whether it was set.
    ///
    /// WDK:
    /// [KeWaitForSingleObject](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kewaitforsingleobject).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "KeWaitForSingleObject")]
    pub fn wait_for<L: Waitable>(&self, time: Duration, irql: &mut L) -> bool {
        // SAFETY: as above.
        unsafe { wait::for_object_until(self.object().cast(), time, irql) }
    }
}

/// Initialises the event object in place.
fn initialised(kind: EventType, is_set: bool) -> impl PinInit<UnsafeCell<nt::KEVENT>> {
    let kind = match kind {
        EventType::Notification => nt::_EVENT_TYPE::NotificationEvent,
        EventType::Synchronization => nt::_EVENT_TYPE::SynchronizationEvent,
    };
    let initialise = move |slot: *mut UnsafeCell<nt::KEVENT>| {
        // SAFETY: the slot is valid for writes, and the event stays there.
        unsafe { nt::KeInitializeEvent(UnsafeCell::raw_get(slot), kind, u8::from(is_set)) };
        Ok(())
    };
    // SAFETY: the closure initialises the slot and does not fail.
    unsafe { pin_init_from_closure(initialise) }
}
