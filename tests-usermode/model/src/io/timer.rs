//! `IoTimer` routines: a device object has at most one, which is called once per second.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/registering-and-enabling-an-iotimer-routine)

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::{Arc, Mutex},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, KDPC, KTIMER, NTSTATUS, NotificationTimer, PIO_TIMER_ROUTINE,
    STATUS_SUCCESS,
};
use rustc_hash::FxHashMap;

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        wait::Wait,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The period of every timer, in milliseconds and in units of 100 ns.
const PERIOD: u32 = 1000;
const FIRST: i64 = -10_000 * PERIOD as i64;

/// The timers, by the addresses of their device objects. A timer is kept as long as the kernel, since its DPC can still be
/// queued when its device object is deleted.
#[derive(Default)]
pub(crate) struct IoTimers(Mutex<FxHashMap<usize, Arc<IoTimer>>>);

/// The timer of a device object.
struct IoTimer {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    device: *mut DEVICE_OBJECT,
    routine: PIO_TIMER_ROUTINE,
    context: *mut c_void,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_enabled: bool,
    /// The number of the thread that runs the routine.
    runs_in: Option<u32>,
}

// SAFETY: the kernel's routines access the timer and the DPC as they do a driver's. The pointers are passed to the routine, by any
// thread, as the driver that gave them expects.
unsafe impl Send for IoTimer {}
// SAFETY: as above.
unsafe impl Sync for IoTimer {}

impl IoTimer {
    fn key(&self) -> usize {
        (&raw const self.state).addr()
    }

    fn touch(&self) {
        footprint::touch(self.key(), Access::Exclusive);
    }
}

/// The DPC of a timer: calls the routine if the timer is enabled.
unsafe extern "C" fn tick(
    _: *mut KDPC,
    timer: *mut c_void,
    _first: *mut c_void,
    _second: *mut c_void,
) {
    // SAFETY: the context is the timer, which stays as long as the kernel.
    let timer = unsafe { &*timer.cast::<IoTimer>() };
    let call = Call::enter_noted("an IoTimer routine");
    timer.touch();
    {
        let mut state = locked(&timer.state);
        if !state.is_enabled {
            return;
        }
        state.runs_in = Some(call.number);
    }
    if let Some(routine) = timer.routine {
        // SAFETY: the routine is called as the I/O manager calls it: at DISPATCH_LEVEL, with what it was set up with.
        unsafe { Call::in_driver(routine, (timer.device, timer.context)) };
    }
    call.require_returned("an IoTimer routine", DISPATCH_LEVEL);
    locked(&timer.state).runs_in = None;
    call.kernel.sleepers.wake(Wait::Dpcs(timer.key()));
}

impl Call {
    fn io_timer(&self, device: *mut DEVICE_OBJECT) -> Option<Arc<IoTimer>> {
        let timers = locked(&self.kernel.io().timers.0);
        timers.get(&device.addr()).cloned()
    }

    fn require_io_timer(&self, device: *mut DEVICE_OBJECT) -> Arc<IoTimer> {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        self.require_live_device(device);
        self.io_timer(device).unwrap_or_else(|| {
            let what = format!(
                "the device object {device:?} has no timer: IoInitializeTimer was not called"
            );
            self.stop(BugCheck::NONE, Rule::IoTimer, what)
        })
    }

    /// Disables the timer of a device object that is deleted, if it has one, and waits for its DPC, which does not belong
    /// to the driver.
    pub(in crate::io) fn delete_io_timer(&self, device: *mut DEVICE_OBJECT) {
        self.stop_io_timer(device);
        if self.irql() == 0 && self.io_timer(device).is_some() {
            // SAFETY: the IRQL is PASSIVE_LEVEL.
            unsafe { nt::KeFlushQueuedDpcs() };
        }
    }

    /// Disables the timer of a device object, if it has one, and waits until its routine has returned.
    fn stop_io_timer(&self, device: *mut DEVICE_OBJECT) {
        let Some(timer) = self.io_timer(device) else {
            return;
        };
        timer.touch();
        let runs_in = {
            let mut state = locked(&timer.state);
            state.is_enabled = false;
            state.runs_in
        };
        self.require(runs_in != Some(self.number), Rule::IoTimer, || {
            format!("the timer of the device object {device:?} is stopped by its own routine")
        });
        self.kernel.clock.cancel(timer.timer.get().addr());
        // SAFETY: the DPC was initialised, and stays as long as the kernel.
        unsafe { nt::KeRemoveQueueDpc(timer.dpc.get()) };
        self.wait_for(Wait::Dpcs(timer.key()), || {
            locked(&timer.state).runs_in.is_none().then_some(())
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinitializetimer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoInitializeTimer(
    device: *mut DEVICE_OBJECT,
    routine: PIO_TIMER_ROUTINE,
    context: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_noted("IoInitializeTimer");
    call.require_at_most(0, Rule::IrqlIoPassive5, 0x2_000e);
    call.require_live_device(device);
    call.require(call.io_timer(device).is_none(), Rule::IoTimer, || {
        let bug_check = BugCheck::io(0xa, [device.addr() as u64, 0, 0]);
        let what = format!("the timer of the device object {device:?} is initialised again");
        (bug_check, what)
    });
    if call.kernel.fails() {
        return nt::STATUS_INSUFFICIENT_RESOURCES;
    }
    let timer = Arc::new(IoTimer {
        timer: UnsafeCell::new(KTIMER { Reserved: [0; 8] }),
        dpc: UnsafeCell::new(KDPC { Reserved: [0; 8] }),
        device,
        routine,
        context,
        state: Mutex::default(),
    });
    call.initialise_timer(timer.timer.get(), NotificationTimer);
    let argument = Arc::as_ptr(&timer).cast_mut().cast();
    // SAFETY: the DPC stays as long as the kernel.
    unsafe { nt::KeInitializeDpc(timer.dpc.get(), Some(tick), argument) };
    // SAFETY: the device object is alive. The field only states whether it has a timer.
    unsafe { (*device).Timer = argument.cast() };
    locked(&call.kernel.io().timers.0).insert(device.addr(), timer);
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iostarttimer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoStartTimer(device: *mut DEVICE_OBJECT) {
    let call = Call::enter_visible("IoStartTimer", device);
    let timer = call.require_io_timer(device);
    timer.touch();
    let was_enabled = std::mem::replace(&mut locked(&timer.state).is_enabled, true);
    if !was_enabled {
        // SAFETY: the timer was initialised.
        let object = unsafe { call.view(timer.timer.get()) };
        call.set_periodic_timer(object, FIRST, PERIOD, timer.dpc.get());
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iostoptimer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoStopTimer(device: *mut DEVICE_OBJECT) {
    let call = Call::enter_visible("IoStopTimer", device);
    call.require_io_timer(device);
    call.stop_io_timer(device);
}
