//! The detector on the model kernel, above a port with a device that sends how often it was reset: its function, and its races in
//! many orders.

#![forbid(unsafe_code)]

mod port;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use interlock_explore::{BuiltDriver, actor, hold, load_filter};
use interlock_sample_detect::Detector;
use nt::{
    IRP_MN_QUERY_STOP_DEVICE, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_DEVICE_BUSY,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS,
};
use ntmodel::{Access, Config, Device, Driver, File, Kernel, PowerState};

use crate::port::Port;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

const S0: PowerState = PowerState::System(1);
const S3: PowerState = PowerState::System(4);

const DETECTOR: BuiltDriver = BuiltDriver::device::<Detector>("sample_detect");

/// The detector's device above a port.
struct Started {
    port: Driver,
    detector: Driver,
    device: Device,
}

fn start(kernel: &Arc<Kernel>) -> Started {
    let port = load_filter::<Port>(kernel).expect("DriverEntry succeeds");
    let detector = DETECTOR.load(kernel).expect("DriverEntry succeeds");
    let device = port.add_device_with(nt::DO_BUFFERED_IO);
    let device = device.expect("AddDevice succeeds");
    detector.add_function(&device).expect("AddDevice succeeds");
    device.start().expect("the device starts");
    Started {
        port,
        detector,
        device,
    }
}

impl Started {
    fn open(&self) -> File {
        self.device.open(Access::Read).expect("the device opens")
    }

    /// Removes the device unless it was removed, and unloads the drivers, which are checked for leaks.
    fn tear_down(self) {
        if !self.device.is_removed() {
            self.device.remove().expect("no file is open");
        }
        self.detector.unload();
        self.port.unload();
    }
}

/// A kernel with values in the port's key.
fn kernel(values: &[(&str, u32)]) -> Arc<Kernel> {
    let value = |(name, value): &(&str, u32)| ((*name).into(), *value);
    Kernel::new(Config {
        hardware_key: values.iter().map(value).collect(),
        ..Config::default()
    })
}

/// Returns how the device has identified itself.
fn id(file: &File) -> Result<Vec<u8>, i32> {
    let mut end = file.read(0, 16).wait(TIMEOUT).expect("the read ends");
    end.output.truncate(end.information);
    (end.status == STATUS_SUCCESS)
        .then_some(end.output)
        .ok_or(end.status)
}

/// Waits until the device was reset this often.
fn until(file: &File, resets: u32) {
    let is_fewer = |id: Vec<u8>| {
        let text = String::from_utf8(id).expect("the device sends a number");
        text.parse::<u32>().expect("the device sends a number") < resets
    };
    let begin = Instant::now();
    while is_fewer(id(file).expect("the read succeeds")) {
        assert!(begin.elapsed() < TIMEOUT, "the device is not detected");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn connected_device_is_detected() {
    // A mouse answers at the first reset, some devices at the second.
    for (first, expected) in [(1, &b"1"[..]), (2, b"2"), (3, b"")] {
        let started = start(&kernel(&[("First", first), ("Exchanges", 0)]));
        let file = started.open();
        assert_eq!(id(&file), Ok(expected.to_vec()));
        file.close();
        started.tear_down();
    }
}

#[test]
fn other_device_is_detected() {
    let started = start(&kernel(&[]));
    let file = started.open();
    assert_eq!(id(&file), Ok(b"1".to_vec()));
    until(&file, 2);
    // The reset of the device has changed its line, which does not cause another detection.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(id(&file), Ok(b"2".to_vec()));
    file.close();
    started.tear_down();
}

#[test]
fn device_is_detected_again_after_the_system_slept() {
    let started = start(&kernel(&[("Exchanges", 0)]));
    let file = started.open();
    until(&file, 1);
    for detection in [2, 3] {
        assert_eq!(started.device.set_power(S3), STATUS_SUCCESS);
        assert_eq!(started.device.set_power(S0), STATUS_SUCCESS);
        until(&file, detection);
    }
    file.close();
    started.tear_down();
}

#[test]
fn device_is_detected_again_if_the_system_slept_during_a_detection() {
    let started = start(&kernel(&[("Exchanges", 0)]));
    let file = started.open();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(started.device.set_power(S3), STATUS_SUCCESS);
    assert_eq!(started.device.set_power(S0), STATUS_SUCCESS);
    until(&file, 2);
    file.close();
    started.tear_down();
}

#[test]
fn port_that_fails_is_reported() {
    let started = start(&kernel(&[("Broken", 1)]));
    let file = started.open();
    assert_eq!(id(&file), Err(STATUS_INVALID_DEVICE_REQUEST));
    file.close();
    started.tear_down();
}

#[test]
fn device_is_not_stopped() {
    let started = start(&kernel(&[]));
    let answer = started.device.pnp(IRP_MN_QUERY_STOP_DEVICE);
    assert_eq!(answer, STATUS_DEVICE_BUSY);
    started.tear_down();
}

#[test]
fn removal_ends_the_detection() {
    let kernel = kernel(&[]);
    let begin = Instant::now();
    let started = start(&kernel);
    let file = Arc::new(started.open());
    let reader = actor(&kernel, "reader", &file, id);
    std::thread::sleep(Duration::from_millis(100));
    // On a busy host the first wait of the detection may be over.
    let is_late = begin.elapsed() > Duration::from_millis(190);
    started.device.surprise_remove();
    let end = reader.join();
    assert!(is_late || end == Err(STATUS_CANCELLED), "{end:x?}");
    drop(file);
    started.tear_down();
}

#[test]
fn removal_against_the_detection() {
    hold(|kernel| {
        let started = start(kernel);
        started.device.surprise_remove();
        started.tear_down();
    });
}

#[test]
fn removal_against_a_read() {
    hold(|kernel| {
        let started = start(kernel);
        let file = started.open();
        let device = started.device.clone();
        let remover = kernel.actor("PnP manager", move || device.surprise_remove());
        let end = id(&file);
        let allowed = [
            Ok(b"1".to_vec()),
            Ok(b"2".to_vec()),
            Err(STATUS_CANCELLED),
            Err(STATUS_DELETE_PENDING),
        ];
        kernel.verify(allowed.contains(&end), || {
            format!("the read ended with {end:x?}")
        });
        remover.join();
        file.close();
        started.tear_down();
    });
}

#[test]
fn removal_against_the_end_of_the_sleep() {
    hold(|kernel| {
        let started = start(kernel);
        let file = started.open();
        id(&file).expect("the device is detected");
        let device = started.device.clone();
        let remover = kernel.actor("PnP manager", move || device.surprise_remove());
        started.device.set_power(S0);
        remover.join();
        file.close();
        started.tear_down();
    });
}
