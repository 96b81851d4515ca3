//! DPCs that run on a processor of the driver's choice.
//!
//! Microsoft's pages: [`KeSetTargetProcessorDpc`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettargetprocessordpc)
//! and [`KeSetTargetProcessorDpcEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesettargetprocessordpcex)

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU32, Ordering::SeqCst},
    },
};

use common::{delete, extension, passes, scenario, stops};
use nt::{DEVICE_OBJECT, KDPC, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use ntmodel::{
    Kernel, Rule,
    explore::{Search, explore},
};

unsafe extern "C" fn notes_processor(
    _: *mut KDPC,
    context: *mut c_void,
    expected: *mut c_void,
    _: *mut c_void,
) {
    assert_eq!(
        nt!(KeGetCurrentProcessorNumberEx(null_mut())) as usize,
        expected.addr()
    );
    let count: *mut AtomicU32 = context.cast();
    // SAFETY: the number is in the device extension.
    unsafe { (*count).fetch_add(1, SeqCst) };
}

/// `PROCESSOR_NUMBER`: the group, the number in the group, a reserved byte.
fn set_target(dpc: *mut KDPC, group: u8, processor: u8) -> i32 {
    let mut number = [group, 0, processor, 0];
    nt!(KeSetTargetProcessorDpcEx(dpc, (&raw mut number).cast()))
}

fn runs_on_its_processor(device: *mut DEVICE_OBJECT) {
    let count = extension(device);
    let mut dpcs = [KDPC { Reserved: [0; 8] }, KDPC { Reserved: [0; 8] }];
    for (dpc, processor) in dpcs.iter_mut().zip([3_u8, 5]) {
        nt!(KeInitializeDpc(dpc, Some(notes_processor), count.cast()));
        if processor == 3 {
            nt!(KeSetTargetProcessorDpc(dpc, 3));
        } else {
            assert_eq!(set_target(dpc, 0, processor), STATUS_SUCCESS);
        }
        let expected = std::ptr::without_provenance_mut(processor.into());
        assert_ne!(nt!(KeInsertQueueDpc(dpc, expected, null_mut())), 0);
    }
    nt!(KeFlushQueuedDpcs());
    // SAFETY: the number is in the device extension.
    assert_eq!(unsafe { (*count.cast::<AtomicU32>()).load(SeqCst) }, 2);
    delete(device);
}

#[test]
fn a_dpc_runs_on_its_processor() {
    passes(runs_on_its_processor);
}

unsafe extern "C" fn counts_up(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    nt::interlocked::InterlockedIncrement(ran(context.cast()));
}

/// The number in the device extension that the DPC increments.
fn ran<'a>(extension: *mut u64) -> &'a AtomicI32 {
    // SAFETY: the extension has room for it, and stays until the DPC has run.
    unsafe { &*extension.cast() }
}

fn runs_on_another_processor(device: *mut DEVICE_OBJECT) {
    let count = extension(device);
    let mut dpc = KDPC { Reserved: [0; 8] };
    nt!(KeInitializeDpc(&raw mut dpc, Some(counts_up), count.cast()));
    let own = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
    let processor = nt!(KeGetCurrentProcessorNumberEx(null_mut()));
    nt!(KeSetTargetProcessorDpc(
        &raw mut dpc,
        i8::from(processor == 0)
    ));
    nt!(KeInsertQueueDpc(&raw mut dpc, null_mut(), null_mut()));
    let early = nt::interlocked::InterlockedCompareExchange(ran(count), 0, 0);
    EARLY.fetch_max(early, SeqCst);
    nt!(KeLowerIrql(own));
    nt!(KeFlushQueuedDpcs());
    assert_eq!(
        nt::interlocked::InterlockedCompareExchange(ran(count), 0, 0),
        1
    );
    delete(device);
}

/// Whether the DPC had run before its thread lowered the IRQL, in any order.
static EARLY: AtomicI32 = AtomicI32::new(0);

fn run(kernel: &Arc<Kernel>) {
    scenario(runs_on_another_processor)(kernel);
}

#[test]
fn a_dpc_of_another_processor_can_run_while_its_thread_is_at_dispatch_level() {
    let explored = explore(Search::every(1_000), run).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
    assert_eq!(EARLY.load(SeqCst), 1, "{explored:?}");
}

fn no_processor(_: *mut DEVICE_OBJECT) {
    let mut dpc = KDPC { Reserved: [0; 8] };
    nt!(KeInitializeDpc(
        &raw mut dpc,
        Some(notes_processor),
        null_mut()
    ));
    for (group, processor) in [(1, 0), (0, 8)] {
        let status = set_target(&raw mut dpc, group, processor);
        assert_eq!(status, STATUS_INVALID_PARAMETER);
    }
    nt!(KeSetTargetProcessorDpc(&raw mut dpc, 8));
}

#[test]
fn a_processor_that_does_not_exist_is_refused() {
    stops(no_processor, Rule::Dpc, 0, 0, "KeSetTargetProcessorDpc");
}
