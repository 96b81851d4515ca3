//! The statistics of the feature `lock-debug`, and its bug check.
#![cfg(feature = "lock-debug")]

mod common;

use std::{cell::Cell, env, process::Command};

use ntmodel::Driver;
use pinned_init::{PinInit, stack_pin_init};
use wdm::{
    Device, Error, Guid, Handled, Irp, LockStatistics, NewDevice, PassiveLevel, RegistryKey,
    SpinLock, irql::raise_to_dispatch,
};

thread_local! {
    /// The body that `DriverEntry` runs at `PASSIVE_LEVEL`.
    static BODY: Cell<Option<fn(&mut PassiveLevel)>> = const { Cell::new(None) };
}

/// A driver that runs the body in its `DriverEntry`, which then fails.
struct Once;

impl Device for Once {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    fn driver_entry(_: &RegistryKey<'_>, irql: &mut PassiveLevel) -> Result<(), Error> {
        BODY.take().expect("something to run")(irql);
        Err(Error::CANCELLED)
    }

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete(Error::INVALID_DEVICE_REQUEST, irql)
    }
}

fn at_passive_level(body: fn(&mut PassiveLevel)) {
    BODY.set(Some(body));
    // SAFETY: the entry point is that of a driver on wdm.
    let loaded = unsafe { Driver::load(&common::kernel(), wdm::entry::<Once>) };
    assert_eq!(loaded.err(), Some(Error::CANCELLED.to_raw()));
}

#[test]
fn a_lock_counts_how_often_and_how_long_it_was_held() {
    at_passive_level(|irql| {
        stack_pin_init!(let lock = SpinLock::<u32>::new(0));
        assert_eq!(lock.statistics(), LockStatistics::default());
        for _ in 0..3 {
            lock.with(irql, |value, _| *value += 1);
        }
        // Each reading of the clock advances it by one tick, and a lock reads it when it is acquired and when it is
        // released.
        let expected = LockStatistics {
            acquires: 3,
            contended: 0,
            longest_hold: 1,
        };
        assert_eq!(lock.statistics(), expected);
    });
}

/// The environment variable that selects the second acquisition, in a child process.
const CHILD: &str = "TAKE_IT_TWICE";

#[test]
fn a_recursive_acquire_stops_and_names_the_lock() {
    let name = "a_recursive_acquire_stops_and_names_the_lock";
    match env::var(CHILD).as_deref() {
        Ok("lock") => at_passive_level(|irql| {
            stack_pin_init!(let lock = SpinLock::<u32>::new(0));
            // The only way to acquire a lock twice that compiles: the guard is forgotten, so the lock stays held.
            std::mem::forget(lock.lock(irql));
            let _twice = lock.lock(irql);
        }),
        Ok("try") => at_passive_level(|irql| {
            stack_pin_init!(let lock = SpinLock::<u32>::new(0));
            raise_to_dispatch(irql, |irql| {
                std::mem::forget(lock.lock_at_dpc(irql));
                let _twice = lock.try_lock_at_dpc(irql);
            });
        }),
        _ => ["lock", "try"].iter().for_each(|way| stops(name, way)),
    }
}

/// Checks that a child process stops and names the lock.
fn stops(test: &str, way: &str) {
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, way)
        .output()
        .expect("this program runs");
    let printed = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success(), "{printed}");
    assert!(printed.contains("SPIN_LOCK_ALREADY_OWNED"), "{printed}");
    assert!(printed.contains("SpinLock<u32>"), "{printed}");
    assert!(printed.contains("STOP: 0x0000000f"), "{printed}");
}
