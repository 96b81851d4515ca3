//! The time. The model's system starts at the system time zero, which is the start of the year 1601.

use std::{sync::atomic::Ordering, time::Duration};

use nt::{DISPATCH_LEVEL, KTIMER};

use crate::{
    host::{
        Call,
        clock::{TICK, units},
        footprint::{self, Access},
    },
    verifier::Rule,
};

impl Call {
    /// Reads the time, in units of 100 ns. Each read advances a virtual clock, by which timers are set.
    fn read_time(&self) -> i64 {
        footprint::touch(self.kernel.clock.key(), Access::Exclusive);
        self.kernel.clock.read().cast_signed()
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryPerformanceCounter(frequency: *mut i64) -> i64 {
    let call = Call::enter_noted("KeQueryPerformanceCounter");
    if !frequency.is_null() {
        call.require_room(frequency);
        // SAFETY: the caller passes NULL or memory for the frequency.
        unsafe { frequency.write(10_000_000) };
    }
    call.read_time()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerysystemtimeprecise)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQuerySystemTimePrecise(time: *mut i64) {
    let call = Call::enter_noted("KeQuerySystemTimePrecise");
    call.require_room(time);
    // SAFETY: the caller passes memory for the time.
    unsafe { time.write(call.read_time()) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryinterrupttimeprecise)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryInterruptTimePrecise(counter: *mut u64) -> u64 {
    let call = Call::enter_noted("KeQueryInterruptTimePrecise");
    call.require_room(counter);
    let now = call.read_time().cast_unsigned();
    // SAFETY: the caller passes memory for the counter, whose unit is that of the time.
    unsafe { counter.write(now) };
    now
}

/// The system never sleeps.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryunbiasedinterrupttime)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryUnbiasedInterruptTime() -> u64 {
    let call = Call::enter_noted("KeQueryUnbiasedInterruptTime");
    call.read_time().cast_unsigned()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequerytimeincrement)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryTimeIncrement() -> u32 {
    u32::try_from(TICK).unwrap_or(u32::MAX)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kereadstatetimer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeReadStateTimer(timer: *mut KTIMER) -> u8 {
    let call = Call::enter_visible("KeReadStateTimer", timer);
    call.require_at_most(DISPATCH_LEVEL, Rule::IrqlKeDispatchLte, 0x2_0011);
    u8::from(call.timer(timer).header.signal.load(Ordering::Acquire) != 0)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kestallexecutionprocessor)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeStallExecutionProcessor(microseconds: u32) {
    let call = Call::enter_noted("KeStallExecutionProcessor");
    let time = Duration::from_micros(microseconds.into());
    let clock = &call.kernel.clock;
    if clock.is_virtual() {
        footprint::touch(clock.key(), Access::Exclusive);
        clock.put_forward(clock.now().saturating_add(units(time)));
    } else {
        std::thread::sleep(time);
    }
    // A value that the driver polls can change during this time.
    call.yield_processor();
}
