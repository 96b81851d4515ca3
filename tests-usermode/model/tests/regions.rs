//! Guarded regions and guarded mutexes, timers that may be late, and the number of processors. Microsoft's pages:
//! [1](https://learn.microsoft.com/windows-hardware/drivers/kernel/critical-regions-and-guarded-regions),
//! [2](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keareapcsdisabled),
//! [3](https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-guardedregions),
//! [4](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetcoalescabletimer)

#[macro_use]
mod call;
mod common;
mod steps;

use std::{cell::UnsafeCell, mem::MaybeUninit, sync::Arc};

use common::{delete, passes, stops};
use nt::{DEVICE_OBJECT, FAST_MUTEX, IRP, KTIMER, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Clock, Config, Kernel, Rule};
use steps::{Steps, complete, one_request};

/// Whether normal kernel APCs are disabled, and whether all are.
fn disabled() -> [u8; 2] {
    [nt!(KeAreApcsDisabled()), nt!(KeAreAllApcsDisabled())]
}

#[test]
fn apcs_are_disabled_in_a_region() {
    passes(|device| {
        assert_eq!(disabled(), [0, 0]);
        nt!(KeEnterCriticalRegion());
        assert_eq!(disabled(), [1, 0]);
        nt!(KeEnterGuardedRegion());
        assert_eq!(disabled(), [1, 1]);
        nt!(KeLeaveCriticalRegion());
        assert_eq!(disabled(), [1, 1]);
        nt!(KeLeaveGuardedRegion());
        let irql = nt!(KfRaiseIrql(1));
        assert_eq!(disabled(), [0, 1], "APC_LEVEL");
        nt!(KeLowerIrql(irql));
        delete(device);
    });
    let leaves = |_| nt!(KeLeaveGuardedRegion());
    let routine = "KeLeaveGuardedRegion";
    stops(leaves, Rule::GuardedRegions, 0xc4, 0x4_000e, routine);
}

/// Leaves its dispatch routine in a guarded region.
struct Stays;

impl Steps for Stays {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        nt!(KeEnterGuardedRegion());
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn dispatch_routine_leaves_its_guarded_region() {
    let found = common::found_in(one_request::<Stays>);
    let at = (found.rule, found.code, found.parameters[0]);
    assert_eq!(at, (Rule::GuardedRegions, 0xc4, 0x4_000e), "{found}");
}

struct Counts;

impl Steps for Counts {
    type Own = (UnsafeCell<MaybeUninit<FAST_MUTEX>>, UnsafeCell<u32>);

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        nt!(KeInitializeGuardedMutex(own.0.get().cast()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let mutex = own.0.get().cast();
        nt!(KeAcquireGuardedMutex(mutex));
        assert_eq!(disabled(), [1, 1]);
        // SAFETY: the thread owns the mutex.
        unsafe { *own.1.get() += 1 };
        nt!(KeReleaseGuardedMutex(mutex));
        assert_eq!(disabled(), [0, 0]);
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn guarded_mutex_has_one_owner() {
    steps::holds(|kernel: &Arc<Kernel>| steps::two_requests::<Counts>(kernel));
    let again = |_| {
        let mut mutex = MaybeUninit::<FAST_MUTEX>::uninit();
        let mutex = mutex.as_mut_ptr();
        nt!(KeInitializeGuardedMutex(mutex));
        assert_eq!(nt!(KeTryToAcquireGuardedMutex(mutex)), 1);
        assert_eq!(nt!(KeTryToAcquireGuardedMutex(mutex)), 0);
        nt!(KeAcquireGuardedMutex(mutex));
    };
    let routine = "KeAcquireGuardedMutex";
    stops(again, Rule::FastMutex, 0xc4, 0x1000, routine);
}

#[test]
fn coalescable_timer_expires_in_its_range() {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    });
    common::scenario(|device| {
        let mut timer = KTIMER { Reserved: [0; 8] };
        let timer = &raw mut timer;
        nt!(KeInitializeTimer(timer));
        let before = nt::KeQueryInterruptTime();
        let null = std::ptr::null_mut();
        let due = -common::MILLISECOND;
        assert_eq!(nt!(KeSetCoalescableTimer(timer, due, 0, 50, null)), 0);
        assert_eq!(
            nt!(KeSetCoalescableTimer(timer, due, 0, 50, null)),
            1,
            "it was set"
        );
        let null = std::ptr::null_mut();
        nt!(KeWaitForSingleObject(timer.cast(), 0, 0, 0, null));
        let passed = nt::KeQueryInterruptTime() - before;
        assert!((10_000..=510_100).contains(&passed), "{passed}");
        delete(device);
    })(&kernel);
}

#[test]
fn processors_are_active() {
    let kernel = Kernel::new(Config {
        processors: 3,
        ..Config::default()
    });
    common::scenario(|device| {
        let mut active = 0;
        assert_eq!(nt!(KeQueryActiveProcessorCount(&raw mut active)), 3);
        assert_eq!(active, 0b111);
        assert_eq!(nt!(KeQueryActiveProcessorCountEx(0)), 3);
        delete(device);
    })(&kernel);
}
