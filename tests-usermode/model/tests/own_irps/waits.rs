//! A driver that waits for its own request, which the I/O manager frees.

use std::ptr::null_mut;

use nt::{DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, KEVENT, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS};
use ntmodel::Rule;

use crate::{
    FAILS_LATER, LATER, NOTHING, NOW, Sends,
    call::{BLOCK, broke, build_io_control, on_completion, sets_event, wait},
    free, send,
    steps::{complete, found_in_some_order, holds, one_request},
    stops,
};

const FREES: u8 = 1;
const DOES_NOT_WAIT: u8 = 2;
const BUILDS_AT_DISPATCH: u8 = 3;
const SENDS_AT_DISPATCH: u8 = 4;
const WAITS_AT_APC_LEVEL: u8 = 5;

/// Sends a request for each request that it receives, and waits for it.
struct Waits<const MISTAKE: u8, const CODE: u32>;

fn raise(is_meant: bool) {
    if is_meant {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
    }
}

pub fn event() -> KEVENT {
    KEVENT { Header: [0; 3] }
}

pub fn initialise(event: *mut KEVENT) {
    nt!(KeInitializeEvent(event, 0, 0));
}

impl<const MISTAKE: u8, const CODE: u32> Sends for Waits<MISTAKE, CODE> {
    fn first(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let (mut event, mut block, mut output) = (event(), BLOCK, [0_u8; 8]);
        let (event, block): (*mut KEVENT, *mut IO_STATUS_BLOCK) = (&raw mut event, &raw mut block);
        let buffer = (&raw mut output).cast();
        initialise(event);
        raise(MISTAKE == BUILDS_AT_DISPATCH);
        let own = nt!(IoBuildDeviceIoControlRequest(
            CODE,
            device,
            null_mut(),
            0,
            buffer,
            8,
            0,
            event,
            block,
        ));
        raise(MISTAKE == SENDS_AT_DISPATCH);
        let sent = send(device, own);
        match MISTAKE {
            FREES => free(own),
            DOES_NOT_WAIT => return complete(irp, STATUS_SUCCESS),
            _ => {}
        }
        if sent == STATUS_PENDING {
            if MISTAKE == WAITS_AT_APC_LEVEL {
                nt!(KfRaiseIrql(1));
            }
            wait(event);
        }
        // SAFETY: the request has ended.
        let block = unsafe { block.read() };
        assert_eq!((block.Status, block.Information), (STATUS_SUCCESS, 4));
        assert_eq!(&output, b"done\0\0\0\0");
        complete(irp, block.Status)
    }
}

#[test]
fn a_driver_that_waits_for_its_request_breaks_no_rule() {
    holds(one_request::<Waits<NOTHING, NOW>>);
    holds(one_request::<Waits<NOTHING, LATER>>);
}

#[test]
fn the_io_manager_frees_a_request_that_is_waited_for() {
    let rule = Rule::IoBuildDeviceControlNoFree;
    let frees = "the I/O manager frees it";
    stops(one_request::<Waits<FREES, LATER>>, rule, 0xc9, 2, frees);
    stops(one_request::<Waits<FREES, NOW>>, rule, 0xc9, 2, frees);
}

#[test]
fn a_request_with_a_status_block_on_the_stack_is_waited_for() {
    let violation = found_in_some_order(one_request::<Waits<DOES_NOT_WAIT, LATER>>);
    broke(&violation, Rule::IoBuildDeviceControlWait, 0xc9, &[0xc]);
}

#[test]
fn a_request_is_built_and_sent_at_passive_level() {
    let level = "the IRQL is 2";
    let scenario = one_request::<Waits<BUILDS_AT_DISPATCH, NOW>>;
    stops(scenario, Rule::IrqlIoPassive1, 0xc4, 0x2_000a, level);
    let scenario = one_request::<Waits<SENDS_AT_DISPATCH, NOW>>;
    let routine = "is sent at IRQL 2";
    stops(scenario, Rule::ForwardedAtBadIrql, 0xc9, 0x23a, routine);
}

#[test]
fn the_event_of_a_request_is_set_by_an_apc_of_the_thread() {
    let violation = found_in_some_order(one_request::<Waits<WAITS_AT_APC_LEVEL, LATER>>);
    let seen = (violation.rule, violation.routine);
    assert_eq!(seen, (Rule::Hang, "KeWaitForSingleObject"), "\n{violation}");
    assert!(violation.what.contains("wait at PASSIVE_LEVEL"));
}

/// Gets its request back in a completion routine, completes it itself and waits until the I/O manager has ended it.
struct Completes;

impl Sends for Completes {
    fn first(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let (mut back, mut ended, mut block) = (event(), event(), BLOCK);
        let (back, ended): (*mut KEVENT, *mut KEVENT) = (&raw mut back, &raw mut ended);
        let block: *mut IO_STATUS_BLOCK = &raw mut block;
        initialise(back);
        initialise(ended);
        let own = build_io_control(FAILS_LATER, device, ended, block);
        on_completion(own, sets_event, back.cast());
        assert_eq!(send(device, own), STATUS_PENDING);
        wait(back);
        nt!(IofCompleteRequest(own, 0));
        wait(ended);
        // SAFETY: the request has ended.
        let status = unsafe { (*block).Status };
        assert_eq!(status, nt::STATUS_NOT_FOUND);
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/different-ways-of-handling-irps-cheat-sheet>: the event of a request
/// that was pending is set, whatever its status.
#[test]
fn the_event_of_a_pending_request_that_its_driver_completes_is_set() {
    holds(one_request::<Completes>);
}
