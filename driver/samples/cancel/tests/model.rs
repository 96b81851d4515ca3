//! The sampler on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use interlock_explore::{BuiltDriver, hold};
use interlock_sample_cancel::{POLL_INTERVAL, Sampler};
use nt::{STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{Access, Config, Device, Driver, Kernel, PowerState, Request};

/// How long a request may take.
const LONG: Duration = Duration::from_secs(5);

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

#[test]
fn reads_wait_while_the_hardware_has_no_power() {
    let kernel = Kernel::new(Config::default());
    let (driver, device) = start(&kernel);
    let file = device.open(Access::Read).expect("the device opens");
    for (sleep, wake) in [
        (PowerState::System(4), PowerState::System(1)),
        (PowerState::Device(4), PowerState::Device(1)),
    ] {
        let before = sample(&file.read(0, 4));
        assert_eq!(device.set_power(sleep), STATUS_SUCCESS);
        let read = file.read(0, 4);
        assert!(read.wait(3 * POLL_INTERVAL).is_none());
        assert_eq!(device.set_power(wake), STATUS_SUCCESS);
        assert_eq!(sample(&read), before + 1);
    }
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
        device.set_power(PowerState::Device(4));
        device.set_power(PowerState::Device(1));
        assert_eq!(reader.join(), 1);
        drop(file);
        device.remove().expect("no file is open");
        driver.unload();
    });
}
