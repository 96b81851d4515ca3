//! StartIo: the I/O manager's part of the device queue in each device object.
//!
//! A packet that finds the queue idle makes it busy, becomes `CurrentIrp`, and is passed to StartIo at `DISPATCH_LEVEL`.
//! [Microsoft's pages](https://learn.microsoft.com/windows-hardware/drivers/kernel/writing-a-startio-routine)

use std::{
    collections::HashMap,
    ptr::null_mut,
    sync::{Mutex, atomic::Ordering},
};

use nt::{DEVICE_OBJECT, DISPATCH_LEVEL, IRP, KDEVICE_QUEUE, PDRIVER_CANCEL, PDRIVER_STARTIO};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The I/O manager's state for the StartIo of each device object, by its address, if it differs from the default.
#[derive(Default)]
pub(crate) struct StartIos(Mutex<HashMap<usize, Attributes>>);

/// The attributes of a device object, and the packet to be started when StartIo has returned.
#[derive(Clone, Copy, Default)]
struct Attributes {
    deferred: bool,
    non_cancelable: bool,
    /// How often StartIo was called and has not returned.
    depth: u32,
    wanted: Option<NextPacket>,
}

/// How often StartIo may call itself. The senders determine the number of queued packets, each of which can add a call.
const DEEPEST: u32 = 16;

/// The parameters with which the next packet is started.
#[derive(Clone, Copy)]
struct NextPacket {
    cancelable: bool,
    key: Option<u32>,
}

fn device_queue(device: *mut DEVICE_OBJECT) -> *mut KDEVICE_QUEUE {
    // SAFETY: only the address is computed, inside the device object.
    unsafe { &raw mut (*device).DeviceQueue }
}

impl Call {
    fn start_io_of(&self, device: *mut DEVICE_OBJECT) -> Attributes {
        let attributes = locked(&self.kernel.io().start_ios.0);
        attributes.get(&device.addr()).copied().unwrap_or_default()
    }

    fn change_start_io(&self, device: *mut DEVICE_OBJECT, change: impl FnOnce(&mut Attributes)) {
        footprint::touch(device.addr(), Access::Exclusive);
        let mut attributes = locked(&self.kernel.io().start_ios.0);
        change(attributes.entry(device.addr()).or_default());
    }

    fn set_current_irp(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        self.synchronise(device.addr());
        footprint::touch_memory();
        // SAFETY: the device object is alive, and its queue is busy with this IRP.
        unsafe { (*device).CurrentIrp = irp };
    }

    /// Stops the system if the driver of a device object has no StartIo routine; else returns it.
    fn start_io(
        &self,
        device: *mut DEVICE_OBJECT,
    ) -> unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) {
        self.require_live_device(device);
        let driver = self.kernel.io().devices.driver_of(device);
        let routine = driver.and_then(|driver| {
            // SAFETY: only the address is computed, inside the driver object.
            let field = unsafe { &raw mut (*driver).DriverStartIo };
            // SAFETY: the field is a StartIo routine, or NULL.
            unsafe { field.cast::<PDRIVER_STARTIO>().read() }
        });
        routine.unwrap_or_else(|| {
            let bug_check = BugCheck(0xd1, [0, DISPATCH_LEVEL.into(), 8, 0]);
            let what = "the driver has no StartIo routine: DriverStartIo is NULL";
            self.stop(bug_check, Rule::StartIo, what)
        })
    }

    /// Passes the current IRP to StartIo, and then the ones that were deferred, at `DISPATCH_LEVEL`.
    fn call_start_io(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        let routine = self.start_io(device);
        let mut next = Some(irp);
        while let Some(irp) = next.take() {
            let before = self.start_io_of(device).depth;
            self.require(before < DEEPEST, Rule::StartIoRecursion, || {
                format!(
                    "StartIo has called IoStartNextPacket, which has called StartIo, {DEEPEST} times: with enough packets on the queue the \
                     stack overflows. Set DeferredStartIo by IoSetStartIoAttributes"
                )
            });
            self.change_start_io(device, |attributes| attributes.depth = before + 1);
            self.switch_point("StartIo is called", irp.addr());
            // SAFETY: the routine is called as the I/O manager calls it.
            unsafe { Call::in_driver(routine, (device, irp)) };
            self.require_returned("StartIo", DISPATCH_LEVEL);
            let mut wanted = None;
            self.change_start_io(device, |attributes| {
                attributes.depth = before;
                wanted = attributes.wanted.take().filter(|_| before == 0);
            });
            next = wanted.and_then(|wanted| self.next_packet(device, wanted));
        }
    }

    fn start_packet(
        &self,
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        key: Option<u32>,
        cancel: PDRIVER_CANCEL,
    ) {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        self.start_io(device);
        let record = self.live_irp(irp);
        let old_irql = self.raise_irql(DISPATCH_LEVEL);
        // With a Cancel routine, the cancel spin lock is held until the IRP is queued or current.
        let cancel_irql = cancel.map(|_| self.acquire_cancel_lock());
        if cancel.is_some() {
            record.had_cancel_routine.store(true, Ordering::Relaxed);
            // SAFETY: the caller owns the IRP.
            unsafe { nt::irp::IoSetCancelRoutine(irp, cancel) };
        }
        let queue = device_queue(device);
        let entry = nt::irp::device_queue_entry(irp);
        self.switch_point("IoStartPacket: KeInsertDeviceQueue", queue.addr());
        self.synchronise(queue.addr());
        let is_queued = self.insert_device_queue(queue, entry, key) != 0;
        if is_queued {
            if let Some(irql) = cancel_irql {
                match record.is_cancelled().then(|| record.take_cancel_routine()) {
                    Some(Some(routine)) => self.call_cancel_routine(&record, routine, irql),
                    _ => self.release_cancel_lock(irql),
                }
            }
        } else {
            self.set_current_irp(device, irp);
            if let Some(irql) = cancel_irql {
                if self.start_io_of(device).non_cancelable {
                    record.take_cancel_routine();
                }
                self.release_cancel_lock(irql);
            }
            self.call_start_io(device, irp);
        }
        self.lower_irql(old_irql);
    }

    /// Removes the next packet from the device queue, and makes it the current one.
    fn next_packet(&self, device: *mut DEVICE_OBJECT, next: NextPacket) -> Option<*mut IRP> {
        let cancel_irql = next.cancelable.then(|| self.acquire_cancel_lock());
        self.set_current_irp(device, null_mut());
        let queue = device_queue(device);
        self.switch_point("IoStartNextPacket: KeRemoveDeviceQueue", queue.addr());
        self.synchronise(queue.addr());
        let entry = self.remove_device_queue(queue, next.key);
        let irp = (!entry.is_null()).then(|| {
            // SAFETY: the entries of a device object's queue are those of IRPs.
            unsafe { nt::irp::from_device_queue_entry(entry) }
        });
        if let Some(irp) = irp {
            let record = self.live_irp(irp);
            self.set_current_irp(device, irp);
            if next.cancelable && self.start_io_of(device).non_cancelable {
                record.take_cancel_routine();
            }
        }
        if let Some(irql) = cancel_irql {
            self.release_cancel_lock(irql);
        }
        irp
    }

    fn start_next_packet(&self, device: *mut DEVICE_OBJECT, next: NextPacket) {
        self.require_dispatch();
        if let Some(held) = self.held.innermost(ToString::to_string) {
            let what = format!(
                "the next packet is passed to StartIo while the thread holds {held}: release it before IoStartNextPacket"
            );
            self.stop(BugCheck::NONE, Rule::SpinLockSafe, what);
        }
        self.start_io(device);
        self.require(self.is_device_queue_busy(device_queue(device)), Rule::DeviceQueueBusy, || {
            let what = format!("the device object {device:?} has no current request after which the next one could start");
            (BugCheck::verifier(0x1007, [device_queue(device).addr() as u64, 0, 0]), what)
        });
        let attributes = self.start_io_of(device);
        if attributes.deferred && attributes.depth != 0 {
            return self.change_start_io(device, |attributes| attributes.wanted = Some(next));
        }
        if let Some(irp) = self.next_packet(device, next) {
            self.call_start_io(device, irp);
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iostartpacket)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoStartPacket(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    key: *mut u32,
    cancel: PDRIVER_CANCEL,
) {
    let call = Call::enter_noted("IoStartPacket");
    // SAFETY: the caller passes NULL or a key.
    let key = unsafe { call.optional(key) };
    call.start_packet(device, irp, key, cancel);
    call.switch_after("IoStartPacket", irp);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartnextpacket)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoStartNextPacket(device: *mut DEVICE_OBJECT, cancelable: u8) {
    let next = NextPacket {
        cancelable: cancelable != 0,
        key: None,
    };
    Call::enter_noted("IoStartNextPacket").start_next_packet(device, next);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartnextpacketbykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoStartNextPacketByKey(device: *mut DEVICE_OBJECT, cancelable: u8, key: u32) {
    let next = NextPacket {
        cancelable: cancelable != 0,
        key: Some(key),
    };
    Call::enter_noted("IoStartNextPacketByKey").start_next_packet(device, next);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iosetstartioattributes)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoSetStartIoAttributes(device: *mut DEVICE_OBJECT, deferred: u8, non_cancelable: u8) {
    let call = Call::enter_noted("IoSetStartIoAttributes");
    call.require_live_device(device);
    call.change_start_io(device, |attributes| {
        attributes.deferred = deferred != 0;
        attributes.non_cancelable = non_cancelable != 0;
    });
}
