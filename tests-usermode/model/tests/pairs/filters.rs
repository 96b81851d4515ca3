//! Filters above a function driver.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, FAST_MUTEX, IRP, KDPC, KEVENT, KSPIN_LOCK, KTIMER, NTSTATUS, STATUS_CANCELLED,
    STATUS_IO_DEVICE_ERROR, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
};
use ntmodel::Kernel;

use crate::{
    call::wait,
    call::{initialise_dpc, on_completion},
    frame::{
        Lock, allocate, free, get, initialise_event, put, set_event, wait_for, with_fast_mutex,
    },
    steps::{Stage, Steps, cancel, complete, end_of, entry, lower, mark, skip},
};

/// The IOCTLs of the function driver: complete immediately, fail immediately, complete in a DPC, keep until it is cancelled.
pub const NOW: u32 = 0x22_2000;
pub const FAIL: u32 = 0x22_2004;
pub const LATER: u32 = 0x22_2008;
pub const KEEP: u32 = 0x22_200c;

pub struct Function;

pub struct Device {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    kept: AtomicPtr<IRP>,
}

impl Steps for Function {
    type Own = Device;

    fn add(_: *mut DEVICE_OBJECT, own: &Device) {
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |own: &Device| {
            let irp = own.kept.load(SeqCst);
            let mdl = nt!(irp::mdl(irp));
            if !mdl.is_null() {
                let priority = nt::NormalPagePriority;
                let buffer = nt!(MmGetSystemAddressForMdlSafe(mdl, priority));
                put(buffer.cast::<u8>(), 1);
            }
            complete(irp, STATUS_SUCCESS);
        });
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Device, irp: *mut IRP, code: u32) -> NTSTATUS {
        match code {
            NOW => complete(irp, STATUS_SUCCESS),
            FAIL => complete(irp, STATUS_IO_DEVICE_ERROR),
            LATER => {
                mark(irp);
                own.kept.store(irp, SeqCst);
                nt!(KeSetTimer(own.timer.get(), -10_000, own.dpc.get()));
                STATUS_PENDING
            }
            _ => {
                mark(irp);
                nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
                STATUS_PENDING
            }
        }
    }

    fn cancel(_: &Device, irp: *mut IRP) {
        cancelled(irp);
    }

    fn remove(own: &Device) {
        if nt!(KeCancelTimer(own.timer.get())) != 0 {
            complete(own.kept.load(SeqCst), STATUS_CANCELLED);
        }
        nt!(KeFlushQueuedDpcs());
    }
}

fn cancelled(irp: *mut IRP) {
    let irql = nt!(irp::cancel_irql(irp));
    nt!(IoReleaseCancelSpinLock(irql));
    complete(irp, STATUS_CANCELLED);
}

/// The filters that are correct.
const SKIPS: u8 = 0;
const PROPAGATES: u8 = 1;
const WAITS: u8 = 2;
const HAS_CONTEXT: u8 = 3;
const WAITS_AND_SKIPS: u8 = 4;
/// The mistakes.
const COMPLETES_FAILED: u8 = 10;
const NEVER_CONTINUES: u8 = 11;
const COMPLETES_AND_CONTINUES: u8 = 12;
const SKIPS_WITH_ROUTINE: u8 = 13;
const SETS_NO_LOCATION: u8 = 14;
const MARKS_AFTER: u8 = 15;
const MARKS_ALWAYS: u8 = 16;
const SENDS_TWICE: u8 = 17;
const ACQUIRES_MUTEX: u8 = 18;
const WAITS_FOR_A_TIME: u8 = 19;
const READS_AFTER: u8 = 20;
const CALLS_UNDER_LOCK: u8 = 21;
const KEEPS_CANCEL_ROUTINE: u8 = 22;
const SETS_CANCEL_ROUTINE_AFTER: u8 = 23;
const FREES_CONTEXT_EARLY: u8 = 24;
const ROUTINE_FOR_SUCCESS: u8 = 25;
const DOES_NOT_WAIT: u8 = 26;
const COPIES_ALL: u8 = 27;
const CALLS_NOTHING: u8 = 28;
const SKIPS_AFTER: u8 = 29;

struct Filter<const M: u8>;

struct Own {
    lock: Lock,
    mutex: UnsafeCell<FAST_MUTEX>,
}

/// The context of a completion routine.
struct Context {
    event: UnsafeCell<KEVENT>,
}

unsafe extern "C" fn completed<const M: u8>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    context: *mut c_void,
) -> NTSTATUS {
    let context = context.cast::<Context>();
    match M {
        WAITS | WAITS_FOR_A_TIME | DOES_NOT_WAIT | WAITS_AND_SKIPS | SKIPS_AFTER => {
            // SAFETY: only the address is computed.
            set_event(unsafe { (*context).event.get() });
            return STATUS_MORE_PROCESSING_REQUIRED;
        }
        NEVER_CONTINUES => return STATUS_MORE_PROCESSING_REQUIRED,
        COMPLETES_AND_CONTINUES => {
            complete(irp, STATUS_SUCCESS);
            return STATUS_SUCCESS;
        }
        ACQUIRES_MUTEX => {
            // SAFETY: the context is that of the dispatch routine, which waits, so its data stays valid.
            let own = unsafe { &*context.cast::<Own>() };
            with_fast_mutex(own.mutex.get(), || ());
        }
        HAS_CONTEXT | ROUTINE_FOR_SUCCESS | FREES_CONTEXT_EARLY => {
            let lock = get(context.cast::<*mut KSPIN_LOCK>());
            let irql = nt!(KeAcquireSpinLockRaiseToDpc(lock));
            nt!(KeReleaseSpinLock(lock, irql));
            if M != FREES_CONTEXT_EARLY {
                free(context);
            }
        }
        _ => {}
    }
    if M == MARKS_ALWAYS || nt!(irp::pending_returned(irp)) {
        mark(irp);
    }
    STATUS_SUCCESS
}

fn call(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(IofCallDriver(lower, irp))
}

/// Passes an IRP with a completion routine.
fn pass<const M: u8, T>(lower: *mut DEVICE_OBJECT, irp: *mut IRP, context: *const T) -> NTSTATUS {
    nt!(irp::copy_to_next_with_completion(
        irp,
        Some(completed::<M>),
        context.cast_mut().cast()
    ));
    call(lower, irp)
}

/// Passes a request down, with a completion routine that frees its context.
fn pass_with_context<const M: u8>(lower: *mut DEVICE_OBJECT, irp: *mut IRP, own: &Own) -> NTSTATUS {
    let context = allocate::<*mut KSPIN_LOCK>();
    put(context, own.lock.get());
    if M == ROUTINE_FOR_SUCCESS {
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        nt!(irp::IoSetCompletionRoutine(
            irp,
            Some(completed::<M>),
            context.cast(),
            true,
            false,
            false
        ));
        return call(lower, irp);
    }
    let status = pass::<M, _>(lower, irp, context);
    if M == FREES_CONTEXT_EARLY {
        free(context);
    }
    status
}

impl<const M: u8> Steps for Filter<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
        nt!(ExInitializeFastMutex(own.mutex.get()));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        match M {
            PROPAGATES
            | NEVER_CONTINUES
            | COMPLETES_AND_CONTINUES
            | MARKS_ALWAYS
            | ACQUIRES_MUTEX => pass::<M, _>(lower, irp, own),
            WAITS | WAITS_FOR_A_TIME | DOES_NOT_WAIT | WAITS_AND_SKIPS | SKIPS_AFTER => {
                let context = Context {
                    event: UnsafeCell::new(KEVENT { Header: [0; 3] }),
                };
                initialise_event(context.event.get());
                pass::<M, _>(lower, irp, &raw const context);
                if M == WAITS || M == WAITS_AND_SKIPS {
                    wait(context.event.get());
                } else if M == WAITS_FOR_A_TIME
                    && wait_for(context.event.get(), 10) == nt::STATUS_TIMEOUT
                {
                    return STATUS_PENDING;
                }
                if M == WAITS_AND_SKIPS || M == SKIPS_AFTER {
                    return skip(lower, irp);
                }
                complete(irp, STATUS_SUCCESS)
            }
            HAS_CONTEXT | FREES_CONTEXT_EARLY | ROUTINE_FOR_SUCCESS => {
                pass_with_context::<M>(lower, irp, own)
            }
            COMPLETES_FAILED => {
                let status = skip(lower, irp);
                if status < 0 {
                    complete(irp, status);
                }
                status
            }
            SKIPS_WITH_ROUTINE => {
                nt!(irp::IoSkipCurrentIrpStackLocation(irp));
                on_completion(irp, completed::<M>, null_mut());
                call(lower, irp)
            }
            SETS_NO_LOCATION => call(lower, irp),
            MARKS_AFTER | SETS_CANCEL_ROUTINE_AFTER => {
                nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                let status = call(lower, irp);
                if status == STATUS_PENDING && M == MARKS_AFTER {
                    mark(irp);
                } else if status == STATUS_PENDING {
                    nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
                }
                status
            }
            SENDS_TWICE => {
                nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                let status = call(lower, irp);
                if status < 0 {
                    // Completed a second time.
                    nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                    return call(lower, irp);
                }
                status
            }
            READS_AFTER => {
                skip(lower, irp);
                nt!(irp::status(irp))
            }
            CALLS_UNDER_LOCK => own.lock.with(|| skip(lower, irp)),
            KEEPS_CANCEL_ROUTINE => {
                nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
                skip(lower, irp)
            }
            COPIES_ALL => {
                let current = nt!(irp::current_stack_location(irp));
                // SAFETY: the IRP has a stack location for the lower driver, which is adjacent.
                unsafe { current.wrapping_sub(1).copy_from_nonoverlapping(current, 1) };
                call(lower, irp)
            }
            CALLS_NOTHING => {
                nt!(irp::IoSkipCurrentIrpStackLocation(irp));
                call(null_mut(), irp)
            }
            _ => {
                own.lock.with(|| ());
                skip(lower, irp)
            }
        }
    }

    fn cancel(_: &Own, irp: *mut IRP) {
        cancelled(irp);
    }
}

/// Sends a request through a filter, and cancels it if the function driver keeps it.
fn sent<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Filter<M>>]);
    let request = stage.send(CODE);
    if CODE == KEEP {
        request.cancel();
    }
    end_of(&request);
    stage.tear_down();
}

/// Sends a request through a filter with a completion routine, and the filter below that.
fn sent_through_two<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let above = [entry::<Filter<M>>, entry::<Filter<PROPAGATES>>];
    let stage = Stage::stack(kernel, entry::<Function>, &above.map(|entry| entry as _));
    end_of(&stage.send(CODE));
    stage.tear_down();
}

pairs! {
    irp_is_completed_if_the_lower_driver_fails_it:
        sent::<COMPLETES_FAILED, FAIL>, sent::<SKIPS, FAIL>, DoubleCompletion, "completed again";
    completion_routine_keeps_the_irp_for_good:
        sent::<NEVER_CONTINUES, NOW>, sent::<PROPAGATES, NOW>, IrpProcessingComplete, "STATUS_MORE_PROCESSING_REQUIRED";
    completion_routine_completes_the_irp_and_continues:
        sent::<COMPLETES_AND_CONTINUES, NOW>, sent::<PROPAGATES, NOW>, DoubleCompletion, "";
    completion_routine_is_set_after_the_location_was_skipped:
        sent_through_two::<SKIPS_WITH_ROUTINE, NOW>, sent_through_two::<PROPAGATES, NOW>, StackLocation, "IoSetCompletionRoutine has replaced";
    irp_is_passed_down_without_a_stack_location:
        sent::<SETS_NO_LOCATION, NOW>, sent::<SKIPS, NOW>, StackLocation, "was not set";
    irp_is_marked_after_it_was_passed_down:
        sent::<MARKS_AFTER, LATER>, sent::<PROPAGATES, LATER>, PassedIrp, "still has it";
    completion_routine_always_marks_the_irp:
        sent::<MARKS_ALWAYS, NOW>, sent::<PROPAGATES, NOW>, MarkIrpPending, "";
    irp_is_sent_again_after_it_was_completed:
        sent::<SENDS_TWICE, FAIL>, sent::<SKIPS, FAIL>, FreedMemory, "an IRP that was completed";
    completion_routine_acquires_a_fast_mutex:
        sent::<ACQUIRES_MUTEX, LATER>, sent::<PROPAGATES, LATER>, IrqlExApcLte1, "";
    event_on_a_stack_that_is_gone_is_set:
        sent::<WAITS_FOR_A_TIME, LATER>, sent::<WAITS, LATER>, Pointer, "stack";
    status_is_read_after_the_irp_was_passed_down:
        sent::<READS_AFTER, LATER>, sent::<SKIPS, LATER>, LowerDriverReturn, "";
    lower_driver_is_called_under_a_spin_lock:
        sent::<CALLS_UNDER_LOCK, NOW>, sent::<SKIPS, NOW>, SpinLockSafe, "";
    irp_is_passed_down_with_a_cancel_routine:
        sent::<KEEPS_CANCEL_ROUTINE, NOW>, sent::<SKIPS, NOW>, CompleteRequest, "Cancel routine set";
    cancel_routine_is_set_after_the_irp_was_passed_down:
        sent::<SETS_CANCEL_ROUTINE_AFTER, KEEP>, sent::<SKIPS, KEEP>, PassedIrp, "still has it";
    context_is_freed_when_the_lower_driver_returns:
        sent::<FREES_CONTEXT_EARLY, LATER>, sent::<HAS_CONTEXT, LATER>, FreedMemory, "byte 0 of a block";
    completion_routine_that_frees_is_not_called_for_errors:
        sent::<ROUTINE_FOR_SUCCESS, FAIL>, sent::<HAS_CONTEXT, FAIL>, Pool, "";
    irp_is_completed_while_the_lower_driver_has_it:
        sent::<DOES_NOT_WAIT, LATER>, sent::<WAITS, LATER>, PassedIrp, "still has it";
    irp_is_passed_down_again_while_the_lower_driver_has_it:
        sent::<SKIPS_AFTER, LATER>, sent::<WAITS_AND_SKIPS, LATER>, PassedIrp, "still has it";
    stack_location_is_copied_with_its_completion_routine:
        sent_through_two::<COPIES_ALL, NOW>, sent_through_two::<SKIPS, NOW>, StackLocation, "called twice";
    irp_is_passed_to_no_device:
        sent::<CALLS_NOTHING, NOW>, sent::<SKIPS, NOW>, Pointer, "";
}
