//! Fails each allocation and each device-creation step of `interlock.sys` once per call path. The driver returns an error,
//! leaks nothing, and works afterwards.
//!
//! The driver is its logic, or the image that the environment variable `INTERLOCK_DRIVER` names.

use std::{collections::BTreeSet, env, sync::Arc, time::Duration};

use interlock::Interlock;
use interlock_abi::{
    Call, CallResult, Pend, Pended, Routine, RunThreads, ThreadResults, ioctl, queue,
};
use nt::{STATUS_CANCELLED, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS};
use ntmodel::{Access, Clock, Config, Driver, Faults, File, Image, Kernel, Request};
use zerocopy::IntoBytes;

/// The statuses that the driver may return after a failure.
const FAILED: [i32; 2] = [STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE];

/// More records than the zone has blocks at first, so that it is extended.
const MANY: u64 = 100;

/// The result of a step: an error if an allocation or a step of device creation failed.
type Step<T = ()> = Result<T, i32>;

/// The environment variable with the path of an image.
const IMAGE: &str = "INTERLOCK_DRIVER";

/// The call paths that must have failed.
const PARTS: &[&str] = &[
    "create::create_object",
    "pnp::attach",
    "DeviceObject::new",
    "DeviceInterface::register",
    "pool::allocate",
    "thread::start",
];

/// The same for an image, whose compiler has inlined most functions.
const PARTS_OF_IMAGE: &[&str] = &["pnp::", "Zone::new", "thread::"];

fn load(kernel: &Arc<Kernel>) -> Step<Driver> {
    let Some(path) = env::var_os(IMAGE) else {
        return interlock_explore::load::<Interlock>(kernel);
    };
    let image = Image::load(path).expect("the image is loaded");
    // SAFETY: the user who runs the test has named the image of a driver.
    unsafe { Driver::load_image(kernel, image) }
}

/// Loads the driver, uses all of it, removes its device and unloads it.
fn work(kernel: &Arc<Kernel>) -> Step {
    let driver = load(kernel)?;
    let result = with_driver(&driver);
    driver.unload();
    result
}

fn with_driver(driver: &Driver) -> Step {
    let device = driver.add_device()?;
    // The PnP manager removes a device that does not start.
    device.start()?;
    let result = device.open(Access::ReadWrite).and_then(|file| {
        let result = with_file(&file);
        file.close();
        result
    });
    assert_eq!(device.remove(), Ok(()));
    result
}

fn with_file(file: &File) -> Step {
    let mut all = Ok(());
    // Each is tried even if another one failed, to check that the driver still works.
    for queue in [
        queue::FIFO,
        queue::KEYED,
        queue::SERIAL,
        queue::INTERLOCKED,
        queue::STACK,
    ] {
        all = all.and(fill(file, queue));
    }
    for routine in Routine::ALL {
        all = all.and(call(file, *routine));
        if routine.runs_in_threads() {
            all = all.and(run_threads(file, *routine));
        }
    }
    all
}

/// Sends many requests to a queue, and cancels them.
fn fill(file: &File, queue: u32) -> Step {
    let send = |tag| {
        let request = Pend {
            tag,
            queue,
            ..Pend::default()
        };
        interlock_explore::pend(file, request)
    };
    let requests: Vec<Request> = (0..MANY).map(send).collect();
    file.cancel_all();
    let mut all = Ok(());
    for request in &requests {
        all = all.and(ended(request, &[STATUS_SUCCESS, STATUS_CANCELLED]));
    }
    if queue == queue::STACK {
        while pop(file).is_ok() {}
    }
    all
}

fn pop(file: &File) -> Step {
    let popped = file.device_control(ioctl::POP, &[], vec![0; size_of::<Pended>()]);
    ended(&popped, &[STATUS_SUCCESS])
}

fn call(file: &File, routine: Routine) -> Step {
    let call = Call::default();
    let output = vec![0; size_of::<CallResult>()];
    let request = file.device_control(routine.ioctl(), call.as_bytes(), output);
    // Some routines return an error if they have no parameters.
    match ended(&request, &[STATUS_SUCCESS]) {
        Err(status) if !FAILED.contains(&status) => Ok(()),
        other => other,
    }
}

fn run_threads(file: &File, routine: Routine) -> Step {
    let run = RunThreads {
        routine: routine as u32,
        threads: 2,
        rounds: 2,
        reserved: 0,
    };
    let output = vec![0; size_of::<ThreadResults>()];
    ended(
        &file.device_control(ioctl::RUN_THREADS, run.as_bytes(), output),
        &[STATUS_SUCCESS],
    )
}

fn ended(request: &Request, allowed: &[i32]) -> Step {
    let end = request
        .wait(Duration::from_secs(20))
        .expect("the request is completed");
    if allowed.contains(&end.status) {
        return Ok(());
    }
    assert_eq!(end.information, 0, "{:#x}", end.status);
    Err(end.status)
}

#[test]
fn each_failure_is_reported_and_leaks_nothing() {
    let faults = Arc::<Faults>::default();
    let mut failures = 0;
    loop {
        // A violation aborts the test. A leak at unload is a violation.
        let kernel = Kernel::new(Config {
            clock: Clock::Virtual,
            print: false,
            faults: Some(Arc::clone(&faults)),
            ..Config::default()
        });
        faults.arm();
        let result = work(&kernel);
        if !faults.disarm() {
            assert_eq!(result, Ok(()));
            break;
        }
        failures += 1;
        let place = faults.failed().pop().unwrap_or_default();
        let status = result.expect_err(&place);
        assert!(FAILED.contains(&status), "{status:#x}: {place}");
        assert_eq!(work(&kernel), Ok(()), "after {place}");
        assert!(failures < 10_000, "the failures do not end");
    }
    let failed = faults.failed();
    assert_eq!(failed.len(), failures);
    let places: BTreeSet<&String> = failed.iter().collect();
    for place in &places {
        println!("{place}");
    }
    println!(
        "{failures} failures on as many call paths, in {} places",
        places.len()
    );
    for part in if env::var_os(IMAGE).is_some() {
        PARTS_OF_IMAGE
    } else {
        PARTS
    } {
        let seen = places.iter().any(|place| place.contains(part));
        assert!(seen, "{part} never failed");
    }
}
