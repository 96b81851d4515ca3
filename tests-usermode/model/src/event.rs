//! Events, and waiting for them.

use std::{ffi::c_void, sync::atomic::Ordering};

use nt::{DISPATCH_LEVEL, KEVENT, NTSTATUS, STATUS_SUCCESS};

use crate::{Rule, bug_check::BugCheck, call::Call, layout::Dispatcher, wait::Wait};

/// `NotificationEvent`, which stays set.
const NOTIFICATION_EVENT: u8 = 0;

impl Dispatcher {
    /// Takes what a wait takes of an object that is set, or gives nothing.
    fn take(&self) -> Option<()> {
        if self.kind.load(Ordering::Relaxed) == NOTIFICATION_EVENT {
            return (self.signal.load(Ordering::Acquire) != 0).then_some(());
        }
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        self.signal
            .compare_exchange(1, 0, order.0, order.1)
            .ok()
            .map(drop)
    }
}

impl Call {
    /// Waits for an object.
    pub(crate) fn wait_for_object(&self, object: &Dispatcher) {
        let address = (&raw const *object).addr();
        let irql = self.irql();
        self.require(irql < DISPATCH_LEVEL, Rule::IrqlKeApcLte2, || {
            let bug_check = BugCheck::verifier(0x3b, [irql.into(), address as u64, 0]);
            (bug_check, format!("the thread waits at IRQL {irql}"))
        });
        self.wait_for(Wait::Object(address), || object.take());
    }

    /// Sets an event, and says whether it was set.
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
    let call = Call::enter("KeInitializeEvent");
    // SAFETY: the caller gives room for an event.
    unsafe { event.write(KEVENT { Header: [0; 3] }) };
    // SAFETY: as above, and it is zeroed, as every field may be.
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
    // SAFETY: the caller gives an event.
    let event = unsafe { call.view::<Dispatcher, _>(event) };
    i32::from(call.set_event(event))
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeClearEvent(event: *mut KEVENT) {
    let call = Call::enter_visible("KeClearEvent", event);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    // SAFETY: the caller gives an event.
    let event = unsafe { call.view::<Dispatcher, _>(event) };
    event.signal.store(0, Ordering::Release);
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeWaitForSingleObject(
    object: *mut c_void,
    _reason: i32,
    _mode: i8,
    _alertable: u8,
    timeout: *mut i64,
) -> NTSTATUS {
    let call = Call::enter_visible("KeWaitForSingleObject", object);
    // SAFETY: the caller gives an object to wait for, of which this kernel has events.
    let object = unsafe { call.view::<Dispatcher, _>(object) };
    // SAFETY: the caller gives NULL or a time.
    let timeout = unsafe { timeout.as_ref() };
    if timeout == Some(&0) {
        const STATUS_TIMEOUT: NTSTATUS = 0x102;
        return object.take().map_or(STATUS_TIMEOUT, |()| STATUS_SUCCESS);
    }
    call.require(timeout.is_none(), Rule::Hang, || {
        (
            BugCheck(0, [0; 4]),
            "this kernel has no waits that end after a time".into(),
        )
    });
    call.wait_for_object(object);
    STATUS_SUCCESS
}
