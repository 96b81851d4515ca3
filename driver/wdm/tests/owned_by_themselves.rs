//! A thread and a DPC of a timer whose routines have the last owner of their own objects end before the driver is unloaded.

mod common;

use std::time::Duration;

use common::{Controlled, Controls, Place, place, with_file};
use ntmodel::explore::{self, Search};
use wdm::{
    Error, Handled, Irp, NewDevice, NtStatus, PassiveLevel, Shared, Thread, ThreadRoutine, Timer,
    TimerRoutine, irql::DispatchLevel,
};

const MOST: usize = 2_000;

/// The place of a thread's own `Thread`.
struct Worker(Place<Shared<Thread<Worker>>>);

impl ThreadRoutine for Worker {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        let own = thread.0.with(irql, |place, _| place.take());
        thread.wait(irql);
        drop(own);
    }
}

struct WithThread(Shared<Thread<Worker>>);

impl Controls for WithThread {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let own = place(device, irql)?;
        let thread = Thread::new(Ok::<_, Error>(Worker(own)), device, irql)?;
        let thread = Shared::new(thread, device, irql)?;
        thread
            .0
            .with(irql, |place, _| *place = Some(thread.clone()));
        thread.start(irql)?;
        Ok(Self(thread))
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.0.stop(irql);
    }
}

/// The place of a timer's own `Timer`.
struct Once(Place<Shared<Timer<Once>>>);

impl TimerRoutine for Once {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        drop(timer.0.with(irql, |place, _| place.take()));
    }
}

struct WithTimer(Shared<Timer<Once>>);

impl Controls for WithTimer {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let own = place(device, irql)?;
        let timer = Shared::new(Timer::new(Ok::<_, Error>(Once(own))), device, irql)?;
        timer.0.with(irql, |place, _| *place = Some(timer.clone()));
        timer.set(Duration::ZERO, irql);
        Ok(Self(timer))
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        drop(self.0.0.with(irql, |place, _| place.take()));
    }
}

#[test]
fn thread_with_its_own_thread_ends_before_its_device() {
    let explored = explore::explore(Search::guarded(MOST), |kernel| {
        with_file::<Controlled<WithThread>>(kernel, |_, _| {});
    });
    assert!(explored.unwrap_or_else(|found| panic!("{found}")).schedules > 1);
}

#[test]
fn timer_with_its_own_timer_ends_before_the_unload() {
    let explored = explore::explore(Search::guarded(MOST), |kernel| {
        with_file::<Controlled<WithTimer>>(kernel, |_, _| {});
    });
    assert!(explored.unwrap_or_else(|found| panic!("{found}")).schedules > 1);
}
