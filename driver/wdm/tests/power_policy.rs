//! The owner of the power policy: a device that is off unless a request needs it, and while the system sleeps.

mod common;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use common::{Stack, end, kernel, start, status};
use ntmodel::{BusAnswer, Device as Dev, Faults, File, Kernel, PowerState as State, explore};
use pinned_init::PinInit;
use wdm::{
    Device, DevicePowerState, Error, Guid, Handled, InterlockedLong, Irp, IrpQueue, NewDevice,
    NtStatus, PassiveLevel, PowerPolicy, PowerReference, PowerState, QueueCallbacks, Shared,
    irql::{CallerLevel, NoSpinLockHeld},
};

const S0: State = State::System(1);
const S3: State = State::System(4);
const ON: Option<u32> = Some(1);
const OFF: Option<u32> = Some(4);

/// Is completed in D0.
const SERVE: u32 = 0x22_2000;
/// Keeps the device in D0 until it is cancelled.
const HOLD: u32 = 0x22_2004;
/// Returns how often the device has entered D3.
const COUNT: u32 = 0x22_2008;

const TIMEOUT: Duration = Duration::from_secs(20);

struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = PowerReference;
}

struct Lamp {
    policy: PowerPolicy,
    is_on: InterlockedLong,
    times_off: InterlockedLong,
    served: Shared<IrpQueue<Quiet>>,
    held: Shared<IrpQueue<Quiet>>,
}

impl Lamp {
    /// Completes the requests if the device has power.
    fn serve(&self, irql: &mut impl NoSpinLockHeld) {
        while self.is_on.read() == 1
            && let Some(irp) = self.served.remove_first(irql)
        {
            irp.complete(NtStatus::SUCCESS, irql);
        }
    }
}

impl Device for Lamp {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self {
            policy: PowerPolicy::new(device),
            is_on: InterlockedLong::new(1),
            times_off: InterlockedLong::new(0),
            served: IrpQueue::new(Quiet, device, irql)?,
            held: IrpQueue::new(Quiet, device, irql)?,
        }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.code() == COUNT {
            return irp.complete_with(&self.times_off.read(), irql);
        }
        let reference = match self.policy.power_up(irql) {
            Ok(reference) => reference,
            Err(error) => return irp.complete(error, irql),
        };
        let queue = match irp.code() {
            SERVE => &self.served,
            _ => &self.held,
        };
        let pending = queue.insert(irp.with_record(reference), irql);
        self.policy.retry(irql);
        self.serve(irql);
        pending
    }

    fn set_power(&self, state: PowerState, irql: &mut CallerLevel) {
        if let PowerState::Device(state) = state {
            if state == DevicePowerState::D3 {
                self.times_off.increment();
            }
            self.is_on
                .exchange(i32::from(state == DevicePowerState::D0));
            self.serve(irql);
        }
    }

    fn power_up_failed(&self, error: Error, irql: &mut CallerLevel) {
        while let Some(irp) = self.served.remove_first(irql) {
            irp.complete(error, irql);
        }
    }
}

fn until(device: &Dev, state: Option<u32>) {
    let start = Instant::now();
    while device.told_power() != state {
        assert!(start.elapsed() < TIMEOUT, "the state is not {state:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a device, waits until it is off, and opens it.
fn idle(kernel: &Arc<Kernel>) -> (Stack, File) {
    let stack = start::<Lamp>(kernel);
    until(&stack.device, OFF);
    let file = stack.open();
    (stack, file)
}

/// Like [`idle`], in a kernel in which the test makes allocations fail.
fn idle_with_faults() -> (Arc<Faults>, Stack, File) {
    let (faults, kernel) = common::kernel_with_faults();
    let (stack, file) = idle(&kernel);
    (faults, stack, file)
}

#[test]
fn device_is_on_while_a_request_needs_it() {
    let (stack, file) = idle(&kernel());
    let device = &stack.device;
    let held = file.device_control(HOLD, &[], Vec::new());
    until(device, ON);
    for _ in 0..3 {
        assert_eq!(status(&file.device_control(SERVE, &[], Vec::new())), 0);
    }
    assert_eq!(device.told_power(), ON);
    held.cancel();
    assert_eq!(status(&held), nt::STATUS_CANCELLED);
    until(device, OFF);
    // It powers up again.
    assert_eq!(status(&file.device_control(SERVE, &[], Vec::new())), 0);
    until(device, OFF);
    file.close();
    stack.unload();
}

#[test]
fn device_is_off_before_the_system_sleeps_and_on_again_if_a_request_needs_it() {
    let (stack, file) = idle(&kernel());
    let device = &stack.device;
    let held = file.device_control(HOLD, &[], Vec::new());
    until(device, ON);
    assert_eq!(device.set_power(S3), 0);
    assert_eq!(device.told_power(), OFF);
    // It waits for the system.
    let served = file.device_control(SERVE, &[], Vec::new());
    assert_eq!(served.ended(), None);
    assert_eq!(device.told_power(), OFF);
    assert_eq!(device.set_power(S0), 0);
    assert_eq!(status(&served), 0);
    until(device, ON);
    held.cancel();
    assert_eq!(status(&held), nt::STATUS_CANCELLED);
    until(device, OFF);
    // An idle device stays off.
    for state in [S3, S0] {
        assert_eq!(device.set_power(state), 0);
        assert_eq!(device.told_power(), OFF);
    }
    file.close();
    stack.unload();
}

/// Returns how often the device has entered D3.
fn times_off(file: &File) -> u32 {
    let request = file.device_control(COUNT, &[], vec![0; 4]);
    let output = end(&request).output;
    u32::from_le_bytes(output.try_into().expect("it is a number"))
}

/// "The power policy owner must send the device set-power request even if the device is already in that state":
/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/sending-a-device-set-power-irp-in-response-to-a-system-set-power-irp>
#[test]
fn d3_is_requested_again_when_the_system_goes_to_sleep() {
    let (stack, file) = idle(&kernel());
    assert_eq!(times_off(&file), 1);
    for times in 2..4 {
        assert_eq!(stack.device.set_power(S3), 0);
        assert_eq!(times_off(&file), times);
        assert_eq!(stack.device.set_power(S0), 0);
        assert_eq!(times_off(&file), times);
    }
    file.close();
    stack.unload();
}

#[test]
fn requests_fail_if_the_device_cannot_be_powered_up_and_the_next_one_tries_again() {
    let (stack, file) = idle(&kernel());
    let device = &stack.device;
    let fails = BusAnswer::Fail(nt::STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, fails);
    let request = file.device_control(SERVE, &[], Vec::new());
    assert_eq!(status(&request), nt::STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, BusAnswer::Fail(nt::STATUS_SUCCESS));
    assert_eq!(status(&file.device_control(SERVE, &[], Vec::new())), 0);
    until(device, OFF);
    file.close();
    stack.unload();
}

/// A request arrives while the device is idle and the system goes to sleep and wakes up.
fn served_across_sleep(kernel: &Arc<Kernel>, answer: Option<BusAnswer>) {
    let stack = start::<Lamp>(kernel);
    let device = &stack.device;
    if let Some(answer) = answer {
        device.bus_answers_power(nt::IRP_MN_SET_POWER, answer);
    }
    let file = stack.open();
    let sleeper = {
        let device = device.clone();
        kernel.actor("power manager", move || {
            let asleep = device.set_power(S3);
            let reported = device.told_power();
            (asleep, reported, device.set_power(S0))
        })
    };
    let request = file.device_control(SERVE, &[], Vec::new());
    assert_eq!(sleeper.join(), (0, OFF, 0));
    assert_eq!(status(&request), 0);
    drop(request);
    file.close();
    stack.unload();
}

/// A request and a request for a state of the system arrive while the device is removed.
fn removed_while_it_is_powered_up(kernel: &Arc<Kernel>) {
    let stack = start::<Lamp>(kernel);
    let device = &stack.device;
    let file = stack.open();
    let sleeper = {
        let device = device.clone();
        kernel.actor("power manager", move || device.set_power(S3))
    };
    let request = file.device_control(SERVE, &[], Vec::new());
    device.surprise_remove();
    let slept = sleeper.join();
    assert!([0, nt::STATUS_DELETE_PENDING].contains(&slept), "{slept:x}");
    let ended = status(&request);
    assert!([0, nt::STATUS_DELETE_PENDING].contains(&ended), "{ended:x}");
    drop(request);
    file.close();
    stack.unload();
}

/// The bus driver fails the request for D3, of which the device was notified before.
#[test]
fn request_is_served_after_a_failed_power_down() {
    let kernel = kernel();
    let stack = Stack::new(common::load::<Lamp>(&kernel));
    let device = &stack.device;
    let fails = BusAnswer::Fail(nt::STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, fails);
    device.start().expect("the device starts");
    until(device, OFF);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, BusAnswer::Fail(nt::STATUS_SUCCESS));
    let file = stack.open();
    assert_eq!(status(&file.device_control(SERVE, &[], Vec::new())), 0);
    until(device, OFF);
    file.close();
    stack.unload();
}

/// The request for D0 cannot be allocated when the system works again, so no routine of the driver is in progress that could return the
/// error.
#[test]
fn device_is_notified_that_the_request_for_d0_cannot_be_allocated() {
    let (faults, stack, file) = idle_with_faults();
    let device = &stack.device;
    let mut failed = 0;
    loop {
        assert_eq!(device.set_power(S3), 0);
        let served = file.device_control(SERVE, &[], Vec::new());
        assert_eq!(served.ended(), None);
        faults.arm();
        assert_eq!(device.set_power(S0), 0);
        let status = status(&served);
        if status != 0 {
            assert_eq!(status, nt::STATUS_INSUFFICIENT_RESOURCES);
            failed += 1;
        }
        if !faults.disarm() {
            break;
        }
    }
    assert_ne!(failed, 0);
    file.close();
    stack.unload();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-powerdownfail>
#[test]
fn system_goes_to_sleep_if_the_request_for_d3_cannot_be_allocated() {
    let (faults, stack, file) = idle_with_faults();
    loop {
        faults.arm();
        let slept = stack.device.set_power(S3);
        let is_over = !faults.disarm();
        assert_eq!(slept, 0);
        assert_eq!(stack.device.set_power(S0), 0);
        if is_over {
            break;
        }
    }
    file.close();
    stack.unload();
}

/// A device that tries again each time that it is notified that it cannot be powered up.
struct Stubborn {
    policy: PowerPolicy,
    attempts: InterlockedLong,
    kept: common::Place<PowerReference>,
    /// How many calls are in progress.
    nested: InterlockedLong,
}

const ATTEMPTS: i32 = 100;

impl Stubborn {
    fn power_up(&self, irql: &mut impl NoSpinLockHeld) {
        let reference = self.policy.power_up(irql).expect("the request is sent");
        drop(self.kept.with(irql, |kept, _| kept.replace(reference)));
    }
}

impl Device for Stubborn {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self {
            policy: PowerPolicy::new(device),
            attempts: InterlockedLong::new(0),
            kept: common::place(device, irql)?,
            nested: InterlockedLong::new(0),
        }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match irp.code() {
            SERVE => self.power_up(irql),
            _ => return irp.complete_with(&self.attempts.read(), irql),
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn power_up_failed(&self, _: Error, irql: &mut CallerLevel) {
        assert_eq!(self.nested.increment(), 1, "calls of the method nest");
        if self.attempts.increment() < ATTEMPTS {
            self.power_up(irql);
        } else {
            drop(self.kept.with(irql, |kept, _| kept.take()));
        }
        self.nested.decrement();
    }
}

#[test]
fn device_that_was_notified_of_a_failure_tries_again() {
    let kernel = kernel();
    let stack = start::<Stubborn>(&kernel);
    let device = &stack.device;
    until(device, OFF);
    let fails = BusAnswer::Fail(nt::STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, fails);
    let file = stack.open();
    assert_eq!(status(&file.device_control(SERVE, &[], Vec::new())), 0);
    let start = Instant::now();
    loop {
        let attempts = common::end(&file.device_control(HOLD, &[], vec![0; 4]));
        if attempts.output == ATTEMPTS.to_ne_bytes() {
            break;
        }
        assert!(start.elapsed() < TIMEOUT, "{:?}", attempts.output);
        thread::sleep(Duration::from_millis(1));
    }
    file.close();
    stack.unload();
}

/// Two requests arrive while the device cannot be powered up.
fn failed_together(kernel: &Arc<Kernel>) {
    let stack = start::<Lamp>(kernel);
    let device = &stack.device;
    let fails = BusAnswer::Fail(nt::STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, fails);
    let file = Arc::new(stack.open());
    let other = {
        let file = Arc::clone(&file);
        kernel.actor("other", move || {
            status(&file.device_control(SERVE, &[], Vec::new()))
        })
    };
    let ended = [
        status(&file.device_control(SERVE, &[], Vec::new())),
        other.join(),
    ];
    for ended in ended {
        assert!(
            [0, nt::STATUS_DEVICE_POWER_FAILURE].contains(&ended),
            "{ended:x}"
        );
    }
    Arc::into_inner(file)
        .expect("no other thread has the file")
        .close();
    stack.unload();
}

#[test]
fn requests_end_if_the_device_cannot_be_powered_up_in_every_order() {
    explore::check(1_000, failed_together);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-an-irp-mn-stop-device-request>
#[test]
fn stopped_device_is_not_powered_up() {
    let (stack, file) = idle(&kernel());
    let device = &stack.device;
    for minor in [nt::IRP_MN_QUERY_STOP_DEVICE, nt::IRP_MN_STOP_DEVICE] {
        assert_eq!(device.pnp(minor), 0);
    }
    let waits = file.device_control(SERVE, &[], Vec::new());
    // Long enough for a request for D0, which another thread would complete.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(waits.ended(), None);
    assert_eq!(device.told_power(), OFF);
    assert_eq!(device.pnp(nt::IRP_MN_START_DEVICE), 0);
    assert_eq!(status(&waits), 0);
    until(device, OFF);
    file.close();
    stack.unload();
}

/// A request arrives while a device that may be off is stopped and started again.
fn served_during_a_restart(kernel: &Arc<Kernel>) {
    let stack = start::<Lamp>(kernel);
    let device = &stack.device;
    let file = stack.open();
    let manager = {
        let device = device.clone();
        kernel.actor("PnP manager", move || {
            [
                nt::IRP_MN_QUERY_STOP_DEVICE,
                nt::IRP_MN_STOP_DEVICE,
                nt::IRP_MN_START_DEVICE,
            ]
            .map(|minor| device.pnp(minor))
        })
    };
    assert_eq!(status(&file.device_control(SERVE, &[], Vec::new())), 0);
    assert_eq!(manager.join(), [0; 3]);
    file.close();
    stack.unload();
}

#[test]
fn request_is_served_during_a_restart_in_every_order() {
    explore::check(1_000, served_during_a_restart);
}

#[test]
fn request_is_served_across_sleep_in_every_order() {
    explore::check(3_000, |kernel| served_across_sleep(kernel, None));
    explore::check(3_000, |kernel| {
        served_across_sleep(kernel, Some(BusAnswer::Pend));
    });
}

#[test]
fn removal_ends_the_requests_in_every_order() {
    explore::check(3_000, removed_while_it_is_powered_up);
}
