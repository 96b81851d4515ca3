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
use ntmodel::{Access, BusAnswer, Config, Device, Driver, Kernel, PowerState, Request};

/// How long a request may take.
const LONG: Duration = Duration::from_secs(5);

const S0: PowerState = PowerState::System(1);
const S3: PowerState = PowerState::System(4);
/// The number of the state.
const D3: u32 = 4;

const SAMPLER: BuiltDriver = BuiltDriver::device::<Sampler>("sample_cancel");

fn start(kernel: &Arc<Kernel>) -> (Driver, Device) {
    let driver = SAMPLER.load(kernel).expect("DriverEntry succeeds");
    let device = driver.add_device().expect("AddDevice succeeds");
    device.start().expect("the device starts");
    (driver, device)
}

/// The sample that a read ended with.
fn sample(read: &Request) -> u32 {
    let end = read.wait(LONG).expect("the read ends");
    assert_eq!((end.status, end.information), (STATUS_SUCCESS, 4));
    u32::from_ne_bytes(end.output.try_into().expect("a sample has four bytes"))
}

#[test]
fn reads_get_one_sample_each_in_their_order() {
    let kernel = Kernel::new(Config::default());
    let (driver, device) = start(&kernel);
    let file = device.open(Access::Read).expect("the device opens");
    let begin = Instant::now();
    let reads = [(); 3].map(|()| file.read(0, 4));
    assert!(!reads[0].is_done());
    assert_eq!(reads.each_ref().map(sample), [1, 2, 3]);
    assert!(begin.elapsed() < LONG);
    // A read without room for a sample fails at once.
    assert_eq!(file.read(0, 3).answer(), STATUS_BUFFER_TOO_SMALL);
    // The hardware is polled again after it was idle.
    assert_eq!(sample(&file.read(0, 4)), 4);
    assert!(POLL_INTERVAL < LONG);
    file.close();
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn waiting_reads_end_with_their_handle_and_their_device() {
    let kernel = Kernel::new(Config::default());
    let (driver, device) = start(&kernel);
    let file = device.open(Access::Read).expect("the device opens");
    let other = device.open(Access::Read).expect("the device opens");
    let (first, second, third) = (file.read(0, 4), other.read(0, 4), other.read(0, 4));
    assert!(second.cancel());
    assert_eq!(second.status(), Some(STATUS_CANCELLED));
    file.close();
    assert_eq!(first.status(), Some(STATUS_CANCELLED));
    device.surprise_remove();
    assert_eq!(third.status(), Some(STATUS_DELETE_PENDING));
    // The device is removed with the last file.
    other.close();
    assert!(device.is_removed());
    driver.unload();
}

/// Waits until the driver has reported a state of the device.
fn until(device: &Device, state: u32) {
    let begin = Instant::now();
    while device.told_power() != Some(state) {
        assert!(begin.elapsed() < LONG, "the device does not enter {state}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn hardware_has_power_while_reads_wait_and_the_system_works() {
    let kernel = Kernel::new(Config::default());
    let (driver, device) = start(&kernel);
    until(&device, D3);
    let file = device.open(Access::Read).expect("the device opens");
    let before = sample(&file.read(0, 4));
    until(&device, D3);
    assert_eq!(device.set_power(S3), STATUS_SUCCESS);
    let read = file.read(0, 4);
    assert!(read.wait(3 * POLL_INTERVAL).is_none());
    assert_eq!(device.told_power(), Some(D3));
    assert_eq!(device.set_power(S0), STATUS_SUCCESS);
    assert_eq!(sample(&read), before + 1);
    until(&device, D3);
    let fails = BusAnswer::Fail(STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(IRP_MN_SET_POWER, fails);
    let read = file.read(0, 4).wait(LONG).expect("the read ends");
    assert_eq!(read.status, STATUS_DEVICE_POWER_FAILURE);
    file.close();
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn cancel_against_the_timer() {
    hold(|kernel| {
        let (driver, device) = start(kernel);
        let file = device.open(Access::Read).expect("the device opens");
        let read = Arc::new(file.read(0, 4));
        let canceller = {
            let read = Arc::clone(&read);
            kernel.actor("canceller", move || read.cancel())
        };
        // The second read is served whether or not the first is cancelled.
        let second = sample(&file.read(0, 4));
        canceller.join();
        let first = read.wait(LONG).expect("the read ends");
        assert_eq!(second, if first.status == STATUS_SUCCESS { 2 } else { 1 });
        drop(file);
        device.remove().expect("no file is open");
        driver.unload();
    });
}

#[test]
fn removal_against_the_timer() {
    hold(|kernel| {
        let (driver, device) = start(kernel);
        let device = Arc::new(device);
        let file = device.open(Access::Read).expect("the device opens");
        let read = file.read(0, 4);
        let remover = {
            let device = Arc::clone(&device);
            kernel.actor("remover", move || device.surprise_remove())
        };
        let status = read.wait(LONG).expect("the read ends").status;
        assert!([STATUS_SUCCESS, STATUS_DELETE_PENDING].contains(&status));
        remover.join();
        drop(file);
        assert!(device.is_removed());
        drop(device);
        driver.unload();
    });
}

#[test]
fn power_against_a_read() {
    hold(|kernel| {
        let (driver, device) = start(kernel);
        let file = Arc::new(device.open(Access::Read).expect("the device opens"));
        let reader = {
            let file = Arc::clone(&file);
            kernel.actor("reader", move || sample(&file.read(0, 4)))
        };
        assert_eq!(device.set_power(S3), STATUS_SUCCESS);
        assert_eq!(device.told_power(), Some(D3));
        assert_eq!(device.set_power(S0), STATUS_SUCCESS);
        assert_eq!(reader.join(), 1);
        drop(file);
        device.remove().expect("no file is open");
        driver.unload();
    });
}
