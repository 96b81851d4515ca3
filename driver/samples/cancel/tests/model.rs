//! The sampler on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use interlock_explore::{BuiltDriver, hold};
use interlock_sample_cancel::{POLL_INTERVAL, Sampler};
use nt::{
    IRP_MN_SET_POWER, STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_DELETE_PENDING,
    STATUS_DEVICE_POWER_FAILURE, STATUS_SUCCESS,
};
use ntmodel::{BusAnswer, Config, Device, Kernel, PowerState, Request};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

const S0: PowerState = PowerState::System(1);
const S3: PowerState = PowerState::System(4);
/// D3 as a `DEVICE_POWER_STATE`.
const D3: u32 = 4;

const SAMPLER: BuiltDriver = BuiltDriver::device::<Sampler>("sample_cancel");

/// Returns the sample that a read ended with.
fn sample(read: &Request) -> u32 {
    let end = read.wait(TIMEOUT).expect("the read ends");
    assert_eq!((end.status, end.information), (STATUS_SUCCESS, 4));
    u32::from_ne_bytes(end.output.try_into().expect("a sample has four bytes"))
}

#[test]
fn reads_get_one_sample_each_in_their_order() {
    let kernel = Kernel::new(Config::default());
    let sampler = SAMPLER.start(&kernel);
    let file = &sampler.file;
    let begin = Instant::now();
    let reads = [(); 3].map(|()| file.read(0, 4));
    assert!(!reads[0].is_done());
    assert_eq!(reads.each_ref().map(sample), [1, 2, 3]);
    assert!(begin.elapsed() < TIMEOUT);
    // A read without room for a sample fails immediately.
    assert_eq!(file.read(0, 3).answer(), STATUS_BUFFER_TOO_SMALL);
    // The hardware is polled again after it was idle.
    assert_eq!(sample(&file.read(0, 4)), 4);
    assert!(POLL_INTERVAL < TIMEOUT);
    sampler.tear_down();
}

#[test]
fn waiting_reads_end_with_their_handle_and_their_device() {
    let kernel = Kernel::new(Config::default());
    let sampler = SAMPLER.start(&kernel);
    let (file, other) = (sampler.open(), &sampler.file);
    let (first, second, third) = (file.read(0, 4), other.read(0, 4), other.read(0, 4));
    assert!(second.cancel());
    assert_eq!(second.status(), Some(STATUS_CANCELLED));
    drop(file);
    assert_eq!(first.status(), Some(STATUS_CANCELLED));
    sampler.surprise_remove();
    assert_eq!(third.status(), Some(STATUS_DELETE_PENDING));
    sampler.tear_down();
}

/// Waits until the driver has reported a state of the device.
fn wait_for_state(device: &Device, state: u32) {
    let begin = Instant::now();
    while device.told_power() != Some(state) {
        assert!(
            begin.elapsed() < TIMEOUT,
            "the device does not enter {state}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn hardware_has_power_while_reads_wait_and_the_system_works() {
    let kernel = Kernel::new(Config::default());
    let sampler = SAMPLER.start(&kernel);
    let (device, file) = (&sampler.device, &sampler.file);
    wait_for_state(device, D3);
    let before = sample(&file.read(0, 4));
    wait_for_state(device, D3);
    assert_eq!(device.set_power(S3), STATUS_SUCCESS);
    let read = file.read(0, 4);
    assert!(read.wait(3 * POLL_INTERVAL).is_none());
    assert_eq!(device.told_power(), Some(D3));
    assert_eq!(device.set_power(S0), STATUS_SUCCESS);
    assert_eq!(sample(&read), before + 1);
    wait_for_state(device, D3);
    let fails = BusAnswer::Fail(STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(IRP_MN_SET_POWER, fails);
    let read = file.read(0, 4).wait(TIMEOUT).expect("the read ends");
    assert_eq!(read.status, STATUS_DEVICE_POWER_FAILURE);
    sampler.tear_down();
}

#[test]
fn cancel_against_the_timer() {
    hold(|kernel| {
        let sampler = SAMPLER.start(kernel);
        let read = Arc::new(sampler.file.read(0, 4));
        let canceller = sampler.actor("canceller", &read, Request::cancel);
        // The second read is served whether or not the first is cancelled.
        let second = sample(&sampler.file.read(0, 4));
        canceller.join();
        let first = read.wait(TIMEOUT).expect("the read ends");
        assert_eq!(second, if first.status == STATUS_SUCCESS { 2 } else { 1 });
        sampler.tear_down();
    });
}

#[test]
fn removal_against_the_timer() {
    hold(|kernel| {
        let sampler = SAMPLER.start(kernel);
        let read = sampler.file.read(0, 4);
        let remover = sampler.remover();
        sampler.end(&read, &[STATUS_SUCCESS, STATUS_DELETE_PENDING]);
        remover.join();
        sampler.tear_down();
    });
}

#[test]
fn power_against_a_read() {
    hold(|kernel| {
        let sampler = SAMPLER.start(kernel);
        let device = &sampler.device;
        let reader = sampler.actor("reader", &sampler.file, |file| sample(&file.read(0, 4)));
        assert_eq!(device.set_power(S3), STATUS_SUCCESS);
        assert_eq!(device.told_power(), Some(D3));
        assert_eq!(device.set_power(S0), STATUS_SUCCESS);
        assert_eq!(reader.join(), 1);
        sampler.tear_down();
    });
}
