//! The filter on the model kernel, above and below the driver of the sample `pipe`: its counts, and its races in many
//! orders.

#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use interlock_explore::{BuiltDriver, actor, hold};
use interlock_sample_filter::{GET_COUNTERS, Meter, PAUSE, RESUME};
use interlock_sample_pipe::Pipe;
use nt::{STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_SUCCESS};
use ntmodel::{Access, Config, Device, Driver, File, Kernel, Request};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

const PIPE: BuiltDriver = BuiltDriver::device::<Pipe>("sample_pipe");
const METER: BuiltDriver = BuiltDriver::filter::<Meter>("sample_filter");

struct Started {
    pipe: Driver,
    meter: Driver,
    device: Device,
}

fn drivers(kernel: &Arc<Kernel>) -> (Driver, Driver) {
    let load = |driver: BuiltDriver| driver.load(kernel).expect("DriverEntry succeeds");
    (load(PIPE), load(METER))
}

/// Starts a device with the filter above the pipe.
fn start(kernel: &Arc<Kernel>) -> Started {
    let (pipe, meter) = drivers(kernel);
    let device = pipe.add_device().expect("AddDevice succeeds");
    meter.add_filter(&device).expect("AddDevice succeeds");
    device.start().expect("the device starts");
    Started {
        pipe,
        meter,
        device,
    }
}

impl Started {
    fn open(&self) -> File {
        self.device
            .open(Access::ReadWrite)
            .expect("the device opens")
    }

    /// Unloads the drivers, which are checked for leaks.
    fn unload(self) {
        self.meter.unload();
        self.pipe.unload();
    }

    fn stop(self) {
        self.device.remove().expect("no file is open");
        self.unload();
    }
}

/// Opens, transfers, bytes, failures, and the longest transfer.
fn counts(file: &File) -> [i64; 5] {
    let sent = file.device_control(GET_COUNTERS, &[], vec![0; 40]);
    let end = sent.ended().expect("the filter completes it");
    assert_eq!((end.status, end.information), (STATUS_SUCCESS, 40));
    let mut counts = end.output.chunks_exact(8);
    std::array::from_fn(|_| {
        let bytes = counts.next().expect("five numbers");
        i64::from_ne_bytes(bytes.try_into().expect("eight bytes"))
    })
}

fn status(request: &Request) -> i32 {
    request.wait(TIMEOUT).expect("the request ends").status
}

#[test]
fn filter_counts_the_requests_of_the_device() {
    let kernel = Kernel::new(Config::default());
    let started = start(&kernel);
    let file = started.open();
    let other = started.open();
    assert_eq!(counts(&file), [2, 0, 0, 0, 0]);
    assert_eq!(status(&file.write(0, b"abc")), STATUS_SUCCESS);
    let read = file.read(0, 2).ended().expect("there are bytes");
    assert_eq!((read.information, read.output), (2, b"ab".to_vec()));
    assert_eq!(counts(&file), [2, 2, 5, 0, 3]);
    // A read that pends, and fails since it is cancelled.
    assert_eq!(status(&file.read(0, 1)), STATUS_SUCCESS);
    let pending = file.read(0, 1);
    assert_eq!(counts(&file), [2, 3, 6, 0, 3]);
    assert!(pending.cancel());
    assert_eq!(status(&pending), STATUS_CANCELLED);
    assert_eq!(counts(&other), [2, 3, 6, 1, 3]);
    other.close();
    // The filter forwards an unknown request, which the pipe refuses.
    assert_eq!(status(&file.flush()), nt::STATUS_INVALID_DEVICE_REQUEST);
    let short = file.device_control(GET_COUNTERS, &[], vec![0; 39]);
    assert_eq!(status(&short), STATUS_BUFFER_TOO_SMALL);
    file.close();
    started.stop();
}

#[test]
fn lower_filter_receives_no_request_that_the_pipe_serves() {
    let kernel = Kernel::new(Config::default());
    let (pipe, meter) = drivers(&kernel);
    let device = meter.add_device().expect("AddDevice succeeds");
    pipe.add_function(&device).expect("AddDevice succeeds");
    device.start().expect("the device starts");
    let started = Started {
        pipe,
        meter,
        device,
    };
    let file = started.open();
    assert_eq!(status(&file.write(0, b"abc")), STATUS_SUCCESS);
    let sent = file.device_control(GET_COUNTERS, &[], vec![0; 40]);
    assert_eq!(status(&sent), nt::STATUS_INVALID_DEVICE_REQUEST);
    file.close();
    started.stop();
}

fn control(file: &File, code: u32) {
    assert_eq!(
        status(&file.device_control(code, &[], Vec::new())),
        STATUS_SUCCESS
    );
}

#[test]
fn transfers_wait_while_the_device_is_paused() {
    let kernel = Kernel::new(Config::default());
    let started = start(&kernel);
    let file = started.open();
    let other = started.open();
    control(&file, PAUSE);
    let cancelled = file.write(0, b"x");
    let written = file.write(0, b"ab");
    let read = other.read(0, 1);
    let closed = other.read(0, 1);
    assert_eq!((written.status(), read.status()), (None, None));
    assert!(cancelled.cancel());
    assert_eq!(status(&cancelled), STATUS_CANCELLED);
    assert_eq!(counts(&file), [2, 0, 0, 1, 0]);
    other.close();
    assert_eq!(status(&read), STATUS_CANCELLED);
    assert_eq!(status(&closed), STATUS_CANCELLED);
    control(&file, RESUME);
    assert_eq!(status(&written), STATUS_SUCCESS);
    assert_eq!(counts(&file), [2, 1, 2, 3, 2]);
    assert_eq!(status(&file.read(0, 2)), STATUS_SUCCESS);
    control(&file, PAUSE);
    let removed = file.read(0, 1);
    started.device.surprise_remove();
    assert_eq!(status(&removed), STATUS_DELETE_PENDING);
    file.close();
    started.unload();
}

#[test]
fn write_against_resume() {
    hold(|kernel| {
        let started = start(kernel);
        let file = Arc::new(started.open());
        control(&file, PAUSE);
        let writer = actor(kernel, "writer", &file, |file| {
            status(&file.write(0, b"ab"))
        });
        control(&file, RESUME);
        assert_eq!(writer.join(), STATUS_SUCCESS);
        assert_eq!(counts(&file), [1, 1, 2, 0, 2]);
        drop(file);
        started.stop();
    });
}

#[test]
fn read_against_write() {
    hold(|kernel| {
        let started = start(kernel);
        let file = Arc::new(started.open());
        let writer = actor(kernel, "writer", &file, |file| {
            status(&file.write(0, b"ab"))
        });
        let read = file.read(0, 2);
        assert_eq!(writer.join(), STATUS_SUCCESS);
        assert_eq!(status(&read), STATUS_SUCCESS);
        assert_eq!(counts(&file), [1, 2, 4, 0, 2]);
        drop(file);
        started.stop();
    });
}

#[test]
fn longest_of_two_writes_is_recorded() {
    hold(|kernel| {
        let started = start(kernel);
        let file = Arc::new(started.open());
        let writer = actor(kernel, "writer", &file, |file| {
            status(&file.write(0, b"abc"))
        });
        assert_eq!(status(&file.write(0, b"de")), STATUS_SUCCESS);
        assert_eq!(writer.join(), STATUS_SUCCESS);
        assert_eq!(counts(&file), [1, 2, 5, 0, 3]);
        drop(file);
        started.stop();
    });
}

#[test]
fn cancel_against_write() {
    hold(|kernel| {
        let started = start(kernel);
        let file = Arc::new(started.open());
        let read = Arc::new(file.read(0, 2));
        let canceller = actor(kernel, "canceller", &read, Request::cancel);
        assert_eq!(status(&file.write(0, b"ab")), STATUS_SUCCESS);
        canceller.join();
        let failed = i64::from(status(&read) == STATUS_CANCELLED);
        assert_eq!(counts(&file), [1, 2 - failed, 4 - 2 * failed, failed, 2]);
        drop(file);
        started.stop();
    });
}

/// The removal waits for the requests that return to the filter.
#[test]
fn read_against_surprise_removal() {
    hold(|kernel| {
        let started = start(kernel);
        let file = started.open();
        let device = started.device.clone();
        let remover = kernel.actor("remover", move || device.surprise_remove());
        let read = file.read(0, 2);
        remover.join();
        assert_eq!(status(&read), STATUS_DELETE_PENDING);
        file.close();
        assert!(started.device.is_removed());
        started.unload();
    });
}
