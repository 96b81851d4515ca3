//! Periodic timers, by Microsoft's `KeSetTimerEx`: the routine runs repeatedly until the timer is cancelled.

mod common;

use std::time::Duration;

use common::{kernel, with_file};
use pinned_init::PinInit;
use wdm::{
    Device, Error, Guid, Handled, InterlockedLong, Irp, NewDevice, PassiveLevel, Shared, Timer,
    TimerRoutine, irql::DispatchLevel, thread,
};

const START: u32 = 0x22_2000;
const STOP: u32 = 0x22_2004;

const DUE: Duration = Duration::from_millis(5);
const PERIOD: Duration = Duration::from_micros(9_001);

struct Ticks(InterlockedLong);

impl TimerRoutine for Ticks {
    fn run(timer: &Timer<Self>, _: &mut DispatchLevel) {
        timer.0.increment();
    }
}

/// A device with a timer. Each request answers how often it ran during 100 milliseconds after it was set or cancelled.
struct Clock(Shared<Timer<Ticks>>);

impl Device for Clock {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let ticks = Ok::<_, Error>(Ticks(InterlockedLong::new(0)));
        let timer = Shared::new(Timer::new(ticks), device, irql)?;
        Ok(Ok::<_, Error>(Self(timer)))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let was_set = if irp.code() == START {
            self.0.set_periodic(DUE, PERIOD, irql)
        } else {
            self.0.cancel(irql)
        };
        let before = self.0.0.read();
        thread::delay(Duration::from_millis(100), irql);
        irp.complete_with(&[i32::from(was_set), self.0.0.read() - before], irql)
    }
}

#[test]
fn periodic_timer_runs_until_it_is_cancelled() {
    with_file::<Clock>(&kernel(), |_, file| {
        let answer = |code| {
            let end = file.device_control(code, &[], vec![0; 8]).ended();
            let output = end.expect("the request does not pend").output;
            let (first, second) = output.split_at(4);
            let number = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().expect("four bytes"));
            (number(first), number(second))
        };
        // Due after 5 ms and then every 10 ms: the period is rounded up to milliseconds.
        assert_eq!(answer(START), (0, 10));
        let (was_set, ticks) = answer(STOP);
        assert_eq!((was_set, ticks), (1, 0));
        assert_eq!(answer(STOP), (0, 0));
        // A timer that is still set at the removal is cancelled by it.
        assert_eq!(answer(START).0, 0);
    });
}
