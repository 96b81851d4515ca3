//! Drivers of a device with an interrupt and registers.
//!
//! Microsoft's pages:
//! [`IoConnectInterruptEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioconnectinterruptex),
//! [`IoDisconnectInterruptEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iodisconnectinterruptex),
//! [`KeSynchronizeExecution`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesynchronizeexecution),
//! [`MmMapIoSpace`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmmapiospace)

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::{addr_of, null_mut},
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst},
    },
};

use call::broke;
use common::{NO_CODE, delete, found_in, passes, stops};
use nt::{
    CmResourceTypeInterrupt, CmResourceTypeMemory, DEVICE_OBJECT,
    IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS, IO_CONNECT_INTERRUPT_PARAMETERS,
    IO_DISCONNECT_INTERRUPT_PARAMETERS, IRP, KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS,
    PKSERVICE_ROUTINE, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS,
};
use ntmodel::{Device, Driver, Kernel, Resource, Rule};
use steps::{Steps, breaks, entry, holds, lower, own, skip};

const VECTOR: u32 = 0x51;
const DIRQL: u8 = 5;
const REGISTERS: u64 = 0xfeb0_0010;
const LENGTH: u32 = 0x40;

/// The mistake of a driver.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mistake {
    None,
    KeepsInterrupt,
    KeepsMapping,
    UnmapsOtherLength,
    UnmapsTwice,
    UnmapsBeforeDisconnecting,
    DisconnectsTwice,
    SynchronizesAfterDisconnecting,
    SetsEventInRoutine,
    AcquiresLockOfInterrupt,
    AcquiresLockUnderInterruptLock,
    ConnectsAtDispatchLevel,
    DisconnectsBeforeTheDpcHasRun,
    TakesEntriesWithoutTheLock,
    InitialisesDpcLate,
}

impl Mistake {
    const fn of(number: u8) -> Self {
        match number {
            1 => Self::KeepsInterrupt,
            2 => Self::KeepsMapping,
            3 => Self::UnmapsOtherLength,
            4 => Self::UnmapsTwice,
            5 => Self::UnmapsBeforeDisconnecting,
            6 => Self::DisconnectsTwice,
            7 => Self::SynchronizesAfterDisconnecting,
            8 => Self::SetsEventInRoutine,
            9 => Self::AcquiresLockOfInterrupt,
            10 => Self::AcquiresLockUnderInterruptLock,
            11 => Self::ConnectsAtDispatchLevel,
            12 => Self::DisconnectsBeforeTheDpcHasRun,
            13 => Self::TakesEntriesWithoutTheLock,
            14 => Self::InitialisesDpcLate,
            _ => Self::None,
        }
    }
}

struct Interrupts<const MISTAKE: u8>;

struct Own {
    interrupt: AtomicPtr<c_void>,
    registers: AtomicPtr<u32>,
    lock: UnsafeCell<KSPIN_LOCK>,
    event: UnsafeCell<KEVENT>,
    /// Not zero after the device has stopped.
    has_stopped: AtomicUsize,
    /// The interrupts of the device.
    served: AtomicUsize,
    /// The entries that the service routine has inserted and the DPC has not taken.
    list: UnsafeCell<LIST_ENTRY>,
    entries: [UnsafeCell<LIST_ENTRY>; 2],
    /// The number that the DPC has read.
    seen: AtomicUsize,
}

unsafe extern "C" fn serve<const MISTAKE: u8>(_: *mut c_void, context: *mut c_void) -> u8 {
    // SAFETY: the context is the driver's device object.
    let own = own::<Interrupts<MISTAKE>>(context.cast());
    assert_eq!(nt!(KeGetCurrentIrql()), DIRQL);
    let register = own.registers.load(SeqCst);
    // SAFETY: the register is mapped while the interrupt is connected.
    let status = unsafe { register.read_volatile() };
    if status == 0 || own.has_stopped.load(SeqCst) != 0 {
        return 0;
    }
    // SAFETY: as above.
    unsafe { register.write_volatile(0) };
    let served = own.served.fetch_add(1, SeqCst);
    if let Some(entry) = own.entries.get(served) {
        nt!(list::InsertTailList(own.list.get(), entry.get()));
    }
    if Mistake::of(MISTAKE) == Mistake::SetsEventInRoutine {
        nt!(KeSetEvent(own.event.get(), 0, 0));
    }
    nt!(IoRequestDpc(context.cast(), null_mut(), null_mut()));
    1
}

unsafe extern "C" fn read<const MISTAKE: u8>(context: *mut c_void) -> u8 {
    // SAFETY: as above.
    let own = own::<Interrupts<MISTAKE>>(context.cast());
    assert_eq!(nt!(KeGetCurrentIrql()), DIRQL);
    own.seen.store(own.served.load(SeqCst), SeqCst);
    if Mistake::of(MISTAKE) == Mistake::AcquiresLockUnderInterruptLock {
        let irql = nt!(KeAcquireSpinLockRaiseToDpc(own.lock.get()));
        nt!(KeReleaseSpinLock(own.lock.get(), irql));
    }
    1
}

/// Takes the entries from the list.
unsafe extern "C" fn take(list: *mut c_void) -> u8 {
    let list = list.cast::<LIST_ENTRY>();
    while !nt!(list::IsListEmpty(list)) {
        // SAFETY: the list has an entry.
        let first = unsafe { (*list).Flink };
        nt!(list::RemoveEntryList(first));
    }
    1
}

unsafe extern "C" fn stop(has_stopped: *mut c_void) -> u8 {
    // SAFETY: the context is a number in the device extension.
    let has_stopped = unsafe { &*has_stopped.cast::<AtomicUsize>() };
    has_stopped.store(1, SeqCst);
    1
}

unsafe extern "C" fn deferred<const MISTAKE: u8>(
    _: *mut nt::KDPC,
    device: *mut DEVICE_OBJECT,
    _: *mut IRP,
    _: *mut c_void,
) {
    let own = own::<Interrupts<MISTAKE>>(device);
    let interrupt = own.interrupt.load(SeqCst);
    if Mistake::of(MISTAKE) == Mistake::AcquiresLockOfInterrupt {
        nt!(KeAcquireSpinLockAtDpcLevel(own.lock.get()));
        nt!(KeReleaseSpinLockFromDpcLevel(own.lock.get()));
    }
    let list = own.list.get().cast();
    if Mistake::of(MISTAKE) == Mistake::TakesEntriesWithoutTheLock {
        // SAFETY: the context is the list.
        unsafe { take(list) };
    } else {
        nt!(KeSynchronizeExecution(interrupt, Some(take), list));
    }
    let read = Some(read::<MISTAKE> as unsafe extern "C" fn(_) -> _);
    assert_eq!(
        nt!(KeSynchronizeExecution(interrupt, read, device.cast())),
        1
    );
    let irql = nt!(KeAcquireInterruptSpinLock(interrupt));
    assert_eq!(nt!(KeGetCurrentIrql()), DIRQL);
    nt!(KeReleaseInterruptSpinLock(interrupt, irql));
}

/// The memory and the interrupt in the resources of a device.
fn resources_of(irp: *mut IRP) -> ((i64, usize), (u32, u8)) {
    let list = nt!(start_device_resources(irp));
    // SAFETY: the PnP manager passes the list.
    let count = unsafe { (*list).Count };
    let (mut memory, mut interrupt) = ((0, 0), (0, 0));
    for index in 0..count as usize {
        // SAFETY: only the address is computed; the list has this number of elements.
        let first = unsafe { addr_of!((*list).PartialDescriptors) };
        let first = first.cast::<nt::CM_PARTIAL_RESOURCE_DESCRIPTOR>();
        // SAFETY: as above.
        let descriptor = unsafe { first.wrapping_add(index).read() };
        let u = descriptor.u;
        if descriptor.Type == CmResourceTypeMemory {
            memory = (i64::from(u[0]) | i64::from(u[1]) << 32, u[2] as usize);
        } else if descriptor.Type == CmResourceTypeInterrupt {
            interrupt = (u[1], u8::try_from(u[0]).expect("an IRQL"));
        }
    }
    (memory, interrupt)
}

impl<const MISTAKE: u8> Interrupts<MISTAKE> {
    fn start(device: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP) -> NTSTATUS {
        let ((start, length), (vector, irql)) = resources_of(irp);
        let status = skip(lower::<Self>(device), irp);
        let registers = nt!(MmMapIoSpace(start, length, nt::MmNonCached));
        own.registers.store(registers.cast(), SeqCst);
        let routine = Some(serve::<MISTAKE> as unsafe extern "C" fn(_, _) -> _);
        let context = device.cast();
        let old =
            (Mistake::of(MISTAKE) == Mistake::ConnectsAtDispatchLevel).then(|| nt!(KfRaiseIrql(2)));
        let lock = own.lock.get();
        let connected = nt!(IoConnectInterrupt(
            own.interrupt.as_ptr(),
            routine,
            context,
            lock,
            vector,
            irql,
            irql,
            nt::LevelSensitive,
            1,
            1,
            0
        ));
        if let Some(old) = old {
            nt!(KeLowerIrql(old));
        }
        assert_eq!(connected, STATUS_SUCCESS);
        if Mistake::of(MISTAKE) == Mistake::InitialisesDpcLate {
            nt!(IoInitializeDpcRequest(device, Some(deferred::<MISTAKE>)));
        }
        status
    }
}

impl<const MISTAKE: u8> Steps for Interrupts<MISTAKE> {
    type Own = Own;

    fn add(device: *mut DEVICE_OBJECT, own: &Own) {
        nt!(KeInitializeSpinLock(own.lock.get()));
        nt!(KeInitializeEvent(own.event.get(), 0, 0));
        nt!(list::InitializeListHead(own.list.get()));
        if Mistake::of(MISTAKE) != Mistake::InitialisesDpcLate {
            nt!(IoInitializeDpcRequest(device, Some(deferred::<MISTAKE>)));
        }
    }

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP) -> NTSTATUS {
        let is_pnp = nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP;
        if is_pnp && nt!(irp::minor_function(irp)) == nt::IRP_MN_START_DEVICE {
            return Self::start(device, own, irp);
        }
        skip(lower::<Self>(device), irp)
    }

    fn remove(own: &Own) {
        let (interrupt, registers) = (own.interrupt.load(SeqCst), own.registers.load(SeqCst));
        let unmap = |length: u32| nt!(MmUnmapIoSpace(registers.cast(), length as usize));
        let mistake = Mistake::of(MISTAKE);
        if mistake != Mistake::DisconnectsBeforeTheDpcHasRun {
            let has_stopped = (&raw const own.has_stopped).cast_mut().cast();
            nt!(KeSynchronizeExecution(interrupt, Some(stop), has_stopped));
            nt!(KeFlushQueuedDpcs());
        }
        if mistake == Mistake::UnmapsBeforeDisconnecting {
            unmap(LENGTH);
        }
        if mistake != Mistake::KeepsInterrupt {
            nt!(IoDisconnectInterrupt(interrupt));
        }
        nt!(KeFlushQueuedDpcs());
        match mistake {
            Mistake::UnmapsBeforeDisconnecting | Mistake::KeepsMapping => {}
            Mistake::UnmapsOtherLength => unmap(LENGTH - 1),
            _ => unmap(LENGTH),
        }
        match mistake {
            Mistake::UnmapsTwice => unmap(LENGTH),
            Mistake::DisconnectsTwice => nt!(IoDisconnectInterrupt(interrupt)),
            Mistake::SynchronizesAfterDisconnecting => {
                nt!(KeAcquireInterruptSpinLock(interrupt));
            }
            _ => {}
        }
    }
}

fn start<const MISTAKE: u8>(kernel: &Arc<Kernel>) -> (Driver, Device) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<Interrupts<MISTAKE>>) };
    let driver = driver.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    let resources = [
        Resource::Memory {
            start: REGISTERS,
            length: LENGTH,
        },
        Resource::Interrupt {
            vector: VECTOR,
            irql: DIRQL,
        },
    ];
    device.start_with(&resources).expect("the device starts");
    (driver, device)
}

/// Sets the register that says that the device interrupts.
fn set_register(kernel: &Arc<Kernel>) {
    if let Some(register) = kernel.mapped(REGISTERS) {
        // SAFETY: the register is mapped.
        unsafe { register.cast::<u32>().write_volatile(1) };
    }
}

fn interrupts_and_is_removed<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    let (driver, device) = start::<MISTAKE>(kernel);
    assert!(!kernel.interrupt(VECTOR), "it is another device's");
    set_register(kernel);
    assert!(!kernel.interrupt(VECTOR + 1), "no routine is connected");
    assert!(kernel.interrupt(VECTOR));
    device.remove().expect("no file is open");
    driver.unload();
    assert!(!kernel.interrupt(VECTOR), "the routine is disconnected");
}

fn interrupts_during_removal<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    let (driver, device) = start::<MISTAKE>(kernel);
    set_register(kernel);
    let kernel_clone = Arc::clone(kernel);
    let other = kernel.actor("interrupt", move || {
        kernel_clone.interrupt(VECTOR);
    });
    device.remove().expect("no file is open");
    other.join();
    driver.unload();
}

#[test]
fn interrupt_is_served_until_it_is_disconnected() {
    interrupts_and_is_removed::<0>(&Kernel::new(ntmodel::Config::default()));
    holds(interrupts_during_removal::<0>);
}

#[test]
fn interrupt_and_mapping_end_before_the_driver_is_unloaded() {
    let violation = found_in(interrupts_and_is_removed::<1>);
    broke(&violation, Rule::Interrupt, 0xce, &[]);
    let violation = found_in(interrupts_and_is_removed::<2>);
    broke(&violation, Rule::IoSpace, 0xce, &[]);
}

#[test]
fn memory_is_unmapped_once_with_its_length() {
    let violation = found_in(interrupts_and_is_removed::<3>);
    broke(&violation, Rule::IoSpace, 0xda, &[]);
    let violation = found_in(interrupts_and_is_removed::<4>);
    broke(&violation, Rule::IoSpace, 0xda, &[]);
}

#[test]
#[cfg(target_os = "linux")]
fn registers_stay_mapped_while_the_interrupt_is_connected() {
    breaks(interrupts_during_removal::<5>, Rule::Pointer, "serve");
}

#[test]
fn interrupt_object_is_used_while_it_is_connected() {
    let violation = found_in(interrupts_and_is_removed::<6>);
    broke(&violation, Rule::Interrupt, 0x50, &[]);
    let violation = found_in(interrupts_and_is_removed::<7>);
    broke(&violation, Rule::Interrupt, 0x50, &[]);
}

#[test]
fn dpc_uses_the_interrupt_object_while_it_is_connected() {
    breaks(interrupts_during_removal::<12>, Rule::Interrupt, "deferred");
}

/// Two interrupts, while the DPC of the first can run.
fn interrupts_twice<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    let (driver, device) = start::<MISTAKE>(kernel);
    let kernel_clone = Arc::clone(kernel);
    let other = kernel.actor("interrupt", move || {
        set_register(&kernel_clone);
        kernel_clone.interrupt(VECTOR);
    });
    set_register(kernel);
    kernel.interrupt(VECTOR);
    other.join();
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn dpc_takes_what_the_service_routine_inserts_under_its_lock() {
    holds(interrupts_twice::<0>);
    breaks(interrupts_twice::<13>, Rule::PlainMemory, "RemoveEntryList");
}

fn interrupts_during_start<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    let kernel_clone = Arc::clone(kernel);
    let other = kernel.actor("interrupt", move || {
        set_register(&kernel_clone);
        kernel_clone.interrupt(VECTOR);
    });
    let (driver, device) = start::<MISTAKE>(kernel);
    other.join();
    device.remove().expect("no file is open");
    driver.unload();
}

/// What a service routine uses is initialised before it is connected.
#[test]
fn interrupt_can_occur_as_soon_as_it_is_connected() {
    holds(interrupts_during_start::<0>);
    let text = "was not initialised";
    breaks(interrupts_during_start::<14>, Rule::Dpc, text);
}

#[test]
fn service_routine_calls_nothing_that_runs_at_dispatch_level() {
    let violation = found_in(interrupts_and_is_removed::<8>);
    broke(&violation, Rule::IrqlKeSetEvent, 0xc4, &[]);
    let violation = found_in(interrupts_and_is_removed::<10>);
    broke(&violation, Rule::IrqlKeDispatchLte, 0xc4, &[0x42]);
}

#[test]
fn interrupt_spin_lock_is_used_as_an_ordinary_lock() {
    let violation = found_in(interrupts_and_is_removed::<9>);
    broke(&violation, Rule::Interrupt, 0xc4, &[0x1008]);
}

#[test]
fn interrupt_is_connected_at_passive_level() {
    let violation = found_in(interrupts_and_is_removed::<11>);
    broke(&violation, Rule::Irql, 0xc4, &[0xe5]);
}

unsafe extern "C" fn serves_nothing(_: *mut c_void, _: *mut c_void) -> u8 {
    0
}

const NOTHING: PKSERVICE_ROUTINE = Some(serves_nothing);

#[test]
fn versions_of_a_connection() {
    passes(|device| {
        let mut object = null_mut();
        let mut all = IO_CONNECT_INTERRUPT_PARAMETERS {
            Version: nt::CONNECT_FULLY_SPECIFIED,
            PhysicalDeviceObject: device,
            InterruptObject: &raw mut object,
            ServiceRoutine: NOTHING,
            ServiceContext: null_mut(),
            SpinLock: null_mut(),
            SynchronizeIrql: DIRQL,
            FloatingSave: 0,
            ShareVector: 1,
            Vector: VECTOR,
            Irql: DIRQL,
            InterruptMode: nt::Latched,
            ProcessorEnableMask: 1,
            Group: 0,
        };
        assert_eq!(nt!(IoConnectInterruptEx(&raw mut all)), STATUS_SUCCESS);
        let mut end = IO_DISCONNECT_INTERRUPT_PARAMETERS {
            Version: all.Version,
            ConnectionContext: object,
        };
        nt!(IoDisconnectInterruptEx(&raw mut end));
        all.Irql = 2;
        let status = nt!(IoConnectInterruptEx(&raw mut all));
        assert_eq!(
            status, STATUS_INVALID_PARAMETER,
            "it is no IRQL of a device"
        );
        all.Version = nt::CONNECT_LINE_BASED;
        let status = nt!(IoConnectInterruptEx(&raw mut all));
        assert_eq!(status, STATUS_NOT_FOUND, "the device has no interrupt");
        let mut messages = IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS {
            Version: nt::CONNECT_MESSAGE_BASED,
            PhysicalDeviceObject: device,
            ConnectionContext: &raw mut object,
            MessageServiceRoutine: None,
            ServiceContext: null_mut(),
            SpinLock: null_mut(),
            SynchronizeIrql: 0,
            FloatingSave: 0,
            FallBackServiceRoutine: None,
        };
        let status = nt!(IoConnectInterruptEx((&raw mut messages).cast()));
        assert_eq!(status, STATUS_NOT_FOUND);
        delete(device);
    });
}

#[test]
fn mapping_has_bytes() {
    let body = |_: *mut DEVICE_OBJECT| {
        nt!(MmMapIoSpace(0x1000, 0, nt::MmNonCached));
    };
    stops(body, Rule::IoSpace, NO_CODE, 0, "MmMapIoSpace");
}
