//! Cancelable reads that wait for polled hardware.
//!
//! It corresponds to the sample `general/cancel` of the WDK. The hardware is a counter: each poll returns one
//! sample, which completes the oldest pending read. A timer polls as long as reads are pending; the WDK's sample
//! uses a thread. The driver owns the power policy, which the WDK's sample does not handle: the hardware is in D3 while no read is
//! pending, and while the system sleeps.

#![no_std]
#![forbid(unsafe_code)]

use core::time::Duration;

use pinned_init::PinInit;
use wdm::{
    Device, Error, Guid, Handled, Irp, IrpQueue, IrpQueueLock, NewDevice, PassiveLevel,
    PowerPolicy, PowerReference, PowerState, QueueCallbacks, Shared, SpinLock, Timer, TimerRoutine,
    irql::{AtMostDispatch, CallerLevel, DispatchLevel},
};

/// The time that the hardware needs for a sample.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The class of the lock around the hardware: the queue's lock is acquired under it.
struct HardwareLock;

wdm::lock_order!(wdm::lock_order::Unlocked => HardwareLock);
wdm::lock_order!(HardwareLock => existing IrpQueueLock);

struct Hardware {
    /// Whether the timer is set or its DPC is queued.
    is_polled: bool,
    has_power: bool,
    samples: u32,
}

/// The queue's callbacks, which do nothing. A read keeps the hardware in D0 until it is completed.
struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = PowerReference;
}

/// The context of the timer.
struct Poll {
    hardware: Shared<SpinLock<Hardware, HardwareLock>>,
    reads: Shared<IrpQueue<Quiet>>,
}

impl TimerRoutine for Poll {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        let read = timer.hardware.with(irql, |hardware, held| {
            let read = if hardware.has_power {
                timer.reads.remove_first(held)
            } else {
                None
            };
            let Some(read) = read else {
                hardware.is_polled = false;
                return None;
            };
            hardware.samples = hardware.samples.wrapping_add(1);
            timer.set(POLL_INTERVAL, held);
            Some((read, hardware.samples))
        });
        if let Some((read, sample)) = read {
            read.complete_with(&sample, irql);
        }
    }
}

/// The device.
pub struct Sampler {
    policy: PowerPolicy,
    timer: Shared<Timer<Poll>>,
}

impl Sampler {
    /// Sets the timer, unless it is set or the hardware has no power. Called after a read was queued: if the timer's DPC finds the queue empty, it records
    /// that under the lock, and this call then sets the timer again.
    fn poll<L: AtMostDispatch>(&self, irql: &mut L)
    where
        HardwareLock: wdm::lock_order::LockAfter<L::Held>,
    {
        self.timer.hardware.with(irql, |hardware, held| {
            if hardware.has_power && !hardware.is_polled {
                hardware.is_polled = true;
                self.timer.set(POLL_INTERVAL, held);
            }
        });
    }
}

impl Device for Sampler {
    const INTERFACE: Guid = Guid::new(
        0x2d5a_7f10,
        0x93c4,
        0x4b0f,
        [0xb2, 0x18, 0x64, 0x0a, 0x9d, 0x37, 0x5e, 0x21],
    );

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let hardware = Hardware {
            is_polled: false,
            has_power: true,
            samples: 0,
        };
        let poll = Poll {
            hardware: Shared::new(SpinLock::new(hardware), device, irql)?,
            reads: IrpQueue::new(Quiet, device, irql)?,
        };
        let timer = Shared::new(Timer::new(Ok::<_, Error>(poll)), device, irql)?;
        let policy = PowerPolicy::new(device);
        Ok(Ok::<_, Error>(Self { policy, timer }))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        if let Err(error) = irp.output::<u32>() {
            return irp.complete(error, irql);
        }
        match self.policy.power_up(irql) {
            Ok(power) => {
                let pending = self.timer.reads.insert(irp.with_record(power), irql);
                // `power_up_failed` or `set_power` may have been called before the read was queued.
                self.policy.retry(irql);
                self.poll(irql);
                pending
            }
            Err(error) => irp.complete(error, irql),
        }
    }

    fn set_power(&self, state: PowerState, irql: &mut CallerLevel) {
        if let PowerState::Device(_) = state {
            self.timer
                .hardware
                .with(irql, |hardware, _| hardware.has_power = state.is_working());
            self.poll(irql);
        }
    }

    fn power_up_failed(&self, error: Error, irql: &mut CallerLevel) {
        while let Some(read) = self.timer.reads.remove_first(irql) {
            read.complete(error, irql);
        }
    }
}
