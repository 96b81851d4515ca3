//! Each call of a routine at an IRQL that is not allowed is found, by the rule that Microsoft's page names for it.

#[macro_use]
mod call;
mod body;

use std::{ffi::c_void, ptr::null_mut};

use body::stops;
use call::wait;
use nt::{EX_RUNDOWN_REF, KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY, KEVENT, KLOCK_QUEUE_HANDLE, KTIMER};
use ntmodel::Rule;

const APC_LEVEL: u8 = 1;
const HIGH_LEVEL: u8 = 15;

fn raise_to_dpc_level() {
    let _ = nt!(KeRaiseIrqlToDpcLevel());
}

fn raise(irql: u8) {
    nt!(KfRaiseIrql(irql));
}

#[test]
fn irql_dispatch() {
    let body = || {
        let mut queue = KDEVICE_QUEUE { Reserved: [0; 5] };
        let mut entry = KDEVICE_QUEUE_ENTRY { Reserved: [0; 3] };
        nt!(KeInitializeDeviceQueue(&raw mut queue));
        nt!(KeInsertDeviceQueue(&raw mut queue, &raw mut entry));
    };
    let routine = "KeInsertDeviceQueue";
    stops(body, Rule::IrqlDispatch, 0xc4, 0x2_0003, routine);
}

#[test]
fn irql_ke_apc_lte1() {
    let body = || {
        raise_to_dpc_level();
        nt!(KeDelayExecutionThread(nt::KERNEL_MODE, 0, &mut -1));
    };
    let routine = "KeDelayExecutionThread";
    stops(body, Rule::IrqlKeApcLte1, 0xc4, 0x2_000f, routine);
}

#[test]
fn dpcs_are_flushed_at_passive_level_only() {
    let bodies: [fn(); 2] = [|| flush_at(1), || flush_at(2)];
    for body in bodies {
        stops(body, Rule::Irql, 0xc4, 0xe5, "KeFlushQueuedDpcs");
    }
}

#[test]
fn run_down_protection_is_initialised_below_dispatch_level() {
    let body = || {
        let mut run_ref = EX_RUNDOWN_REF { Count: 0 };
        raise_to_dpc_level();
        nt!(ExInitializeRundownProtection(&raw mut run_ref));
    };
    let routine = "ExInitializeRundownProtection";
    stops(body, Rule::Irql, 0xc4, 0xe5, routine);
}

fn flush_at(irql: u8) {
    nt!(KfRaiseIrql(irql));
    nt!(KeFlushQueuedDpcs());
}

#[test]
fn irql_ke_wait_for_mutex_object() {
    let body = || {
        let mut event = KEVENT { Header: [0; 3] };
        nt!(KeInitializeEvent(&raw mut event, 0, 0));
        raise_to_dpc_level();
        wait(&raw mut event);
    };
    let routine = "KeWaitForSingleObject";
    stops(body, Rule::IrqlKeWaitForMutexObject, 0xc4, 0x3b, routine);
}

#[test]
fn irql_ke_set_event() {
    let body = || {
        let mut event = KEVENT { Header: [0; 3] };
        nt!(KeInitializeEvent(&raw mut event, 0, 0));
        raise_to_dpc_level();
        nt!(KeSetEvent(&raw mut event, 0, 0));
        nt!(KeSetEvent(&raw mut event, 0, 1));
    };
    stops(body, Rule::IrqlKeSetEvent, 0xc4, 0x2_0016, "KeSetEvent");
}

#[test]
fn irql_ps_passive() {
    unsafe extern "C" fn routine(_: *mut c_void) {}
    let body = || {
        raise_to_dpc_level();
        let mut handle = null_mut();
        nt!(PsCreateSystemThread(
            &raw mut handle,
            0,
            null_mut(),
            null_mut(),
            null_mut(),
            Some(routine),
            null_mut(),
        ));
    };
    let routine = "PsCreateSystemThread";
    stops(body, Rule::IrqlPsPassive, 0xc4, 0x2_001c, routine);
}

fn create_device() -> *mut nt::DEVICE_OBJECT {
    let mut device = null_mut();
    nt!(IoCreateDevice(
        null_mut(),
        0,
        null_mut(),
        0,
        0,
        0,
        &raw mut device
    ));
    device
}

#[test]
fn irql_io_apc_lte() {
    let body = || {
        let device = create_device();
        raise_to_dpc_level();
        nt!(IoDeleteDevice(device));
    };
    stops(body, Rule::IrqlIoApcLte, 0xc4, 0x2_0009, "IoDeleteDevice");
}

#[test]
fn irql_io_passive1() {
    let body = || {
        raise_to_dpc_level();
        create_device();
    };
    stops(body, Rule::IrqlIoPassive1, 0xc4, 0x2_000a, "IoCreateDevice");
}

#[test]
fn irql_io_passive3() {
    let body = || {
        let device = create_device();
        raise(APC_LEVEL);
        nt!(IoDetachDevice(device));
    };
    stops(body, Rule::IrqlIoPassive3, 0xc4, 0x2_000c, "IoDetachDevice");
}

#[test]
fn irql_ke_dispatch_lte() {
    let queue = || {
        raise(HIGH_LEVEL);
        let mut queue = KDEVICE_QUEUE { Reserved: [0; 5] };
        nt!(KeInitializeDeviceQueue(&raw mut queue));
    };
    let rule = Rule::IrqlKeDispatchLte;
    stops(queue, rule, 0xc4, 0x2_0011, "KeInitializeDeviceQueue");
    let timer = || {
        raise(HIGH_LEVEL);
        let mut timer = KTIMER { Reserved: [0; 8] };
        nt!(KeInitializeTimer(&raw mut timer));
    };
    stops(timer, rule, 0xc4, 0x2_0011, "KeInitializeTimer");
}

#[test]
fn irql_is_the_documented_one() {
    let cancel_lock = || {
        raise(HIGH_LEVEL);
        let mut irql = 0;
        nt!(IoAcquireCancelSpinLock(&raw mut irql));
    };
    let routine = "IoAcquireCancelSpinLock";
    stops(cancel_lock, Rule::Irql, 0xc4, 0xe5, routine);
    let handle = || {
        raise(APC_LEVEL);
        nt!(ZwWaitForSingleObject(null_mut(), 0, null_mut()));
    };
    stops(handle, Rule::Irql, 0xc4, 0xe6, "ZwWaitForSingleObject");
    let queued = || {
        let mut lock = 0;
        nt!(KeInitializeSpinLock(&raw mut lock));
        let mut handle = KLOCK_QUEUE_HANDLE { Reserved: [0; 3] };
        nt!(KeAcquireInStackQueuedSpinLockAtDpcLevel(
            &raw mut lock,
            &raw mut handle
        ));
    };
    let routine = "KeAcquireInStackQueuedSpinLockAtDpcLevel";
    stops(queued, Rule::Irql, 0xc4, 0xe5, routine);
}

/// Calls of routines at an IRQL above the documented maximum.
#[test]
fn irql_above_the_documented_one() {
    const BODIES: [(&str, fn()); 11] = [
        ("ExInitializeZone", || {
            raise(APC_LEVEL);
            let (mut zone, mut segment) = ([0_u64; 4], [0_u64; 8]);
            let segment = segment.as_mut_ptr().cast();
            nt!(ExInitializeZone(zone.as_mut_ptr().cast(), 16, segment, 64));
        }),
        ("ExExtendZone", || {
            let (mut zone, mut segments) = ([0_u64; 4], [[0_u64; 8]; 2]);
            let zone = zone.as_mut_ptr().cast();
            let [first, second] = &mut segments;
            nt!(ExInitializeZone(zone, 16, first.as_mut_ptr().cast(), 64));
            raise(HIGH_LEVEL);
            nt!(ExExtendZone(zone, second.as_mut_ptr().cast(), 64));
        }),
        ("ExReInitializeRundownProtection", || {
            let mut run_ref = EX_RUNDOWN_REF { Count: 0 };
            nt!(ExInitializeRundownProtection(&raw mut run_ref));
            nt!(ExWaitForRundownProtectionRelease(&raw mut run_ref));
            raise_to_dpc_level();
            nt!(ExReInitializeRundownProtection(&raw mut run_ref));
        }),
        ("ExConvertExclusiveToSharedLite", || {
            with_resource(|resource| {
                nt!(KeEnterCriticalRegion());
                nt!(ExAcquireResourceExclusiveLite(resource, 1));
                raise_to_dpc_level();
                nt!(ExConvertExclusiveToSharedLite(resource));
            });
        }),
        ("ExIsResourceAcquiredExclusiveLite", || {
            with_resource(|resource| {
                raise(HIGH_LEVEL);
                nt!(ExIsResourceAcquiredExclusiveLite(resource));
            });
        }),
        ("ExIsResourceAcquiredSharedLite", || {
            with_resource(|resource| {
                raise(HIGH_LEVEL);
                nt!(ExIsResourceAcquiredSharedLite(resource));
            });
        }),
        ("KeInitializeSemaphore", || {
            raise(APC_LEVEL);
            with_semaphore(|_| {});
        }),
        ("KeReleaseSemaphore", || {
            with_semaphore(|semaphore| {
                raise(APC_LEVEL);
                nt!(KeReleaseSemaphore(semaphore, 0, 1, 1));
            });
        }),
        ("IoIsWdmVersionAvailable", || {
            raise(APC_LEVEL);
            nt!(IoIsWdmVersionAvailable(6, 0));
        }),
        ("IoIs32bitProcess", || {
            raise(HIGH_LEVEL);
            nt!(IoIs32bitProcess(null_mut()));
        }),
        ("RtlInitAnsiString", || {
            let mut string = nt::ANSI_STRING {
                Length: 0,
                MaximumLength: 0,
                Buffer: null_mut(),
            };
            raise(HIGH_LEVEL);
            nt!(RtlInitAnsiString(&raw mut string, c"text".as_ptr().cast()));
        }),
    ];
    for (routine, body) in BODIES {
        stops(body, Rule::Irql, 0xc4, 0xe5, routine);
    }
}

fn with_resource(body: fn(*mut nt::ERESOURCE)) {
    let mut resource = [0_u64; size_of::<nt::ERESOURCE>() / 8];
    let resource = resource.as_mut_ptr().cast();
    nt!(ExInitializeResourceLite(resource));
    body(resource);
}

fn with_semaphore(body: fn(*mut nt::KSEMAPHORE)) {
    let mut semaphore = nt::KSEMAPHORE { Reserved: [0; 4] };
    nt!(KeInitializeSemaphore(&raw mut semaphore, 0, 1));
    body(&raw mut semaphore);
}

/// `MmProbeAndLockPages`: at `DISPATCH_LEVEL` only pages of nonpageable memory are locked.
#[test]
fn paged_pool_is_not_locked_at_dispatch_level() {
    let body = || {
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_PAGED, 64, 0x7473_6574));
        let (no, none) = (0, null_mut());
        let mdl = nt!(IoAllocateMdl(block, 64, no, no, none));
        raise_to_dpc_level();
        nt!(MmProbeAndLockPages(mdl, 0, 0));
    };
    stops(body, Rule::UserBuffer, 0, 0, "MmProbeAndLockPages");
}

#[test]
fn irql_zw_passive() {
    let body = || {
        raise_to_dpc_level();
        nt!(ZwClose(null_mut()));
    };
    stops(body, Rule::IrqlZwPassive, 0xc4, 0x2_001f, "ZwClose");
}

/// Microsoft's pages: [`KeReleaseSpinLockFromDpcLevel`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereleasespinlockfromdpclevel),
/// [`KeTryToAcquireSpinLockAtDpcLevel`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ketrytoacquirespinlockatdpclevel)
#[test]
fn spin_lock_is_tried_and_released_at_dispatch_level_only() {
    let body = || {
        let mut lock = nt::SPIN_LOCK_FREE;
        raise(5);
        nt!(KeAcquireSpinLockAtDpcLevel(&raw mut lock));
        nt!(KeReleaseSpinLockFromDpcLevel(&raw mut lock));
    };
    let routine = "KeReleaseSpinLockFromDpcLevel";
    stops(body, Rule::IrqlDispatch, 0xc4, 0x2_0003, routine);
    let body = || {
        let mut lock = nt::SPIN_LOCK_FREE;
        raise(5);
        nt!(KeTryToAcquireSpinLockAtDpcLevel(&raw mut lock));
    };
    let routine = "KeTryToAcquireSpinLockAtDpcLevel";
    stops(body, Rule::Irql, 0xc4, 0xe5, routine);
}

unsafe extern "C" fn releases(
    _: *mut nt::KDPC,
    mutex: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
) {
    nt!(KeReleaseMutex(mutex.cast(), 0));
}

/// "if a mutex was acquired at `IRQL = DISPATCH_LEVEL` and the thread is not running at `DISPATCH_LEVEL` (and vice versa)": the kernel
/// compares whether a DPC runs.
#[test]
fn mutex_is_not_released_in_the_dpc_that_interrupts_its_owner() {
    let body = || {
        let mut mutex = nt::KMUTEX { Reserved: [0; 7] };
        let mut dpc = nt::KDPC { Reserved: [0; 8] };
        nt!(KeInitializeMutex(&raw mut mutex, 0));
        let context = (&raw mut mutex).cast();
        nt!(KeInitializeDpc(&raw mut dpc, Some(releases), context));
        wait(&raw mut mutex);
        nt!(KeInsertQueueDpc(&raw mut dpc, null_mut(), null_mut()));
    };
    stops(body, Rule::Mutex, 0x1e, 0xc000_0046, "KeReleaseMutex");
}
