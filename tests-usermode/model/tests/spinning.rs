//! A thread that spins forever is a violation. A thread that spins until another one has made progress is not.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
};

use call::initialise_dpc;
use common::{NO_CODE, delete, passes, scenario, stops, stops_in_some_order};
use nt::{DEVICE_OBJECT, KDPC, interlocked};
use ntmodel::{
    Rule,
    explore::{Search, explore},
};

const DPC_WATCHDOG_VIOLATION: u32 = 0x133;
const AT_DISPATCH_LEVEL: u64 = 1;

fn raise() -> u8 {
    nt!(KeRaiseIrqlToDpcLevel())
}

fn lower(irql: u8) {
    nt!(KeLowerIrql(irql));
}

/// Spins until a flag is set.
fn spin(flag: &AtomicI32) {
    while flag.load(SeqCst) == 0 {
        interlocked::YieldProcessor();
    }
}

/// Spins for a DPC that is queued on the processor on which it spins.
fn for_its_own_dpc(_: *mut DEVICE_OBJECT) {
    let flag = AtomicI32::new(0);
    let mut dpc = KDPC { Reserved: [0; 8] };
    initialise_dpc(&raw mut dpc, &flag, |flag: &AtomicI32| {
        flag.store(1, SeqCst);
    });
    let irql = raise();
    nt!(KeInsertQueueDpc(&raw mut dpc, null_mut(), null_mut()));
    spin(&flag);
    lower(irql);
}

#[test]
fn a_thread_spins_for_its_own_processors_dpc() {
    let (rule, code) = (Rule::Hang, DPC_WATCHDOG_VIOLATION);
    let routine = "YieldProcessor";
    stops(for_its_own_dpc, rule, code, AT_DISPATCH_LEVEL, routine);
    let routine = "YieldProcessor";
    stops_in_some_order(for_its_own_dpc, rule, code, AT_DISPATCH_LEVEL, routine);
}

static SET: AtomicPtr<AtomicI32> = AtomicPtr::new(null_mut());

unsafe extern "C" fn routine_sets(_: *mut DEVICE_OBJECT, item: *mut c_void) {
    nt!(IoFreeWorkItem(item.cast()));
    // SAFETY: the flag is there until it is set.
    unsafe { &*SET.load(SeqCst) }.store(1, SeqCst);
}

/// Spins until a work item's routine has run, which needs no other processor.
fn for_another(device: *mut DEVICE_OBJECT) {
    let flag = AtomicI32::new(0);
    SET.store((&raw const flag).cast_mut(), SeqCst);
    let item = nt!(IoAllocateWorkItem(device));
    let irql = raise();
    let (queue, routine) = (nt::DelayedWorkQueue, Some(routine_sets as _));
    nt!(IoQueueWorkItem(item, routine, queue, item.cast()));
    spin(&flag);
    lower(irql);
    delete(device);
}

#[test]
fn a_thread_spins_for_another() {
    passes(for_another);
}

/// Spins below `DISPATCH_LEVEL` without yielding.
fn for_nothing(_: *mut DEVICE_OBJECT) {
    let never = AtomicI32::new(0);
    while interlocked::InterlockedCompareExchange(&never, 0, 0) == 0 {}
}

#[test]
fn a_thread_spins_until_a_variable_that_no_thread_sets_changes() {
    stops_in_some_order(for_nothing, Rule::Hang, NO_CODE, 0, "Interlocked*");
    let search = Search::Pct {
        schedules: 1,
        depth: 3,
        seed: 1,
    };
    let found = explore(search, scenario(for_nothing)).expect_err("it spins");
    // The schedule names the spinning thread, and has the minimum length.
    assert!(
        found.violation.what.starts_with("main at IRQL 0 spins"),
        "\n{found}"
    );
    assert!(found.schedule.to_string().len() < 100, "\n{found}");
}
