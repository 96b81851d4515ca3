//! A device queue under the cancel spin lock, whose requests a DPC ends.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IRP, KDEVICE_QUEUE, KDPC, NTSTATUS, STATUS_CANCELLED,
    STATUS_PENDING, STATUS_SUCCESS, irp as io,
};
use ntmodel::{File, Kernel};

use crate::{
    frame::{CORRECT, acquire_cancel, release_cancel},
    steps::{FIRST, Stage, Steps, cancel, complete, end_of, mark},
};

const DOES_NOT_START: u8 = 1;
const CANCELS_STARTED: u8 = 2;
const INSERTS_TWICE: u8 = 3;
const STARTS_NO_NEXT: u8 = 4;
const COMPLETES_IN_DISPATCH_TOO: u8 = 5;
const STARTS_BOTH: u8 = 6;

struct StartIo<const M: u8>;

struct Own {
    queue: UnsafeCell<KDEVICE_QUEUE>,
    dpc: UnsafeCell<KDPC>,
    current: Cell<*mut IRP>,
}

impl Own {
    /// `IoStartPacket`.
    fn start_packet<const M: u8>(&self, irp: *mut IRP) -> NTSTATUS {
        mark(irp);
        let irql = acquire_cancel();
        nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<StartIo<M>>)));
        let entry = io::device_queue_entry(irp);
        let queued = nt!(KeInsertDeviceQueue(self.queue.get(), entry)) != 0;
        if queued && M == INSERTS_TWICE {
            nt!(KeInsertDeviceQueue(self.queue.get(), entry));
        }
        let starts = !queued && M != DOES_NOT_START || M == STARTS_BOTH;
        if starts {
            self.current.set(irp);
        }
        release_cancel(irql);
        if starts {
            self.start_io();
        }
        if M == COMPLETES_IN_DISPATCH_TOO && queued {
            complete(irp, nt::STATUS_DEVICE_BUSY);
        }
        STATUS_PENDING
    }

    /// `IoStartNextPacket`.
    fn start_next(&self) {
        let irql = acquire_cancel();
        self.current.set(null_mut());
        let entry = nt!(KeRemoveDeviceQueue(self.queue.get()));
        if !entry.is_null() {
            self.current.set(nt!(irp::from_device_queue_entry(entry)));
        }
        release_cancel(irql);
        if !entry.is_null() {
            self.start_io();
        }
    }

    /// The `StartIo` routine, which starts the device: its interrupt queues the DPC.
    fn start_io(&self) {
        let irql = acquire_cancel();
        let irp = self.current.get();
        if irp.is_null() {
            // The Cancel routine owns the IRP, and starts the next one.
            return release_cancel(irql);
        }
        nt!(irp::IoSetCancelRoutine(irp, None));
        release_cancel(irql);
        nt!(KeInsertQueueDpc(self.dpc.get(), irp.cast(), null_mut()));
    }
}

unsafe extern "C" fn served<const M: u8>(
    _: *mut KDPC,
    own: *mut c_void,
    irp: *mut c_void,
    _: *mut c_void,
) {
    // SAFETY: the context is the driver's data, which stays while a request is served.
    let own = unsafe { &*own.cast::<Own>() };
    if M != STARTS_NO_NEXT {
        own.start_next();
    }
    complete(irp.cast(), STATUS_SUCCESS);
}

impl<const M: u8> Steps for StartIo<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        nt!(KeInitializeDeviceQueue(own.queue.get()));
        let context = from_ref(own).cast_mut().cast();
        nt!(KeInitializeDpc(own.dpc.get(), Some(served::<M>), context));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let irql = nt!(KeRaiseIrqlToDpcLevel());
        let status = own.start_packet::<M>(irp);
        nt!(KeLowerIrql(irql));
        status
    }

    /// The tests leave no IRP in the queue.
    fn cleanup(_: &Own, _: *mut FILE_OBJECT) {}

    fn cancel(own: &Own, irp: *mut IRP) {
        let irql = nt!(irp::cancel_irql(irp));
        if M != CANCELS_STARTED && own.current.get() == irp {
            own.current.set(null_mut());
            release_cancel(irql);
            let irql = nt!(KeRaiseIrqlToDpcLevel());
            own.start_next();
            nt!(KeLowerIrql(irql));
        } else {
            let entry = io::device_queue_entry(irp);
            nt!(KeRemoveEntryDeviceQueue(own.queue.get(), entry));
            release_cancel(irql);
        }
        complete(irp, STATUS_CANCELLED);
    }

    fn remove(_: &Own) {
        nt!(KeFlushQueuedDpcs());
    }
}

fn cancelled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<StartIo<M>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || File::cancel_all(&file));
    let request = stage.send(FIRST);
    canceller.join();
    end_of(&request);
    stage.tear_down();
}

fn two_threads<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<StartIo<M>>(kernel);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(FIRST, &[], Vec::new()));
    });
    end_of(&stage.send(FIRST));
    other.join();
    stage.tear_down();
}

pairs! {
    request_that_was_not_queued_is_not_started:
        two_threads::<DOES_NOT_START>, two_threads::<CORRECT>, DeviceQueueBusy, "";
    entry_is_inserted_into_its_device_queue_twice:
        two_threads::<INSERTS_TWICE>, two_threads::<CORRECT>, ListEntry, "";
    next_request_is_not_started:
        two_threads::<STARTS_NO_NEXT>, two_threads::<CORRECT>, DeviceQueueBusy, "";
    queued_request_is_completed_by_the_dispatch_routine:
        two_threads::<COMPLETES_IN_DISPATCH_TOO>, two_threads::<CORRECT>, CompleteRequest, "Cancel routine is set";
    queued_request_is_started_too:
        two_threads::<STARTS_BOTH>, two_threads::<CORRECT>, DoubleCompletion, "completed again";
    request_is_cancelled_while_it_starts:
        cancelled::<CANCELS_STARTED>, cancelled::<CORRECT>, CompletedIrp, "after canceller has completed it";
}
