//! Notifies a program after an interval: completes a pending request, or sets an event that the program has created.
//!
//! It corresponds to the sample `general/event` of the WDK. Each notification has a timer. A request can be cancelled; the
//! notifications of a handle end when the handle is closed.

#![no_std]
#![forbid(unsafe_code)]

use core::time::Duration;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    ControlDevice, Device, DeviceObject, Error, FileState, Handled, InterlockedLong,
    InterlockedLong64, Irp, IrpQueue, IrpView, Mutex, NewDevice, NtStatus, PassiveLevel,
    QueueCallbacks, Shared, Timer, TimerRoutine, UserEvent,
    ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code},
    irql::DispatchLevel,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The code of the IOCTL.
pub const IOCTL_NOTIFY: u32 = ctl_code(UNKNOWN_DEVICE, 0x800, Method::Buffered, Access::Any);

/// The number of events that an open file can have at a time.
pub const MAX_EVENTS: usize = 64;

/// The input of the IOCTL.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Notification {
    /// The handle of the event to set; 0 if the request is pending instead.
    pub event: u64,
    /// The interval in milliseconds.
    pub milliseconds: u64,
}

/// The timer of a pending request, which is the request's record.
pub struct Due {
    key: i64,
    requests: Shared<IrpQueue<Requests>>,
}

impl TimerRoutine for Due {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        if let Some(request) = timer
            .requests
            .remove_by_key(timer.key.cast_unsigned(), irql)
        {
            request.complete(NtStatus::SUCCESS, irql);
        }
    }
}

/// The callbacks of the queue of pending requests.
pub struct Requests;

impl QueueCallbacks for Requests {
    type Record = Shared<Timer<Due>>;

    const LOOKUP: bool = true;

    fn lookup_key(&self, irp: &IrpView<Self::Record>) -> u64 {
        irp.record().key.cast_unsigned()
    }
}

/// The timer of an event.
struct Alarm {
    event: UserEvent,
    is_over: InterlockedLong,
}

impl TimerRoutine for Alarm {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.event.set(irql);
        timer.is_over.exchange(1);
    }
}

/// A slot for an alarm.
type Place = Option<Shared<Timer<Alarm>>>;

const NO_ALARMS: [Place; MAX_EVENTS] = [const { None }; MAX_EVENTS];

/// The state of an open file: its alarms.
#[pin_data]
pub struct Opened {
    #[pin]
    alarms: Mutex<[Place; MAX_EVENTS]>,
}

impl FileState<Notifier> for Opened {
    fn open(_: &Notifier, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(try_pin_init!(Self { alarms <- Mutex::new(NO_ALARMS) }? Error))
    }
}

/// The device.
pub struct Notifier {
    object: DeviceObject,
    last_key: InterlockedLong64,
    requests: Shared<IrpQueue<Requests>>,
}

impl Notifier {
    /// Pends a request for an interval.
    fn pend<'irp>(&self, irp: Irp<'irp>, time: Duration, irql: &mut PassiveLevel) -> Handled<'irp> {
        let due = Due {
            key: self.last_key.increment(),
            requests: self.requests.clone(),
        };
        match Shared::new(Timer::new(Ok::<_, Error>(due)), &self.object, irql) {
            Ok(timer) => {
                let pending = self.requests.insert(irp.with_record(timer.clone()), irql);
                timer.set(time, irql);
                pending
            }
            Err(error) => irp.complete(error, irql),
        }
    }

    /// Sets an event after an interval.
    fn set_later(
        &self,
        event: UserEvent,
        time: Duration,
        file: &Opened,
        irql: &mut PassiveLevel,
    ) -> Result<(), Error> {
        let alarm = Alarm {
            event,
            is_over: InterlockedLong::new(0),
        };
        let timer = Shared::new(Timer::new(Ok::<_, Error>(alarm)), &self.object, irql)?;
        file.alarms.with(irql, |alarms, irql| {
            let is_free = |place: &&mut Place| {
                let alarm = place.as_ref();
                alarm.is_none_or(|alarm| alarm.is_over.read() != 0)
            };
            let place = alarms.iter_mut().find(is_free);
            let place = place.ok_or(Error::INSUFFICIENT_RESOURCES)?;
            timer.set(time, irql);
            *place = Some(timer);
            Ok(())
        })
    }
}

impl ControlDevice for Notifier {
    const NAME: &str = "InterlockEvent";
}

impl Device for Notifier {
    type File = Opened;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self {
            object: DeviceObject::clone(device),
            last_key: InterlockedLong64::new(0),
            requests: IrpQueue::new(Requests, device, irql)?,
        }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        file: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let notification = match irp.input::<Notification>() {
            Ok(notification) if irp.code() == IOCTL_NOTIFY => notification,
            Ok(_) => return irp.complete(Error::INVALID_DEVICE_REQUEST, irql),
            Err(error) => return irp.complete(error, irql),
        };
        let time = Duration::from_millis(notification.milliseconds);
        if notification.event == 0 {
            return self.pend(irp, time, irql);
        }
        let event = irp.user_event(notification.event, irql);
        match event.and_then(|event| self.set_later(event, time, file, irql)) {
            Ok(()) => irp.complete(NtStatus::SUCCESS, irql),
            Err(error) => irp.complete(error, irql),
        }
    }

    fn cleanup(&self, file: &Opened, irql: &mut PassiveLevel) {
        // Dropped after the release of the mutex: each drop cancels a timer and waits for its routine.
        drop(
            file.alarms
                .with(irql, |alarms, _| core::mem::replace(alarms, NO_ALARMS)),
        );
    }
}
