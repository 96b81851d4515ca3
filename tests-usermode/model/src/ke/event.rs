//! Events, and waits for objects.

use std::{ffi::c_void, ptr::null_mut, sync::atomic::Ordering};

use nt::{
    DISPATCH_LEVEL, KEVENT, KTIMER, NTSTATUS, NotificationTimer, STATUS_SUCCESS, STATUS_TIMEOUT,
};

use crate::{
    host::{
        Call, footprint,
        layout::{Dispatcher, Mutant},
        thread::Thread,
        wait::Wait,
    },
    ke::mutex::{MUTANT_OBJECT, SEMAPHORE_OBJECT},
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

/// `EventSynchronizationObject` and `TimerSynchronizationObject` of the kernel's object types. A wait resets such an
/// object; the others stay set.
const SYNCHRONIZATION: [u8; 2] = [1, crate::ke::timer::TIMER_SYNCHRONIZATION_OBJECT];

impl Dispatcher {
    /// Satisfies a thread's wait for an object, if the object is signalled; else returns `None`.
    pub(super) fn take(&self, thread: &Thread) -> Option<()> {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        match self.kind.load(Ordering::Relaxed) {
            MUTANT_OBJECT => {
                // SAFETY: an object of this kind is a mutex.
                let mutant = unsafe { &*(&raw const *self).cast::<Mutant>() };
                mutant.take(thread)
            }
            SEMAPHORE_OBJECT => {
                let take = |count: i32| (count > 0).then(|| count - 1);
                let taken = self.signal.fetch_update(order.0, order.1, take);
                taken.ok().map(drop)
            }
            kind if SYNCHRONIZATION.contains(&kind) => {
                let taken = self.signal.compare_exchange(1, 0, order.0, order.1);
                taken.ok().map(drop)
            }
            _ => (self.signal.load(Ordering::Acquire) != 0).then_some(()),
        }
    }
}

impl Call {
    /// Returns the object that a routine is called for. It must be initialised, and not on the stack of a function that has
    /// returned.
    ///
    /// # Safety
    /// As for [`Call::view`].
    pub(super) unsafe fn dispatcher<'a, T>(&self, object: *mut T) -> &'a Dispatcher {
        self.require_there(object);
        // SAFETY: guaranteed by the caller.
        let dispatcher = unsafe { self.view::<Dispatcher, _>(object) };
        self.require(
            dispatcher.waiters.is_linked_to_itself(),
            Rule::Pointer,
            || {
                let bug_check = BugCheck(0x50, [object.addr() as u64, 0, 0, 0]);
                let at = self.once(object.addr());
                let what = format!(
                    "{object:?} is not an event or another object that was initialised{at}"
                );
                (bug_check, what)
            },
        );
        dispatcher
    }

    /// Stops the system if the IRQL is too high to wait for an object.
    fn require_wait(&self, object: &Dispatcher, highest: u8) {
        let address = (&raw const *object).addr();
        let irql = self.irql();
        self.require(irql <= highest, Rule::IrqlKeWaitForMutexObject, || {
            let bug_check = BugCheck::verifier(0x3b, [irql.into(), address as u64, 0]);
            (bug_check, format!("the thread waits at IRQL {irql}"))
        });
    }

    /// Waits for an object.
    pub(crate) fn wait_for_object(&self, object: &Dispatcher) {
        self.require_wait(object, APC_LEVEL);
        let address = (&raw const *object).addr();
        if self.irql() == APC_LEVEL || self.is_guarded() {
            (self.kernel.upcalls.waits_at_apc_level)(self, address);
        }
        self.forget_pulse();
        self.wait_for(Wait::Object(address), || {
            object.take(self).or_else(|| self.take_pulse(address))
        });
    }

    /// Waits for an object until a time, and returns whether it was signalled. A timer ends the wait.
    pub(crate) fn wait_for_object_until(&self, object: &Dispatcher, due: i64) -> bool {
        self.require_wait(object, APC_LEVEL);
        let mut timer = KTIMER { Reserved: [0; 8] };
        let timer = self.initialise_timer(&raw mut timer, NotificationTimer);
        self.set_timer(timer, due, null_mut());
        let (awaited, timeout) = ((&raw const *object).addr(), (&raw const *timer).addr());
        self.forget_pulse();
        let is_set = self.wait_for(Wait::Timed(awaited, timeout), || {
            let taken = object.take(self).or_else(|| self.take_pulse(awaited));
            let taken = taken.map(|()| true);
            taken.or_else(|| timer.header.take(self).map(|()| false))
        });
        self.kernel.clock.cancel(timeout);
        is_set
    }

    /// Ends a routine that signals an object. The thread that waits for it can run before the driver continues, unless the driver has said that
    /// its next call is a wait.
    pub(super) fn signalled<T>(&self, object: *const T, wait: u8) {
        self.must_wait.store(wait != 0, Ordering::Relaxed);
        if wait == 0 {
            self.switch_after(self.routine(), object);
        }
    }

    /// Sets an event; returns whether it was already set.
    pub(crate) fn set_event(&self, event: &Dispatcher) -> bool {
        let was_set = event.signal.swap(1, Ordering::AcqRel) != 0;
        let address = (&raw const *event).addr();
        self.kernel.sleepers.wake(Wait::Object(address));
        was_set
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeInitializeEvent(event: *mut KEVENT, kind: i32, state: u8) {
    let call = Call::enter_noted("KeInitializeEvent");
    footprint::initialise(event);
    call.note_initialised(event);
    call.require_room(event);
    // SAFETY: the caller passes memory for an event.
    unsafe { event.write(KEVENT { Header: [0; 3] }) };
    // SAFETY: as above, and zero is valid for every field.
    let event = unsafe { call.view::<Dispatcher, _>(event) };
    event
        .kind
        .store(u8::try_from(kind).unwrap_or_default(), Ordering::Relaxed);
    event.signal.store(state.into(), Ordering::Relaxed);
    event.waiters.initialise();
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeSetEvent(event: *mut KEVENT, _increment: i32, wait: u8) -> i32 {
    let call = Call::enter_visible("KeSetEvent", event);
    let most = if wait == 0 { DISPATCH_LEVEL } else { 1 };
    call.require_at_most(most, Rule::IrqlKeSetEvent, 0x2_0016);
    if call.request_event.get().0 == event.addr() {
        call.request_event.set((event.addr(), true));
    }
    // SAFETY: the caller passes an event.
    let object = unsafe { call.dispatcher(event) };
    let was_set = call.set_event(object);
    call.signalled(event, wait);
    i32::from(was_set)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeClearEvent(event: *mut KEVENT) {
    let call = Call::enter_visible("KeClearEvent", event);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    // SAFETY: the caller passes an event.
    let event = unsafe { call.dispatcher(event) };
    event.signal.store(0, Ordering::Release);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keresetevent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeResetEvent(event: *mut KEVENT) -> i32 {
    let call = Call::enter_visible("KeResetEvent", event);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    // SAFETY: the caller passes an event.
    let event = unsafe { call.dispatcher(event) };
    event.signal.swap(0, Ordering::AcqRel)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereadstateevent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReadStateEvent(event: *mut KEVENT) -> i32 {
    let call = Call::enter_visible("KeReadStateEvent", event);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    // SAFETY: the caller passes an event.
    let event = unsafe { call.dispatcher(event) };
    event.signal.load(Ordering::Acquire)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeWaitForSingleObject(
    object: *mut c_void,
    _reason: i32,
    mode: i8,
    _alertable: u8,
    timeout: *mut i64,
) -> NTSTATUS {
    let call = Call::enter_visible("KeWaitForSingleObject", object);
    let place = object;
    // SAFETY: the caller passes an event, a timer, a mutex or a semaphore.
    let object = unsafe { call.dispatcher(object) };
    let is_mutex = object.kind.load(Ordering::Relaxed) == MUTANT_OBJECT;
    call.require_wait_mode(place, mode, is_mutex);
    // SAFETY: the caller passes NULL or a time.
    let timeout = unsafe { call.optional(timeout) };
    let is_set = match timeout {
        None => {
            call.wait_for_object(object);
            true
        }
        Some(0) => {
            call.require_wait(object, DISPATCH_LEVEL);
            object.take(&call).is_some()
        }
        Some(due) => call.wait_for_object_until(object, due),
    };
    if is_set {
        STATUS_SUCCESS
    } else {
        STATUS_TIMEOUT
    }
}
