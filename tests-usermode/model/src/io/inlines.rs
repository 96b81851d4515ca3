//! The inline functions of `nt`, which call the model before they run.

use std::{ffi::c_void, sync::atomic::Ordering};

use nt::{IRP, model::Inline};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        layout::FREED,
        thread::{self, Mode, Thread},
    },
    io::irp::IrpRecord,
    verifier::{BugCheck, Rule},
};

/// Reports every inline function to the kernel of the calling thread.
pub(crate) fn watch() {
    nt::model::watch(before);
}

fn before(inline: Inline, object: *const c_void) {
    // A test that accesses an IRP, or calls an inline function outside a kernel, is not a driver.
    if thread::mode() != Mode::Driver {
        return;
    }
    let routine = match inline {
        Inline::Interlocked => "Interlocked*",
        Inline::AfterInterlocked => {
            return Call::enter_noted("Interlocked*").switch_after("Interlocked*", object);
        }
        Inline::SetCancelRoutine | Inline::ClearCancelRoutine => "IoSetCancelRoutine",
        Inline::ReadCancel => "Irp->Cancel",
        Inline::MarkIrpPending => "IoMarkIrpPending",
        Inline::Atomic => {
            require_not_freed(&Call::enter_noted("an atomic access"), object);
            return touched(object.addr());
        }
        Inline::InitializeListHead
        | Inline::InsertTailList
        | Inline::InsertHeadList
        | Inline::InsertEntry
        | Inline::RemoveEntryList => {
            return Call::enter_noted(list_routine(inline)).before_list_step(inline, object);
        }
        Inline::YieldProcessor => return Call::enter_noted("YieldProcessor").yield_processor(),
        Inline::SystemAddressForMdl => {
            let call = Call::enter_noted("MmGetSystemAddressForMdlSafe");
            call.require_mdl(object.cast_mut().cast());
            return;
        }
        Inline::UserPages => {
            return drop(Call::enter_visible("a copy of the user's buffer", object));
        }
    };
    let call = Call::enter_visible(routine, object);
    if inline == Inline::Interlocked {
        return require_not_freed(&call, object);
    }
    let irp = object.cast_mut().cast();
    let record = call.live_irp(irp);
    match inline {
        Inline::SetCancelRoutine | Inline::ClearCancelRoutine => call.require_owned(&record, 0x229),
        Inline::MarkIrpPending => call.require_owned(&record, 0x200),
        _ => {}
    }
    if inline == Inline::SetCancelRoutine {
        record.had_cancel_routine.store(true, Ordering::Relaxed);
    }
    if inline == Inline::MarkIrpPending {
        marked_pending(&call, &record);
    }
}

const fn list_routine(inline: Inline) -> &'static str {
    match inline {
        Inline::InitializeListHead => "InitializeListHead",
        Inline::InsertTailList => "InsertTailList",
        Inline::InsertHeadList => "InsertHeadList",
        Inline::InsertEntry => "InsertTailList or InsertHeadList",
        _ => "RemoveEntryList",
    }
}

/// Stops the system if a number is in memory that was freed.
fn require_not_freed(call: &Call, number: *const c_void) {
    // SAFETY: the driver is about to access the number, of which the shortest has one byte.
    let first = unsafe { number.cast::<u8>().read_volatile() };
    let freed = first == FREED && call.kernel.is_freed(number.addr());
    call.require(!freed, Rule::FreedMemory, || {
        let bug_check = BugCheck(0xd5, [number.addr() as u64, 0, 0, 0]);
        let at = call.once(number.addr());
        (bug_check, format!("the memory of {number:?} was freed{at}"))
    });
}

/// Records that the driver accesses an atomic variable. No other thread runs before the access.
fn touched(variable: usize) {
    let mode = thread::set_mode(Mode::Kernel);
    footprint::touch(variable, Access::Exclusive);
    thread::set_mode(mode);
}

fn marked_pending(call: &Call, record: &IrpRecord) {
    // SAFETY: the driver owns the IRP.
    let has_location = record.current() <= unsafe { (*record.raw()).StackCount };
    call.require(has_location, Rule::OwnIrp, || {
        format!(
            "{record} is marked pending by the driver that has made it, which has no stack location in it: the memory \
             after the IRP is written"
        )
    });
    let rule = marked_late(call, record.raw());
    let interlocked = rule == Rule::MarkingInterlockedQueuedIrps;
    // A thread that removes the IRP from a list of the driver's first waits for the lock under which it is marked.
    let is_guarded = !call.held.is_empty();
    if interlocked || record.is_linked() && !is_guarded || record.is_on_device_queue() {
        queued_before_marked(call, record);
    }
}

/// Stops the system. An IRP must be marked before it is queued, since another thread can then complete it.
pub(crate) fn queued_before_marked(call: &Call, record: &IrpRecord) -> ! {
    let irp = record.raw();
    let rule = marked_late(call, irp);
    let what = format!(
        "{record} is marked pending after it was queued: another thread may already have completed it"
    );
    call.stop(BugCheck::io(0x23d, [irp.addr() as u64, 0, 0]), rule, what)
}

/// Returns the rule that is broken if an IRP is marked pending after it was queued, which depends on the queue.
pub(crate) fn marked_late(thread: &Thread, irp: *mut IRP) -> Rule {
    let inserted_last = thread.inserted_last.load(Ordering::Relaxed);
    if inserted_last == nt::irp::list_entry(irp) {
        Rule::MarkingInterlockedQueuedIrps
    } else {
        Rule::MarkingQueuedIrps
    }
}
