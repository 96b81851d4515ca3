//! Events, by Microsoft's "Event Objects" and `KeWaitForSingleObject`: a notification event stays set until it is cleared, a
//! synchronization event releases one wait, and a wait with a timeout ends by it.

mod common;

use std::time::Duration;

use common::{Controlled, Controls, Loaded};
use wdm::{
    Error, Event, EventType, Handled, Irp, NewDevice, NtStatus, PassiveLevel, Shared, thread,
};

/// The IOCTLs, one for each operation on the event.
const SET: u32 = 0x22_2000;
const CLEAR: u32 = 0x22_2004;
const WAIT: u32 = 0x22_2008;
const WAIT_FOR: u32 = 0x22_200c;
const DELAY: u32 = 0x22_2010;

/// Selects the event of a code.
const SYNCHRONIZATION: u32 = 0x100;

/// A device with an event of each type.
struct Events {
    notification: Shared<Event>,
    synchronization: Shared<Event>,
}

impl Controls for Events {
    fn add(device: &mut NewDevice, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let notification = Event::new(EventType::Notification, false);
        let synchronization = Event::new(EventType::Synchronization, true);
        let (notification, synchronization) = (
            Shared::new(notification, device, irql)?,
            Shared::new(synchronization, device, irql)?,
        );
        Ok(Self {
            notification,
            synchronization,
        })
    }

    fn control<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let event = if irp.code() & SYNCHRONIZATION == 0 {
            &self.notification
        } else {
            &self.synchronization
        };
        let is_true = match irp.code() & !SYNCHRONIZATION {
            SET => event.set(irql),
            CLEAR => {
                event.clear(irql);
                true
            }
            WAIT => {
                event.wait(irql);
                true
            }
            WAIT_FOR => event.wait_for(Duration::from_millis(10), irql),
            _ => {
                thread::delay(Duration::from_millis(10), irql);
                true
            }
        };
        let status = if is_true {
            NtStatus::SUCCESS
        } else {
            NtStatus::NOT_FOUND
        };
        irp.complete(status, irql)
    }
}

#[test]
fn notification_event_stays_set() {
    let loaded = Loaded::new::<Controlled<Events>>();
    let answer = |code| loaded.send(code, 1).answer() == nt::STATUS_SUCCESS;
    assert!(!answer(WAIT_FOR));
    assert!(!answer(SET));
    assert!(answer(SET));
    assert!(answer(WAIT));
    assert!(answer(WAIT_FOR));
    assert!(answer(CLEAR));
    assert!(!answer(WAIT_FOR));
    loaded.unload();
}

#[test]
fn synchronization_event_releases_one_wait() {
    let loaded = Loaded::new::<Controlled<Events>>();
    let answer = |code| loaded.send(code | SYNCHRONIZATION, 1).answer() == nt::STATUS_SUCCESS;
    assert!(answer(WAIT));
    assert!(!answer(WAIT_FOR));
    assert!(!answer(SET));
    assert!(answer(WAIT_FOR));
    assert!(!answer(WAIT_FOR));
    assert!(!answer(SET));
    assert!(answer(CLEAR));
    assert!(!answer(WAIT_FOR));
    loaded.unload();
}

#[test]
fn delay_ends() {
    let loaded = Loaded::new::<Controlled<Events>>();
    assert_eq!(loaded.send(DELAY, 1).answer(), nt::STATUS_SUCCESS);
    loaded.unload();
}

/// A wait ends when another thread sets the event.
#[test]
fn wait_ends_when_the_event_is_set() {
    let loaded = Loaded::new::<Controlled<Events>>();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            loaded
                .device
                .open_anyway(ntmodel::Access::ReadWrite)
                .map(|file| file.device_control(WAIT, &[], Vec::new()).answer())
        });
        assert!(loaded.send(SET, 1).is_done());
        assert_eq!(waiter.join().expect("no panic"), Ok(nt::STATUS_SUCCESS));
    });
    loaded.unload();
}
