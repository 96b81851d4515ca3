//! Two drivers of a device stack that call each other's routines directly, each with its own spin lock.

use std::{
    cell::Cell,
    ptr::{from_ref, null, null_mut},
    sync::Arc,
};

use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS};
use ntmodel::Kernel;

use crate::{
    frame::{CORRECT, Lock},
    steps::{FIRST, SECOND, Stage, Steps, complete, end_of, entry, lower, mark, own, skip},
};

const CALLS_UNDER_LOCK: u8 = 1;
const CALLS_BACK: u8 = 2;
const COMPLETES: u8 = 3;
/// The correct drivers of which one calls the other back.
const CALLS_BACK_UNLOCKED: u8 = 10;
const COMPLETES_UNLOCKED: u8 = 11;

/// The lower driver, which reports an event to its client.
struct Bus<const M: u8>;

struct Port {
    lock: Lock,
    client: Cell<*const Client>,
    events: Cell<u32>,
}

impl Port {
    /// The routine that the client calls.
    fn submit(&self) {
        self.lock.with(|| self.events.set(self.events.get() + 1));
    }
}

impl<const M: u8> Steps for Bus<M> {
    type Own = Port;

    fn add(_: *mut DEVICE_OBJECT, own: &Port) {
        own.lock.initialise();
        own.client.set(null());
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Port, irp: *mut IRP, _: u32) -> NTSTATUS {
        let irql = own.lock.acquire();
        // SAFETY: the upper driver is there while requests are sent.
        let client = unsafe { &*own.client.get() };
        if matches!(M, CALLS_UNDER_LOCK | CALLS_BACK | COMPLETES) {
            client.reported::<M>();
            own.lock.release(irql);
        } else {
            own.lock.release(irql);
            client.reported::<M>();
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// The upper driver.
struct Top<const M: u8>;

struct Client {
    lock: Lock,
    port: Cell<*const Port>,
    kept: Cell<*mut IRP>,
}

impl Client {
    fn port(&self) -> &Port {
        // SAFETY: the lower driver stays until this one has detached its device object.
        unsafe { &*self.port.get() }
    }

    /// The routine that the lower driver calls.
    fn reported<const M: u8>(&self) {
        if matches!(M, CALLS_BACK | CALLS_BACK_UNLOCKED) {
            self.port().submit();
        }
        let kept = self.lock.with(|| self.kept.replace(null_mut()));
        if !kept.is_null() {
            complete(kept, STATUS_SUCCESS);
        }
    }
}

impl<const M: u8> Steps for Top<M> {
    type Own = Client;

    fn add(device: *mut DEVICE_OBJECT, own_data: &Client) {
        own_data.lock.initialise();
        let port = own::<Bus<M>>(lower::<Self>(device));
        own_data.port.set(port);
        port.client.set(from_ref(own_data));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Client, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == SECOND {
            return skip(lower::<Self>(device), irp);
        }
        if matches!(M, COMPLETES | COMPLETES_UNLOCKED) {
            mark(irp);
            own.lock.with(|| own.kept.set(irp));
            return STATUS_PENDING;
        }
        own.lock.with(|| own.port().submit());
        complete(irp, STATUS_SUCCESS)
    }
}

fn reported<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Bus<M>>, &[entry::<Top<M>>]);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || file.device_control(FIRST, &[], Vec::new()));
    end_of(&stage.send(SECOND));
    let kept = other.join();
    end_of(&stage.send(SECOND));
    end_of(&kept);
    stage.tear_down();
}

pairs! {
    locks_of_two_drivers_are_acquired_in_two_orders:
        reported::<CALLS_UNDER_LOCK>, reported::<CORRECT>, LockOrder, "";
    driver_is_called_back_under_its_spin_lock:
        reported::<CALLS_BACK>, reported::<CALLS_BACK_UNLOCKED>, SpinLock, "";
    irp_is_completed_under_the_spin_lock_of_another_driver:
        reported::<COMPLETES>, reported::<COMPLETES_UNLOCKED>, SpinLockSafe, "";
}
