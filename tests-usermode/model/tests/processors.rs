//! The processors, and the affinity of a thread to some of them.
//!
//! Microsoft's pages: [`KeSetSystemAffinityThreadEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetsystemaffinitythreadex),
//! [`KeRevertToUserAffinityThreadEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereverttouseraffinitythreadex)
//! and [`KeGetProcessorNumberFromIndex`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kegetprocessornumberfromindex)

#[macro_use]
mod call;
mod common;
mod steps;

use std::ptr::null_mut;

use common::{delete, passes, stops};
use nt::{
    DEVICE_OBJECT, GROUP_AFFINITY, INVALID_PROCESSOR_INDEX, IRP, NTSTATUS, PROCESSOR_NUMBER,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ntmodel::Rule;
use steps::{Steps, breaks, complete, holds, one_request};

/// The processor that the thread runs on.
fn current() -> u32 {
    nt!(KeGetCurrentProcessorNumberEx(null_mut()))
}

fn counts_and_numbers(device: *mut DEVICE_OBJECT) {
    delete(device);
    let mut mask = 0;
    assert_eq!(nt!(KeQueryActiveProcessorCount(&raw mut mask)), 8);
    assert_eq!((mask, nt!(KeQueryActiveProcessors())), (0xff, 0xff));
    assert_eq!(nt!(KeQueryMaximumProcessorCount()), 8);
    // ALL_PROCESSOR_GROUPS, and a group that does not exist
    for (group, count) in [(0, 8), (0xffff, 8), (1, 0)] {
        assert_eq!(nt!(KeQueryActiveProcessorCountEx(group)), count);
        assert_eq!(nt!(KeQueryMaximumProcessorCountEx(group)), count);
    }
    assert_eq!(nt!(KeQueryActiveGroupCount()), 1);
    assert_eq!(nt!(KeQueryMaximumGroupCount()), 1);
    assert_eq!(nt!(KeQueryGroupAffinity(0)), 0xff);
    assert_eq!(nt!(KeQueryGroupAffinity(1)), 0);
    let mut number = PROCESSOR_NUMBER::default();
    let status = nt!(KeGetProcessorNumberFromIndex(7, &raw mut number));
    let statuses = (status, number.Group, number.Number);
    assert_eq!(statuses, (STATUS_SUCCESS, 0, 7));
    assert_eq!(nt!(KeGetProcessorIndexFromNumber(&raw mut number)), 7);
    let status = nt!(KeGetProcessorNumberFromIndex(8, &raw mut number));
    assert_eq!(status, STATUS_INVALID_PARAMETER);
    number.Group = 1;
    let index = nt!(KeGetProcessorIndexFromNumber(&raw mut number));
    assert_eq!(index, INVALID_PROCESSOR_INDEX);
}

#[test]
fn processors_are_counted_and_numbered_in_one_group() {
    passes(counts_and_numbers);
    // The variable has the number of the kernel that was made last. Every kernel of this program has eight processors.
    // SAFETY: the model has the variable.
    assert_eq!(unsafe { nt::KeNumberProcessors }, 8);
}

fn runs_where_it_says(device: *mut DEVICE_OBJECT) {
    delete(device);
    assert_eq!(
        nt!(KeSetSystemAffinityThreadEx(1 << 5)),
        0,
        "no system affinity before"
    );
    assert_eq!(current(), 5);
    let irql = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
    assert_eq!(current(), 5);
    // The thread moves when the IRQL falls.
    assert_eq!(nt!(KeSetSystemAffinityThreadEx(1 << 2)), 1 << 5);
    assert_eq!(current(), 5);
    nt!(KeLowerIrql(irql));
    assert_eq!(current(), 2);
    // A processor that does not exist, and none: no effect.
    for wrong in [1 << 8, 0x1ff, 0] {
        assert_eq!(nt!(KeSetSystemAffinityThreadEx(wrong)), 1 << 2);
        assert_eq!(current(), 2);
    }
    nt!(KeRevertToUserAffinityThreadEx(1 << 5));
    assert_eq!(current(), 5);
    nt!(KeRevertToUserAffinityThreadEx(0));
    assert_eq!(
        nt!(KeSetSystemAffinityThreadEx(1)),
        0,
        "the user affinity was restored"
    );
    nt!(KeRevertToUserAffinityThread());

    nt!(KeSetSystemAffinityThread(1 << 6));
    assert_eq!(current(), 6);
    let mut wanted = GROUP_AFFINITY {
        Mask: 1 << 3,
        ..GROUP_AFFINITY::default()
    };
    let mut before = GROUP_AFFINITY::default();
    nt!(KeSetSystemGroupAffinityThread(
        &raw mut wanted,
        &raw mut before
    ));
    assert_eq!((current(), before.Mask), (3, 1 << 6));
    wanted.Group = 1;
    nt!(KeSetSystemGroupAffinityThread(&raw mut wanted, null_mut()));
    assert_eq!(current(), 3, "there is no such group");
    nt!(KeRevertToUserGroupAffinityThread(&raw mut before));
    assert_eq!(current(), 6);
    nt!(KeRevertToUserAffinityThread());
}

#[test]
fn thread_runs_on_a_processor_of_its_affinity() {
    passes(runs_where_it_says);
}

#[test]
fn affinity_is_not_changed_above_dispatch_level() {
    let body = |device: *mut DEVICE_OBJECT| {
        delete(device);
        nt!(KfRaiseIrql(5));
        nt!(KeSetSystemAffinityThreadEx(1));
    };
    let routine = "KeSetSystemAffinityThreadEx";
    stops(body, Rule::IrqlKeDispatchLte, 0xc4, 0x2_0011, routine);
}

/// Sets the affinity of the thread that serves a request, and restores it if `RESTORES`.
struct Pinned<const RESTORES: bool>;

impl<const RESTORES: bool> Steps for Pinned<RESTORES> {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        let before = nt!(KeSetSystemAffinityThreadEx(1 << 1));
        if RESTORES {
            nt!(KeRevertToUserAffinityThreadEx(before));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// "Before the routine exits, it should call `KeRevertToUserAffinityThreadEx` to restore the affinity mask of the thread".
#[test]
fn thread_of_user_mode_returns_with_its_own_affinity() {
    holds(one_request::<Pinned<true>>);
    let text = "has the system affinity 0x2";
    breaks(one_request::<Pinned<false>>, Rule::Affinity, text);
}
