//! Cancel-safe IRP queues: the driver has the queue and its lock, and these routines handle the cancellation.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/cancel-safe-irp-queues)

use std::{ffi::c_void, ptr::null_mut, sync::Arc};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_CSQ, IO_CSQ_IRP_CONTEXT, IRP, NTSTATUS, PIO_CSQ_ACQUIRE_LOCK,
    PIO_CSQ_COMPLETE_CANCELED_IRP, PIO_CSQ_INSERT_IRP, PIO_CSQ_INSERT_IRP_EX,
    PIO_CSQ_PEEK_NEXT_IRP, PIO_CSQ_RELEASE_LOCK, PIO_CSQ_REMOVE_IRP, SL_PENDING_RETURNED,
    STATUS_SUCCESS,
};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
    },
    io::irp::IrpRecord,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `IO_TYPE_CSQ_IRP_CONTEXT`, `IO_TYPE_CSQ` and `IO_TYPE_CSQ_EX`
const CONTEXT: u32 = 1;
const QUEUE: u32 = 2;
const QUEUE_EX: u32 = 3;

/// A queue, whose routines are all set.
#[derive(Clone, Copy)]
struct Queue {
    csq: *mut IO_CSQ,
    insert: *mut c_void,
    is_ex: bool,
    remove: unsafe extern "C" fn(*mut IO_CSQ, *mut IRP),
    peek: unsafe extern "C" fn(*mut IO_CSQ, *mut IRP, *mut c_void) -> *mut IRP,
    acquire: unsafe extern "C" fn(*mut IO_CSQ, *mut u8),
    release: unsafe extern "C" fn(*mut IO_CSQ, u8),
    complete: unsafe extern "C" fn(*mut IO_CSQ, *mut IRP),
}

impl Queue {
    fn of(call: &Call, csq: *mut IO_CSQ) -> Self {
        footprint::touch(csq.addr(), Access::Commuting);
        // SAFETY: the caller passes a queue.
        let fields = unsafe { call.view::<IO_CSQ, _>(csq) };
        let queue = Self::known(csq, fields);
        let Some(queue) = queue else {
            let what = format!("the cancel-safe queue {csq:?} was not initialised");
            call.stop(BugCheck::NONE, Rule::CancelSafeQueue, what);
        };
        queue
    }

    fn known(csq: *mut IO_CSQ, fields: &IO_CSQ) -> Option<Self> {
        (fields.Type == QUEUE || fields.Type == QUEUE_EX).then_some(())?;
        Some(Self {
            csq,
            insert: (!fields.CsqInsertIrp.is_null()).then_some(fields.CsqInsertIrp)?,
            is_ex: fields.Type == QUEUE_EX,
            remove: fields.CsqRemoveIrp?,
            peek: fields.CsqPeekNextIrp?,
            acquire: fields.CsqAcquireLock?,
            release: fields.CsqReleaseLock?,
            complete: fields.CsqCompleteCanceledIrp?,
        })
    }

    /// Runs a step with the queue's lock held.
    fn locked<R>(self, call: &Call, step: impl FnOnce() -> R) -> R {
        let before = call.irql();
        let mut irql = 0;
        // SAFETY: the driver's routine is called with its queue and room for an IRQL.
        unsafe { Call::in_driver(self.acquire, (self.csq, &raw mut irql)) };
        let result = step();
        // SAFETY: as above.
        unsafe { Call::in_driver(self.release, (self.csq, irql)) };
        let now = call.irql();
        call.require(now == before, Rule::CancelSafeQueue, || {
            format!("CsqAcquireLock was called at IRQL {before}, and CsqReleaseLock has returned at {now}")
        });
        result
    }

    fn insert(self, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
        if self.is_ex {
            // SAFETY: a queue of this type has a routine of this type.
            let insert =
                unsafe { std::mem::transmute::<*mut c_void, PIO_CSQ_INSERT_IRP_EX>(self.insert) };
            return insert.map_or(STATUS_SUCCESS, |insert| {
                // SAFETY: the driver's routine is called with its queue, with the lock held.
                unsafe { Call::in_driver(insert, (self.csq, irp, context)) }
            });
        }
        // SAFETY: as above.
        let insert = unsafe { std::mem::transmute::<*mut c_void, PIO_CSQ_INSERT_IRP>(self.insert) };
        if let Some(insert) = insert {
            // SAFETY: as above.
            unsafe { Call::in_driver(insert, (self.csq, irp)) };
        }
        STATUS_SUCCESS
    }

    /// Removes an IRP that can no longer be cancelled.
    fn remove(self, call: &Call, record: &IrpRecord) {
        // SAFETY: the driver's routine is called with its queue and an IRP of it, with the lock held.
        unsafe { Call::in_driver(self.remove, (self.csq, record.raw())) };
        self.forget(call, record);
    }

    /// Clears the fields that mark an IRP as queued.
    fn forget(self, call: &Call, record: &IrpRecord) {
        let word = context_of(record);
        let known = locked(&record.state).csq.take();
        call.require(known == Some((self.csq.addr(), word.addr())), Rule::CancelSafeQueue, || {
            format!(
                "DriverContext[3] of {record} was changed while it was on a cancel-safe queue, which uses the word"
            )
        });
        if word != self.csq.cast() {
            call.require_there(word);
            // SAFETY: the word is the context that the IRP was inserted with.
            let context = unsafe { call.view::<IO_CSQ_IRP_CONTEXT, _>(word) };
            let is_own = context.Type == CONTEXT && context.Irp == record.raw();
            call.require(is_own, Rule::CancelSafeQueue, || {
                format!("the IO_CSQ_IRP_CONTEXT of {record} was changed while it was queued")
            });
            // SAFETY: the context is the driver's, which keeps it while the IRP is queued.
            unsafe { (*word.cast::<IO_CSQ_IRP_CONTEXT>()).Irp = null_mut() };
        }
        set_context(record, null_mut());
    }

    fn complete_cancelled(self, irp: *mut IRP) {
        // SAFETY: the driver's routine is called with its queue and an IRP that is no longer on it.
        unsafe { Call::in_driver(self.complete, (self.csq, irp)) };
    }
}

fn context_of(record: &IrpRecord) -> *mut c_void {
    // SAFETY: the word belongs to the queue of the IRP.
    unsafe { nt::irp::driver_context::<3>(record.raw()) }
}

/// Returns the address of the cancel-safe queue that an IRP is on.
fn csq_of(record: &IrpRecord) -> Option<usize> {
    locked(&record.state).csq.map(|(csq, _)| csq)
}

fn set_context(record: &IrpRecord, word: *mut c_void) {
    // SAFETY: as above.
    unsafe { nt::irp::set_driver_context::<3>(record.raw(), word) };
}

impl Call {
    fn initialise_csq(
        &self,
        csq: *mut IO_CSQ,
        kind: u32,
        insert: *mut c_void,
        routines: (
            PIO_CSQ_REMOVE_IRP,
            PIO_CSQ_PEEK_NEXT_IRP,
            PIO_CSQ_ACQUIRE_LOCK,
            PIO_CSQ_RELEASE_LOCK,
            PIO_CSQ_COMPLETE_CANCELED_IRP,
        ),
    ) -> NTSTATUS {
        footprint::initialise(csq);
        self.require_room(csq);
        let live = self.kernel.io().live();
        let queued = live
            .iter()
            .find(|record| csq_of(record) == Some(csq.addr()));
        self.require(queued.is_none(), Rule::CancelSafeQueue, || {
            let queued = queued.map_or_else(String::new, ToString::to_string);
            format!("the cancel-safe queue {csq:?} is initialised again while {queued} is on it")
        });
        let fields = IO_CSQ {
            Type: kind,
            CsqInsertIrp: insert,
            CsqRemoveIrp: routines.0,
            CsqPeekNextIrp: routines.1,
            CsqAcquireLock: routines.2,
            CsqReleaseLock: routines.3,
            CsqCompleteCanceledIrp: routines.4,
            ReservePointer: null_mut(),
        };
        let complete = Queue::known(csq, &fields).is_some();
        self.require(complete, Rule::CancelSafeQueue, || {
            format!("the cancel-safe queue {csq:?} is initialised with a routine that is NULL")
        });
        // SAFETY: the caller passes memory for a queue.
        unsafe { csq.write(fields) };
        STATUS_SUCCESS
    }

    fn csq_insert(
        &self,
        csq: *mut IO_CSQ,
        irp: *mut IRP,
        context: *mut IO_CSQ_IRP_CONTEXT,
        insert_context: *mut c_void,
    ) -> NTSTATUS {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        let queue = Queue::of(self, csq);
        let record = self.live_irp(irp);
        self.require(csq_of(&record).is_none(), Rule::CancelSafeQueue, || {
            format!("{record} is inserted into a cancel-safe queue, but is already on one")
        });
        let word = if context.is_null() {
            csq.cast::<c_void>()
        } else {
            self.require_room(context);
            self.note_initialised(context);
            let fields = IO_CSQ_IRP_CONTEXT {
                Type: CONTEXT,
                Irp: irp,
                Csq: csq,
            };
            // SAFETY: the caller passes memory for a context.
            unsafe { context.write(fields) };
            context.cast()
        };
        set_context(&record, word);
        locked(&record.state).csq = Some((csq.expose_provenance(), word.addr()));
        let (status, is_cancelled) =
            queue.locked(self, || self.insert_locked(queue, &record, insert_context));
        if is_cancelled {
            queue.complete_cancelled(irp);
        }
        status
    }

    /// Inserts an IRP with the queue's lock held; returns the status, and whether the IRP was cancelled before its Cancel
    /// routine was set.
    fn insert_locked(
        &self,
        queue: Queue,
        record: &Arc<IrpRecord>,
        insert_context: *mut c_void,
    ) -> (NTSTATUS, bool) {
        // Another thread can reach the IRP when it is in the driver's queue, so it is marked before.
        let before = record.stack().Control;
        record.stack().Control = before | SL_PENDING_RETURNED;
        let status = queue.insert(record.raw(), insert_context);
        if status < 0 {
            // The driver may have marked the IRP.
            record.stack().Control = before;
            queue.forget(self, record);
            return (status, false);
        }
        self.see_irp("IoCsqInsertIrp: IoSetCancelRoutine", record);
        // SAFETY: the caller owns the IRP, and the lock keeps other threads from it.
        unsafe { nt::irp::IoSetCancelRoutine(record.raw(), Some(cancel)) };
        self.see_irp("IoCsqInsertIrp: Irp->Cancel", record);
        // If the routine has returned, it waits for the lock.
        if record.is_cancelled() && record.take_cancel_routine().is_some() {
            queue.remove(self, record);
            return (status, true);
        }
        (status, false)
    }

    /// Records that a step reads or changes an IRP that another thread can cancel.
    fn see_irp(&self, what: &'static str, record: &IrpRecord) {
        self.switch_point(what, record.address());
        self.synchronise(record.address());
    }

    /// Removes an IRP from a queue whose lock is held. Returns whether it is not being cancelled.
    fn take_locked(&self, queue: Queue, record: &IrpRecord) -> bool {
        self.see_irp("IoCsqRemoveIrp: IoSetCancelRoutine", record);
        let taken = record.take_cancel_routine().is_some();
        if taken {
            queue.remove(self, record);
        }
        taken
    }

    /// Returns the next IRP that `CsqPeekNextIrp` finds after one.
    fn peek(&self, queue: Queue, after: *mut IRP, context: *mut c_void) -> Option<Arc<IrpRecord>> {
        // SAFETY: the driver's routine is called with its queue, with the lock held.
        let irp = unsafe { Call::in_driver(queue.peek, (queue.csq, after, context)) };
        if irp.is_null() {
            return None;
        }
        let record = self.live_irp(irp);
        self.require(
            csq_of(&record) == Some(queue.csq.addr()) && irp != after,
            Rule::CancelSafeQueue,
            || {
                if irp == after {
                    format!(
                        "CsqPeekNextIrp has returned {record}, and must return the one after it"
                    )
                } else {
                    format!("CsqPeekNextIrp has returned {record}, which is not on the queue")
                }
            },
        );
        Some(record)
    }
}

/// The Cancel routine of an IRP on a cancel-safe queue.
unsafe extern "C" fn cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the caller holds the cancel spin lock.
    let irql = unsafe { nt::irp::cancel_irql(irp) };
    // SAFETY: as above.
    unsafe { nt::IoReleaseCancelSpinLock(irql) };
    let call = Call::enter_noted("the Cancel routine of a cancel-safe queue");
    let record = call.live_irp(irp);
    let csq = csq_of(&record);
    let csq = std::ptr::with_exposed_provenance_mut(csq.unwrap_or_default());
    let queue = Queue::of(&call, csq);
    queue.locked(&call, || queue.remove(&call, &record));
    queue.complete_cancelled(irp);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinitialize)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCsqInitialize(
    csq: *mut IO_CSQ,
    insert: PIO_CSQ_INSERT_IRP,
    remove: PIO_CSQ_REMOVE_IRP,
    peek: PIO_CSQ_PEEK_NEXT_IRP,
    acquire: PIO_CSQ_ACQUIRE_LOCK,
    release: PIO_CSQ_RELEASE_LOCK,
    complete: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS {
    let call = Call::enter_noted("IoCsqInitialize");
    let insert = insert.map_or(null_mut(), |insert| insert as *mut c_void);
    let routines = (remove, peek, acquire, release, complete);
    call.initialise_csq(csq, QUEUE, insert, routines)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinitializeex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCsqInitializeEx(
    csq: *mut IO_CSQ,
    insert: PIO_CSQ_INSERT_IRP_EX,
    remove: PIO_CSQ_REMOVE_IRP,
    peek: PIO_CSQ_PEEK_NEXT_IRP,
    acquire: PIO_CSQ_ACQUIRE_LOCK,
    release: PIO_CSQ_RELEASE_LOCK,
    complete: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS {
    let call = Call::enter_noted("IoCsqInitializeEx");
    let insert = insert.map_or(null_mut(), |insert| insert as *mut c_void);
    let routines = (remove, peek, acquire, release, complete);
    call.initialise_csq(csq, QUEUE_EX, insert, routines)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinsertirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCsqInsertIrp(csq: *mut IO_CSQ, irp: *mut IRP, context: *mut IO_CSQ_IRP_CONTEXT) {
    let call = Call::enter_noted("IoCsqInsertIrp");
    call.csq_insert(csq, irp, context, null_mut());
    call.switch_after("IoCsqInsertIrp", irp);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinsertirpex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCsqInsertIrpEx(
    csq: *mut IO_CSQ,
    irp: *mut IRP,
    context: *mut IO_CSQ_IRP_CONTEXT,
    insert_context: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_noted("IoCsqInsertIrpEx");
    let status = call.csq_insert(csq, irp, context, insert_context);
    call.switch_after("IoCsqInsertIrpEx", irp);
    status
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqremovenextirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCsqRemoveNextIrp(csq: *mut IO_CSQ, context: *mut c_void) -> *mut IRP {
    let call = Call::enter_noted("IoCsqRemoveNextIrp").at_most(DISPATCH_LEVEL);
    let queue = Queue::of(&call, csq);
    queue.locked(&call, || {
        let mut after = null_mut();
        while let Some(record) = call.peek(queue, after, context) {
            after = record.raw();
            if call.take_locked(queue, &record) {
                return after;
            }
        }
        null_mut()
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqremoveirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCsqRemoveIrp(csq: *mut IO_CSQ, context: *mut IO_CSQ_IRP_CONTEXT) -> *mut IRP {
    let call = Call::enter_noted("IoCsqRemoveIrp").at_most(DISPATCH_LEVEL);
    let queue = Queue::of(&call, csq);
    queue.locked(&call, || {
        footprint::touch(context.addr(), Access::Exclusive);
        // SAFETY: the caller passes the context of an IRP that it has inserted.
        let fields = unsafe { call.view::<IO_CSQ_IRP_CONTEXT, _>(context) };
        let of_queue = fields.Type == CONTEXT && fields.Csq == csq;
        call.require(of_queue, Rule::CancelSafeQueue, || {
            format!(
                "{context:?} is not the context of an IRP that was inserted into the cancel-safe queue {csq:?}"
            )
        });
        if fields.Irp.is_null() {
            return null_mut();
        }
        let record = call.live_irp(fields.Irp);
        if call.take_locked(queue, &record) {
            record.raw()
        } else {
            null_mut()
        }
    })
}
