//! The recorder on the model kernel: its function, and its races in every order.

#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use interlock_explore::{BuiltDriver, actor};
use interlock_sample_recorder::{
    CAPACITY, IOCTL_DISABLE, IOCTL_ENABLE, IOCTL_HEARTBEAT, IOCTL_INTERNAL_RECORD, IOCTL_NAME,
    IOCTL_TOGGLE, MAX_LINE, Recorder,
};
use nt::{
    STATUS_BUFFER_TOO_SMALL, STATUS_CANCELLED, STATUS_DEVICE_NOT_READY,
    STATUS_INFO_LENGTH_MISMATCH, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};
use ntmodel::{
    Access, Clock, Completion, Config, Driver, Faults, File, Kernel, Request, User,
    explore::Scenario,
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `FileStandardInformation`, `FilePositionInformation` and `FileEndOfFileInformation`
const STANDARD: u32 = 5;
const POSITION: u32 = 14;
const END_OF_FILE: u32 = 20;

/// Held by each test, since the driver's statics are those of the process.
fn alone() -> MutexGuard<'static, ()> {
    static TESTS: Mutex<()> = Mutex::new(());
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold(scenario: Scenario) {
    let _alone = alone();
    interlock_explore::hold(scenario);
}

fn load(kernel: &Arc<Kernel>) -> Driver {
    let recorder = BuiltDriver::control::<Recorder>("sample_recorder");
    recorder.load(kernel).expect("DriverEntry succeeds")
}

fn open(kernel: &Arc<Kernel>) -> File {
    let opened = kernel.open_device(
        r"\\.\InterlockRecorder",
        Access::ReadWrite,
        User::Administrator,
    );
    opened.expect("the device opens")
}

/// Runs a test with an open file on a kernel whose threads are the host's.
fn with_file(faults: Option<&Arc<Faults>>, test: impl FnOnce(&Arc<Kernel>, &File)) {
    let _alone = alone();
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        faults: faults.cloned(),
        ..Config::default()
    });
    let driver = load(&kernel);
    let file = open(&kernel);
    test(&kernel, &file);
    file.close();
    driver.unload();
}

fn end(request: &Request) -> Completion {
    request.wait(TIMEOUT).expect("the request ends")
}

fn status(request: &Request) -> i32 {
    end(request).status
}

/// Returns the text of a read.
fn text(request: &Request) -> String {
    let Completion {
        status,
        information,
        output,
    } = end(request);
    assert_eq!(status, STATUS_SUCCESS);
    String::from_utf8(output[..information].to_vec()).expect("it is ASCII")
}

fn read(file: &File) -> Request {
    file.read(0, CAPACITY * MAX_LINE)
}

fn flush(file: &File) {
    assert_eq!(status(&file.flush()), STATUS_SUCCESS);
}

/// Returns the log, which has at least one line.
fn log_of(file: &File) -> String {
    flush(file);
    text(&read(file))
}

fn write(file: &File, text: &str) -> i32 {
    status(&file.write(0, text.as_bytes()))
}

/// Records a message of another driver.
fn record(file: &File, category: u32, text: &str) -> i32 {
    let input = [&category.to_le_bytes(), text.as_bytes()].concat();
    status(&file.internal_device_control(IOCTL_INTERNAL_RECORD, &input, Vec::new()))
}

fn control(file: &File, code: u32, input: &[u8]) -> i32 {
    status(&file.device_control(code, input, Vec::new()))
}

/// Names a category.
fn name(file: &File, category: u32, name: [u8; 8]) -> i32 {
    control(
        file,
        IOCTL_NAME,
        &[&category.to_le_bytes(), &name[..]].concat(),
    )
}

/// Returns the size of the log.
fn size(file: &File) -> u64 {
    let end = end(&file.query_information(STANDARD, 24));
    assert_eq!((end.status, end.information), (STATUS_SUCCESS, 24));
    let sizes = end.output.as_chunks().0;
    assert_eq!(sizes[2], [1, 0, 0, 0, 0, 0, 0, 0]);
    u64::from_le_bytes(sizes[1])
}

#[test]
fn messages_are_read_in_their_order() {
    with_file(None, |_, file| {
        assert_eq!(write(file, "one"), STATUS_SUCCESS);
        assert_eq!(record(file, 7, "two"), STATUS_SUCCESS);
        assert_eq!(write(file, ""), STATUS_SUCCESS);
        let all = "program: one\ndriver: two\nprogram: \n";
        flush(file);
        assert_eq!(size(file), all.len() as u64);
        assert_eq!(text(&read(file)), all);
        assert_eq!(size(file), 0);
    });
}

#[test]
fn read_waits_for_a_message() {
    with_file(None, |_, file| {
        let [first, second] = [read(file), read(file)];
        assert!(!first.is_done() && !second.is_done());
        write(file, "late");
        assert_eq!(text(&first), "program: late\n");
        assert!(second.cancel());
        assert_eq!(status(&second), STATUS_CANCELLED);
    });
}

#[test]
fn read_returns_whole_lines() {
    with_file(None, |_, file| {
        let long = "x".repeat(1000);
        let write = file.write(0, long.as_bytes());
        assert_eq!(end(&write).information, long.len());
        record(file, 1, "short");
        flush(file);
        assert_eq!(status(&file.read(0, MAX_LINE - 1)), STATUS_BUFFER_TOO_SMALL);
        let line = text(&file.read(0, MAX_LINE + 5));
        assert_eq!(line, format!("program: {}\n", &long[..MAX_LINE - 10]));
        assert_eq!(text(&file.read(0, MAX_LINE)), "driver: short\n");
    });
}

#[test]
fn disabled_categories_are_ignored() {
    with_file(None, |_, file| {
        let mask = |bits: u32| bits.to_le_bytes();
        assert_eq!(control(file, IOCTL_DISABLE, &mask(0b110)), STATUS_SUCCESS);
        for category in 1..4 {
            let status = record(file, category, &category.to_string());
            assert_eq!(status, STATUS_SUCCESS);
        }
        assert_eq!(log_of(file), "driver: 3\n");
        assert_eq!(control(file, IOCTL_ENABLE, &mask(0b010)), STATUS_SUCCESS);
        assert_eq!(control(file, IOCTL_TOGGLE, &mask(0b1100)), STATUS_SUCCESS);
        for category in 1..4 {
            record(file, category, &category.to_string());
        }
        assert_eq!(log_of(file), "driver: 1\ndriver: 2\n");
    });
}

#[test]
fn categories_have_names() {
    with_file(None, |_, file| {
        record(file, 9, "before");
        assert_eq!(name(file, 9, *b"network\0"), STATUS_SUCCESS);
        record(file, 9, "after");
        assert_eq!(log_of(file), "driver: before\nnetwork: after\n");
        assert_eq!(name(file, 32, *b"network\0"), STATUS_INVALID_PARAMETER);
    });
}

#[test]
fn newest_lines_are_kept_and_the_lost_ones_counted() {
    with_file(None, |kernel, file| {
        for number in 0..CAPACITY + 3 {
            assert_eq!(write(file, &number.to_string()), STATUS_SUCCESS);
        }
        let log = log_of(file);
        assert_eq!(log.lines().count(), CAPACITY);
        assert!(log.starts_with("program: 3\n"), "{log}");
        let interval = 1000_u32.to_le_bytes();
        assert_eq!(control(file, IOCTL_HEARTBEAT, &interval), STATUS_SUCCESS);
        kernel.advance(Duration::from_millis(2500));
        // Stopped first, since a wait for a request can advance the clock.
        assert_eq!(control(file, IOCTL_HEARTBEAT, &[0; 4]), STATUS_SUCCESS);
        let lines = ["0003", "0000"].map(|lost| format!("recorder: {lost} messages lost\n"));
        assert_eq!(log_of(file), lines.concat());
        kernel.advance(Duration::from_secs(10));
        flush(file);
        assert_eq!(size(file), 0);
    });
}

#[test]
fn first_message_without_memory_is_recorded_and_the_others_counted() {
    let faults = Arc::default();
    with_file(Some(&faults), |kernel, file| {
        let without_memory = |record: &dyn Fn() -> i32| {
            faults.arm();
            let status = record();
            assert!(faults.disarm(), "the allocation did not fail");
            status
        };
        let first = without_memory(&|| write(file, "first"));
        assert_eq!(first, STATUS_SUCCESS);
        let second = without_memory(&|| record(file, 1, "second"));
        assert_eq!(second, STATUS_INSUFFICIENT_RESOURCES);
        // The next heartbeat is lost too, and the one after it reports both.
        control(file, IOCTL_HEARTBEAT, &1000_u32.to_le_bytes());
        without_memory(&|| {
            kernel.advance(Duration::from_millis(1500));
            STATUS_SUCCESS
        });
        kernel.advance(Duration::from_secs(1));
        assert_eq!(control(file, IOCTL_HEARTBEAT, &[0; 4]), STATUS_SUCCESS);
        let log = "program: first\nrecorder: 0002 messages lost\n";
        assert_eq!(log_of(file), log);
    });
}

#[test]
fn log_is_emptied() {
    with_file(None, |_, file| {
        write(file, "old");
        flush(file);
        let empty = |class, size: &[u8]| status(&file.set_information(class, size));
        let status = empty(END_OF_FILE, &[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(status, STATUS_INVALID_PARAMETER);
        assert_eq!(empty(POSITION, &[0; 8]), STATUS_INVALID_PARAMETER);
        assert_ne!(size(file), 0);
        assert_eq!(empty(END_OF_FILE, &[0; 8]), STATUS_SUCCESS);
        assert_eq!(size(file), 0);
    });
}

#[test]
fn nothing_is_recorded_after_the_shutdown() {
    with_file(None, |kernel, file| {
        write(file, "before");
        let waiting = read(file);
        kernel.notify_shutdown();
        kernel.notify_shutdown();
        assert_eq!(write(file, "after"), STATUS_DEVICE_NOT_READY);
        let first = text(&waiting);
        let rest = if first.ends_with("shutdown\n") {
            String::new()
        } else {
            log_of(file)
        };
        assert_eq!(first + &rest, "program: before\nrecorder: shutdown\n");
    });
}

#[test]
fn bad_requests_fail() {
    with_file(None, |_, file| {
        assert_eq!(record(file, 32, "?"), STATUS_INVALID_PARAMETER);
        let internal =
            |code, input: &[u8]| status(&file.internal_device_control(code, input, Vec::new()));
        let record = IOCTL_INTERNAL_RECORD;
        assert_eq!(internal(record, &[0; 3]), STATUS_INFO_LENGTH_MISMATCH);
        assert_eq!(
            internal(IOCTL_ENABLE, &[0; 4]),
            STATUS_INVALID_DEVICE_REQUEST
        );
        assert_eq!(
            control(file, record, &[0; 4]),
            STATUS_INVALID_DEVICE_REQUEST
        );
        assert_eq!(
            control(file, IOCTL_ENABLE, &[0; 5]),
            STATUS_INFO_LENGTH_MISMATCH
        );
        assert_eq!(
            control(file, IOCTL_NAME, &[0; 11]),
            STATUS_INFO_LENGTH_MISMATCH
        );
        let position = file.query_information(POSITION, 8);
        assert_eq!(status(&position), STATUS_INVALID_PARAMETER);
        assert_eq!(
            status(&file.query_information(STANDARD, 23)),
            STATUS_BUFFER_TOO_SMALL
        );
    });
}

/// Checks what the log contains.
fn verify(kernel: &Arc<Kernel>, log: &str, holds: bool) {
    kernel.verify(holds, || format!("the log is {log:?}"));
}

#[test]
fn messages_of_a_writer_are_in_its_order() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        let other = actor(kernel, "other", &file, |file| {
            record(file, 1, "a");
            record(file, 1, "b");
        });
        write(&file, "1");
        write(&file, "2");
        other.join();
        let log = log_of(&file);
        let of = |start: &str| {
            let lines = log.lines().filter_map(|line| line.strip_prefix(start));
            lines.collect::<String>()
        };
        verify(
            kernel,
            &log,
            of("program: ") == "12" && of("driver: ") == "ab",
        );
        drop(file);
        driver.unload();
    });
}

#[test]
fn read_that_waits_gets_a_message() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        let reader = actor(kernel, "reader", &file, |file| text(&read(file)));
        write(&file, "1");
        write(&file, "2");
        let mut log = reader.join();
        if !log.contains('2') {
            log += &text(&read(&file));
        }
        verify(kernel, &log, log == "program: 1\nprogram: 2\n");
        drop(file);
        driver.unload();
    });
}

#[test]
fn cancelled_read_takes_no_message() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = open(kernel);
        let request = Arc::new(read(&file));
        let canceller = actor(kernel, "canceller", &request, Request::cancel);
        write(&file, "1");
        let log = if status(&request) == STATUS_CANCELLED {
            log_of(&file)
        } else {
            text(&request)
        };
        verify(kernel, &log, log == "program: 1\n");
        canceller.join();
        file.close();
        driver.unload();
    });
}

#[test]
fn flush_waits_for_what_was_recorded_before() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        let other = actor(kernel, "other", &file, |file| {
            record(file, 1, "a");
            flush(file);
            size(file)
        });
        write(&file, "1");
        let size = other.join();
        let allowed = ["driver: a\n", "driver: a\nprogram: 1\n"].map(|log| log.len() as u64);
        kernel.verify(allowed.contains(&size), || {
            format!("the log has {size} bytes")
        });
        drop(file);
        driver.unload();
    });
}

#[test]
fn shutdown_is_the_last_message() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        let writer = actor(kernel, "writer", &file, |file| {
            let first = write(file, "1");
            (first, record(file, 1, "2"))
        });
        kernel.notify_shutdown();
        let log = text(&read(&file));
        let mut expected = String::new();
        let (first, second) = writer.join();
        for (status, line) in [(first, "program: 1\n"), (second, "driver: 2\n")] {
            kernel.verify(
                [STATUS_SUCCESS, STATUS_DEVICE_NOT_READY].contains(&status),
                || format!("a message ended with {status:#x}"),
            );
            if status == STATUS_SUCCESS {
                expected += line;
            }
        }
        verify(kernel, &log, log == expected + "recorder: shutdown\n");
        drop(file);
        driver.unload();
    });
}

#[test]
fn name_is_never_half_changed() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        name(&file, 3, *b"aaaaaaaa");
        let other = actor(kernel, "other", &file, |file| name(file, 3, *b"bbbbbbbb"));
        record(&file, 3, "");
        let log = log_of(&file);
        verify(
            kernel,
            &log,
            ["aaaaaaaa: \n", "bbbbbbbb: \n"].contains(&log.as_str()),
        );
        other.join();
        drop(file);
        driver.unload();
    });
}

#[test]
fn heartbeat_ends_when_it_is_stopped() {
    hold(|kernel| {
        let driver = load(kernel);
        let file = Arc::new(open(kernel));
        control(&file, IOCTL_HEARTBEAT, &1_u32.to_le_bytes());
        let stopper = actor(kernel, "stopper", &file, |file| {
            control(file, IOCTL_HEARTBEAT, &[0; 4]);
            flush(file);
            status(&file.set_information(END_OF_FILE, &[0; 8]));
            flush(file);
            size(file)
        });
        let size = stopper.join();
        kernel.verify(size == 0, || format!("the log has {size} bytes"));
        drop(file);
        driver.unload();
    });
}
