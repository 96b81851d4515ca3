//! A filter with one event for its requests, or with one context that several routines free.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::{Arc, atomic::AtomicI32},
};

use nt::{
    DEVICE_OBJECT, FAST_MUTEX, IRP, KEVENT, NTSTATUS, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_PENDING, STATUS_SUCCESS, interlocked::InterlockedIncrement,
};
use ntmodel::Kernel;

use crate::{
    call::{BLOCK, build_io_control, on_completion, sets_event, wait},
    filters::{FAIL, Function, LATER, NOW},
    frame::{CORRECT, allocate, free, initialise_event, set_event},
    steps::{Stage, Steps, complete, end_of, entry, lower, skip},
};

const EVENT_STAYS_SET: u8 = 1;
const SHARES_EVENT: u8 = 2;
const FREES_CONTEXT_TWICE: u8 = 3;
const WAITS_IN_GUARDED_REGION: u8 = 4;
const WAITS_UNDER_FAST_MUTEX: u8 = 5;
const WAITS_FOR_SUCCESS: u8 = 6;
const COMPLETES_WITHOUT_WAIT: u8 = 7;
/// The correct drivers: one that clears its event, one with a context, and one that waits in a critical region.
const CLEARS_EVENT: u8 = 10;
const HAS_CONTEXT: u8 = 11;
const WAITS_IN_CRITICAL_REGION: u8 = 12;

struct Filter<const M: u8>;

struct Own {
    /// For one request at a time.
    event: UnsafeCell<KEVENT>,
    mutex: UnsafeCell<FAST_MUTEX>,
    returned: AtomicI32,
}

unsafe extern "C" fn frees(_: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    free(context.cast::<u64>());
    if nt!(irp::pending_returned(irp)) {
        nt!(irp::IoMarkIrpPending(irp));
    }
    STATUS_SUCCESS
}

unsafe extern "C" fn counts(_: *mut DEVICE_OBJECT, _: *mut IRP, own: *mut c_void) -> NTSTATUS {
    // SAFETY: the device stays while it has a request.
    let own = unsafe { &*own.cast::<Own>() };
    InterlockedIncrement(&own.returned);
    set_event(own.event.get());
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Waits for a request of its own, whose event an APC of this thread sets.
fn waits_for_apc(lower: *mut DEVICE_OBJECT, code: u32) {
    let (mut event, mut block) = (KEVENT { Header: [0; 3] }, BLOCK);
    let event = &raw mut event;
    initialise_event(event);
    let own = build_io_control(code, lower, event, &raw mut block);
    if nt!(IofCallDriver(lower, own)) == STATUS_PENDING {
        wait(event);
    }
}

impl<const M: u8> Steps for Filter<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        let kind = if M == SHARES_EVENT {
            nt::_EVENT_TYPE::SynchronizationEvent
        } else {
            nt::_EVENT_TYPE::NotificationEvent
        };
        nt!(KeInitializeEvent(own.event.get(), kind, 0));
        nt!(ExInitializeFastMutex(own.mutex.get()));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        let event = own.event.get();
        let context: *const Own = own;
        match M {
            EVENT_STAYS_SET | CLEARS_EVENT | SHARES_EVENT => {
                if M == CLEARS_EVENT {
                    nt!(KeClearEvent(event));
                }
                nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                on_completion(irp, counts, context.cast_mut().cast());
                nt!(IofCallDriver(lower, irp));
                wait(event);
                let status = nt!(irp::status(irp));
                complete(irp, status)
            }
            WAITS_FOR_SUCCESS | COMPLETES_WITHOUT_WAIT | CORRECT => {
                let mut event = KEVENT { Header: [0; 3] };
                let event = &raw mut event;
                initialise_event(event);
                nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                if M == WAITS_FOR_SUCCESS {
                    nt!(irp::IoSetCompletionRoutine(
                        irp,
                        Some(sets_event),
                        event.cast(),
                        true,
                        false,
                        false
                    ));
                } else {
                    on_completion(irp, sets_event, event.cast());
                }
                let status = nt!(IofCallDriver(lower, irp));
                // STATUS_PENDING is a success.
                if M != COMPLETES_WITHOUT_WAIT || status < 0 {
                    wait(event);
                }
                complete(irp, STATUS_SUCCESS)
            }
            FREES_CONTEXT_TWICE | HAS_CONTEXT => {
                let context = allocate::<u64>();
                nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                on_completion(irp, frees, context.cast());
                let status = nt!(IofCallDriver(lower, irp));
                if M == FREES_CONTEXT_TWICE && status < 0 {
                    free(context);
                }
                status
            }
            WAITS_IN_GUARDED_REGION => {
                nt!(KeEnterGuardedRegion());
                waits_for_apc(lower, code);
                nt!(KeLeaveGuardedRegion());
                complete(irp, STATUS_SUCCESS)
            }
            WAITS_IN_CRITICAL_REGION => {
                nt!(KeEnterCriticalRegion());
                waits_for_apc(lower, code);
                nt!(KeLeaveCriticalRegion());
                complete(irp, STATUS_SUCCESS)
            }
            WAITS_UNDER_FAST_MUTEX => {
                nt!(ExAcquireFastMutex(own.mutex.get()));
                nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
                on_completion(irp, counts, context.cast_mut().cast());
                nt!(IofCallDriver(lower, irp));
                wait(event);
                nt!(ExReleaseFastMutex(own.mutex.get()));
                complete(irp, STATUS_SUCCESS)
            }
            _ => skip(lower, irp),
        }
    }
}

/// Sends two requests, one after the other.
fn two_sent<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Filter<M>>]);
    end_of(&stage.send(NOW));
    end_of(&stage.send(LATER));
    stage.tear_down();
}

/// Sends two requests in two threads.
fn two_at_once<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Filter<M>>]);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(NOW, &[], Vec::new()));
    });
    end_of(&stage.send(LATER));
    other.join();
    stage.tear_down();
}

fn sent<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Filter<M>>]);
    end_of(&stage.send(CODE));
    stage.tear_down();
}

pairs! {
    event_of_the_last_request_is_still_set:
        two_sent::<EVENT_STAYS_SET>, two_sent::<CLEARS_EVENT>, PassedIrp, "";
    two_requests_wait_for_one_event:
        two_at_once::<SHARES_EVENT>, two_at_once::<CORRECT>, PassedIrp, "";
    context_is_freed_by_the_completion_routine_and_after_a_failure:
        sent::<FREES_CONTEXT_TWICE, FAIL>, sent::<HAS_CONTEXT, FAIL>, Pool, "was freed before";
    completion_is_waited_for_in_a_guarded_region:
        sent::<WAITS_IN_GUARDED_REGION, LATER>, sent::<WAITS_IN_CRITICAL_REGION, LATER>, Hang, "";
    completion_routine_that_sets_the_event_is_not_called_for_errors:
        sent::<WAITS_FOR_SUCCESS, FAIL>, sent::<CORRECT, FAIL>, Hang, "";
    irp_that_is_pending_is_completed:
        sent::<COMPLETES_WITHOUT_WAIT, LATER>, sent::<CORRECT, LATER>, PassedIrp, "still has it";
}

/// A completion routine that sets the event itself needs no APC.
#[test]
fn request_is_waited_for_under_a_fast_mutex() {
    crate::passes(sent::<WAITS_UNDER_FAST_MUTEX, LATER>);
}
