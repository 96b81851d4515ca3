//! Each broken rule is found, with the bug check and the parameters that Driver Verifier has for it.
//!
//! The code of a `DriverEntry` breaks the rule; [body] runs it.

#[macro_use]
mod call;
mod body;

use std::{hint::black_box, mem::MaybeUninit, ptr::null_mut};

use body::{found, run, stops};
use call::broke;
use nt::{KDEVICE_QUEUE, KDPC, KLOCK_QUEUE_HANDLE, KSPIN_LOCK, LIST_ENTRY};
use ntmodel::{Config, Kernel, Rule};

const PASSIVE_LEVEL: u8 = 0;
const APC_LEVEL: u8 = 1;
const DISPATCH_LEVEL: u8 = 2;
const HIGH_LEVEL: u8 = 15;

fn lock() -> KSPIN_LOCK {
    let mut lock = 0;
    nt!(KeInitializeSpinLock(&raw mut lock));
    lock
}

fn raise_to_dpc_level() -> u8 {
    nt!(KeRaiseIrqlToDpcLevel())
}

fn raise(irql: u8) -> u8 {
    nt!(KfRaiseIrql(irql))
}

fn lower(irql: u8) {
    nt!(KeLowerIrql(irql));
}

fn acquire(lock: &mut KSPIN_LOCK) -> u8 {
    nt!(KeAcquireSpinLockRaiseToDpc(lock))
}

fn release(lock: &mut KSPIN_LOCK, irql: u8) {
    nt!(KeReleaseSpinLock(lock, irql));
}

fn acquire_at_dpc(lock: &mut KSPIN_LOCK) {
    nt!(KeAcquireSpinLockAtDpcLevel(lock));
}

fn try_acquire_at_dpc(lock: &mut KSPIN_LOCK) -> bool {
    // SAFETY: the model checks the call.
    unsafe { nt::KeTryToAcquireSpinLockAtDpcLevel(lock) != 0 }
}

fn release_from_dpc(lock: &mut KSPIN_LOCK) {
    nt!(KeReleaseSpinLockFromDpcLevel(lock));
}

fn acquire_cancel() -> u8 {
    let mut irql = 0;
    nt!(IoAcquireCancelSpinLock(&raw mut irql));
    irql
}

#[test]
fn irql_ke_raise_lower() {
    let up = || lower(DISPATCH_LEVEL);
    let violation = stops(up, Rule::IrqlKeRaiseLower, 0xc4, 0x31, "KeLowerIrql");
    assert_eq!(violation.parameters, [0x31, 0, 2, 0]);
    let held = || {
        acquire(&mut lock());
        lower(PASSIVE_LEVEL);
    };
    stops(held, Rule::IrqlKeRaiseLower, 0xc4, 0x31, "KeLowerIrql");
    let down = || {
        raise(DISPATCH_LEVEL);
        raise(APC_LEVEL);
    };
    let violation = stops(down, Rule::IrqlKeRaiseLower, 0xc4, 0x30, "KeRaiseIrql");
    assert_eq!(violation.parameters, [0x30, 2, 1, 0]);
    let above_dispatch = || {
        raise(HIGH_LEVEL);
        raise_to_dpc_level();
    };
    let routine = "KeRaiseIrql";
    let violation = stops(above_dispatch, Rule::IrqlKeRaiseLower, 0xc4, 0x30, routine);
    assert_eq!(violation.parameters, [0x30, 15, 2, 0]);
    let too_high = || {
        raise(HIGH_LEVEL + 1);
    };
    stops(too_high, Rule::IrqlKeRaiseLower, 0xc4, 0x30, "KeRaiseIrql");
}

#[test]
fn irql_ke_release_spin_lock() {
    let twice = || {
        let mut lock = lock();
        let irql = acquire(&mut lock);
        release(&mut lock, irql);
        release(&mut lock, irql);
    };
    let rule = Rule::IrqlKeReleaseSpinLock;
    let violation = stops(twice, rule, 0xc4, 0x32, "KeReleaseSpinLock");
    assert_eq!(violation.parameters[1], 0);
}

#[test]
fn irql_return() {
    let body = || {
        raise_to_dpc_level();
    };
    let violation = found(body);
    let seen = (violation.rule, violation.code, violation.parameters);
    assert_eq!(
        seen,
        (Rule::IrqlReturn, 0xc4, [0x2_001d, 2, 0, 0]),
        "\n{violation}"
    );
}

#[test]
fn spin_lock() {
    let twice = || {
        let mut lock = lock();
        acquire(&mut lock);
        acquire(&mut lock);
    };
    let violation = stops(twice, Rule::SpinLock, 0xc4, 0x1000, "KeAcquireSpinLock");
    // The owner of each lock, and the place of its acquisition.
    let thread = violation.threads.join("\n");
    assert!(thread.contains("holds the spin lock"), "\n{violation}");
    assert!(thread.contains("acquired by"), "\n{violation}");
    let left = found(|| {
        acquire(&mut lock());
    });
    let broken = (left.rule, left.routine);
    assert_eq!(broken, (Rule::SpinLock, "DriverEntry"), "\n{left}");
}

#[test]
fn spin_lock_dpc() {
    let acquire = || acquire_at_dpc(&mut lock());
    let routine = "KeAcquireSpinLockAtDpcLevel";
    stops(acquire, Rule::SpinLockDpc, 0xc4, 0x40, routine);
    let release = || release_from_dpc(&mut lock());
    let routine = "KeReleaseSpinLockFromDpcLevel";
    stops(release, Rule::SpinLockDpc, 0xc4, 0x41, routine);
}

#[test]
fn spinlock_release() {
    let rule = Rule::SpinlockRelease;
    let never_acquired = || {
        raise_to_dpc_level();
        release(&mut lock(), PASSIVE_LEVEL);
    };
    stops(never_acquired, rule, 0xc4, 0x1007, "KeReleaseSpinLock");
    let wrong_irql = || {
        let mut lock = lock();
        acquire(&mut lock);
        release(&mut lock, 1);
    };
    let is_rule = Rule::IrqlKeReleaseSpinLock;
    stops(wrong_irql, is_rule, 0xc4, 0x2_0015, "KeReleaseSpinLock");
    let wrong_order = || {
        let (mut outer, mut inner) = (lock(), lock());
        let irql = acquire(&mut outer);
        acquire_at_dpc(&mut inner);
        release(&mut outer, irql);
    };
    stops(wrong_order, rule, 0xc4, 0x1003, "KeReleaseSpinLock");
    let mixed = || {
        let mut lock = lock();
        acquire(&mut lock);
        release_from_dpc(&mut lock);
    };
    stops(mixed, rule, 0xc4, 0x1009, "KeReleaseSpinLockFromDpcLevel");
}

#[test]
fn lock_order() {
    let body = || {
        let (mut a, mut b) = (lock(), lock());
        let irql = raise_to_dpc_level();
        acquire_at_dpc(&mut a);
        acquire_at_dpc(&mut b);
        release_from_dpc(&mut b);
        release_from_dpc(&mut a);
        acquire_at_dpc(&mut b);
        acquire_at_dpc(&mut a);
        release_from_dpc(&mut a);
        release_from_dpc(&mut b);
        lower(irql);
    };
    let routine = "KeAcquireSpinLockAtDpcLevel";
    let violation = stops(body, Rule::LockOrder, 0xc4, 0x1001, routine);
    assert!(
        violation.what.contains("tests/violations.rs:"),
        "\n{violation}"
    );
}

#[test]
fn lock_initialisation() {
    let never = || {
        acquire(&mut 0);
    };
    let routine = "KeAcquireSpinLock";
    stops(never, Rule::LockInitialisation, 0xc4, 0x1002, routine);
    let again = || {
        let mut lock = lock();
        acquire(&mut lock);
        nt!(KeInitializeSpinLock(&raw mut lock));
    };
    let routine = "KeInitializeSpinLock";
    stops(again, Rule::LockInitialisation, 0xc4, 0x1005, routine);
}

#[test]
fn queued_spin_lock() {
    let mixed = || {
        let mut lock = lock();
        let irql = acquire(&mut lock);
        release(&mut lock, irql);
        let mut handle = KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        nt!(KeAcquireInStackQueuedSpinLock(
            &raw mut lock,
            &raw mut handle
        ));
    };
    let routine = "KeAcquireInStackQueuedSpinLock";
    stops(mixed, Rule::QueuedSpinLock, 0xc4, 0x1008, routine);
}

#[test]
fn queued_spin_lock_release() {
    let twice = || {
        let mut lock = lock();
        let mut handle = KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        raise_to_dpc_level();
        nt!(KeAcquireInStackQueuedSpinLockAtDpcLevel(
            &raw mut lock,
            &raw mut handle
        ));
        for _ in 0..2 {
            nt!(KeReleaseInStackQueuedSpinLockFromDpcLevel(&raw mut handle));
        }
    };
    let routine = "KeReleaseInStackQueuedSpinLockFromDpcLevel";
    stops(twice, Rule::QueuedSpinLockRelease, 0xc4, 0x1007, routine);
}

#[test]
fn cancel_spin_lock() {
    let twice = || {
        acquire_cancel();
        acquire_cancel();
    };
    let routine = "IoAcquireCancelSpinLock";
    stops(twice, Rule::CancelSpinLock, 0xc4, 0x1000, routine);
    let left = found(|| {
        acquire_cancel();
    });
    let broken = (left.rule, left.routine);
    assert_eq!(broken, (Rule::CancelSpinLock, "DriverEntry"), "\n{left}");
}

#[test]
fn cancel_spin_lock_release() {
    let wrong_irql = || {
        acquire_cancel();
        nt!(IoReleaseCancelSpinLock(DISPATCH_LEVEL));
    };
    let (rule, routine) = (Rule::CancelSpinLockRelease, "IoReleaseCancelSpinLock");
    stops(wrong_irql, rule, 0xc4, 0x31, routine);
    let twice = || {
        let irql = acquire_cancel();
        for _ in 0..2 {
            nt!(IoReleaseCancelSpinLock(irql));
        }
    };
    stops(twice, rule, 0xc4, 0x32, routine);
}

#[test]
fn device_queue_busy() {
    let body = || {
        let mut queue = KDEVICE_QUEUE { Reserved: [0; 5] };
        nt!(KeInitializeDeviceQueue(&raw mut queue));
        raise_to_dpc_level();
        nt!(KeRemoveDeviceQueue(&raw mut queue));
    };
    let routine = "KeRemoveDeviceQueue";
    stops(body, Rule::DeviceQueueBusy, 0xc4, 0x1007, routine);
}

#[test]
fn lock_of_an_interlocked_list() {
    let body = || {
        let mut lock = lock();
        let mut sum = 0;
        nt!(ExInterlockedAddUlong(&raw mut sum, 1, &raw mut lock));
        acquire(&mut lock);
    };
    let routine = "KeAcquireSpinLock";
    stops(body, Rule::InterlockedLock, 0xc4, 0x1008, routine);
}

#[test]
fn list_entry() {
    let twice = || {
        let mut lock = lock();
        let mut head = LIST_ENTRY {
            Flink: null_mut(),
            Blink: null_mut(),
        };
        let mut entry = head;
        nt!(list::InitializeListHead(&raw mut head));
        for _ in 0..2 {
            nt!(ExInterlockedInsertTailList(
                &raw mut head,
                &raw mut entry,
                &raw mut lock
            ));
        }
    };
    let routine = "ExInterlockedInsertTailList";
    stops(twice, Rule::ListEntry, 0x139, 3, routine);
}

#[test]
fn dpc() {
    let body = || {
        let mut dpc = KDPC { Reserved: [0; 8] };
        nt!(KeInsertQueueDpc(&raw mut dpc, null_mut(), null_mut()));
    };
    stops(body, Rule::Dpc, 0xc7, 1, "KeInsertQueueDpc");
}

#[test]
fn pool() {
    let leak = found(|| {
        std::mem::forget(black_box(vec![0_u8; 100]));
    });
    let seen = (leak.rule, leak.code, leak.parameters);
    assert_eq!(seen, (Rule::Pool, 0xc4, [0x62, 0, 0, 1]), "\n{leak}");
}

#[test]
fn bug_check() {
    let body = || nt!(KeBugCheckEx(0x1234, 1, 2, 3, 4));
    let violation = stops(body, Rule::BugCheck, 0x1234, 1, "KeBugCheckEx");
    assert_eq!(violation.parameters, [1, 2, 3, 4]);
}

#[test]
fn pointer() {
    let body = || {
        let locks = MaybeUninit::<[KSPIN_LOCK; 2]>::zeroed();
        let between = locks.as_ptr().cast_mut().wrapping_byte_add(1);
        nt!(KeAcquireSpinLockRaiseToDpc(between.cast()));
    };
    let violation = found(body);
    broke(&violation, Rule::Pointer, 0x50, &[]);
}

#[test]
fn code_that_breaks_no_rule_is_not_stopped() {
    let kernel = Kernel::new(Config::default());
    run(&kernel, || {
        let (mut a, mut b) = (lock(), lock());
        let irql = acquire(&mut a);
        acquire_at_dpc(&mut b);
        release_from_dpc(&mut b);
        assert!(try_acquire_at_dpc(&mut b));
        release_from_dpc(&mut b);
        release(&mut a, irql);
        let irql = acquire_cancel();
        nt!(IoReleaseCancelSpinLock(irql));
        drop(vec![0_u8; 100]);
    });
    assert!(kernel.violation().is_none());
}
