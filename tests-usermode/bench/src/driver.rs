//! `driver`: the sizes of two drivers' images, and the time that their requests take on the model kernel.
//!
//! Both images are loaded into this process, each into its own kernel, and measured alternately, so that other work of the machine affects
//! both.

use std::{fmt::Write, path::Path, sync::Arc, thread, time::Duration};

use cpu_time::ProcessTime;
use interlock_abi::{CompleteOldest, Completed, Pend, Pended, ioctl, queue};
use ntmodel::{Access, Config, Device, Driver, File, Image, Kernel, Request};
use zerocopy::IntoBytes;

use crate::{
    Report, image,
    parts::{self, Sizes},
    ratio, read,
};

/// How many rounds of each row are measured, one driver after the other. Half of the rounds start with each driver.
const ROUNDS: usize = 41;
/// How many requests there are in a round.
const REQUESTS: u32 = 1_000;
/// The number of times that a thread looks for requests to complete before it fails, which takes minutes.
const MAX_POLLS: u32 = 100_000_000;

/// The limits, as ratios of Rust to C. The times are those of the driver and the model together, on a machine that may have
/// other work.
const MAX_TIME: f64 = 1.10;
const MAX_TEXT: f64 = 1.98;
/// As `MAX_TEXT`, without the parts that only the driver in Rust has.
const MAX_COMPARABLE: f64 = 1.85;
const MAX_FRAME: u32 = 1000;
/// Bytes of the stack; a kernel stack has 24 KB.
const MAX_CHAIN: u32 = 2120;
/// Bytes of pool for each pending request, as Rust to C: a queue of `wdm` that finds IRPs by key allocates a node for each, while the
/// driver in C links its records into a table of fixed size.
const MAX_POOL: f64 = 1.20;
/// The number of requests for which the pool is measured. Zones grow in steps, which even out.
const PENDING: u32 = 10_000;

/// A row: what is measured, on how many processors, and the function that measures it once.
type Row = (&'static str, u32, fn(&Device) -> Result<Duration, i32>);

const ROWS: &[Row] = &[
    ("pend and complete", 1, pend_and_complete),
    ("pend and cancel", 1, pend_and_cancel),
    ("close a handle with 1,000 pending", 1, close),
    ("reject as malformed", 1, reject),
    ("hand over between 2 threads", 2, |device| {
        hand_over(device, 1)
    }),
    ("hand over between 4 threads", 4, |device| {
        hand_over(device, 2)
    }),
];

const PREAMBLE: &str = "# Times and sizes of interlock.sys, compared with those of a driver in C

`cargo make bench-driver` writes this page. It loads `interlock.sys` and a driver in C (`tests-usermode/twin`) into one process,
each into its own model kernel, and measures them alternately. Both drivers have the same requests, queues and messages. The times are processor times
of all threads. They include those of the model, which checks each call, so the drivers differ less than on a real kernel. A ratio is the median over
all rounds of Rust's time by C's in the same round; the spread is between its quartiles. A frame is what a function pushes and allocates; a chain is
the sum of the frames of functions that call each other directly.

| a request | C | Rust | ratio | spread |
| --- | ---: | ---: | ---: | ---: |
";

/// A driver in a kernel.
struct Loaded {
    kernel: Arc<Kernel>,
    device: Device,
    driver: Driver,
}

impl Loaded {
    fn load(path: &Path, processors: u32) -> Result<Self, String> {
        let failed = |status: i32| format!("{}: status {status:#010x}", path.display());
        let kernel: Arc<Kernel> = Kernel::new(Config {
            processors,
            check_lists: false,
            print: false,
            // Special pages would add system calls of the host to each allocation.
            special_pool: false,
            ..Config::default()
        });
        let image = Image::load(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // SAFETY: the user has named the image as a driver's.
        let driver = unsafe { Driver::load_image(&kernel, image) }.map_err(failed)?;
        let device = driver.add_device().map_err(failed)?;
        device.start().map_err(failed)?;
        Ok(Self {
            kernel,
            device,
            driver,
        })
    }

    fn unload(self) -> Result<(), String> {
        let removed = self.device.remove();
        removed.map_err(|status| format!("the removal failed: {status:#010x}"))?;
        self.driver.unload();
        Ok(())
    }
}

/// Compares two drivers.
pub fn compare(rust: &Path, c: &Path) -> Result<Report, String> {
    let mut report = Report::new(PREAMBLE);
    for (name, processors, measure) in ROWS {
        let drivers = [
            Loaded::load(rust, *processors)?,
            Loaded::load(c, *processors)?,
        ];
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            for turn in [round % 2, 1 - round % 2] {
                let time = measure(&drivers[turn].device);
                let time = time.map_err(|status| format!("{name}: status {status:#010x}"))?;
                // The first round only fills the caches.
                if round != 0 {
                    times[turn].push(time.as_secs_f64() * 1e9 / f64::from(REQUESTS));
                }
            }
        }
        for driver in drivers {
            driver.unload()?;
        }
        add_row(&mut report, name, times);
    }
    let pools = [pool_per_request(rust)?, pool_per_request(c)?];
    add_sizes(&mut report, &read(rust)?, &read(c)?, pools)?;
    add_parts(&mut report, rust, c)?;
    Ok(report)
}

/// Returns the bytes and the blocks of pool that a pending request takes.
fn pool_per_request(path: &Path) -> Result<[f64; 2], String> {
    let loaded = Loaded::load(path, 1)?;
    let file = loaded.device.open(Access::ReadWrite);
    let file = file.map_err(|status| format!("status {status:#010x}"))?;
    let pool = || [loaded.kernel.pool_bytes(), loaded.kernel.pool_blocks()];
    let before = pool();
    let requests: Vec<_> = (0..PENDING).map(|tag| send(&file, tag)).collect();
    let after = pool();
    file.close();
    drop(requests);
    loaded.unload()?;
    #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
    let each = |at: usize| after[at].saturating_sub(before[at]) as f64 / f64::from(PENDING);
    Ok([each(0), each(1)])
}

fn add_row(report: &mut Report, name: &str, [rust, c]: [Vec<f64>; 2]) {
    let ratios = rust.iter().zip(&c).map(|(rust, c)| rust / c).collect();
    let (of_rust, of_c) = (quartiles(rust)[1], quartiles(c)[1]);
    let [low, ratio, high] = quartiles(ratios);
    let _ = writeln!(
        report.text,
        "| {name} | {of_c:.0} ns | {of_rust:.0} ns | {ratio:.2} | {low:.2} to {high:.2} |"
    );
    if low > MAX_TIME {
        report.limit(name, ratio, MAX_TIME);
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn add_sizes(
    report: &mut Report,
    rust: &[u8],
    c: &[u8],
    [[bytes, blocks], [bytes_of_c, blocks_of_c]]: [[f64; 2]; 2],
) -> Result<(), String> {
    let (rust, c) = (image::Image::parse(rust)?, image::Image::parse(c)?);
    let (text, text_of_c) = (rust.text_size(), c.text_size());
    let ratio = ratio(text, text_of_c);
    let (frame, frame_of_c) = (rust.largest_frame(), c.largest_frame());
    let frames = f64::from(frame) / f64::from(frame_of_c);
    let (chain, chain_of_c) = (rust.deepest_chain(), c.deepest_chain());
    let chains = f64::from(chain) / f64::from(chain_of_c);
    let pools = bytes / bytes_of_c;
    let _ = writeln!(
        report.text,
        "
| a size | C | Rust | ratio |
| --- | ---: | ---: | ---: |
| `.text` | {text_of_c} bytes | {text} bytes | {ratio:.2} |
| largest frame | {frame_of_c} bytes | {frame} bytes | {frames:.2} |
| deepest chain of frames | {chain_of_c} bytes | {chain} bytes | {chains:.2} |
| pool for a pending request | {bytes_of_c:.0} bytes | {bytes:.0} bytes | {pools:.2} |
| blocks of pool for a pending request | {blocks_of_c:.2} | {blocks:.2} | |"
    );
    report.limit(".text", ratio, MAX_TEXT);
    report.limit_bytes("deepest chain", chain, MAX_CHAIN);
    report.limit("pool for a request", pools, MAX_POOL);
    report.limit_bytes("largest frame", frame, MAX_FRAME);
    Ok(())
}

fn add_parts(report: &mut Report, rust: &Path, c: &Path) -> Result<(), String> {
    let scratch = rust.with_extension("addresses");
    let (rust, c) = (Sizes::of(rust, &scratch)?, Sizes::of(c, &scratch)?);
    let ratio = ratio(rust.comparable(), c.comparable());
    let _ = write!(
        report.text,
        "
An instruction belongs to the first part that names one of its functions or source files, also of those into which it is
inlined. Without the parts that only the driver in Rust has, which come first, the code is {ratio:.2} times as large as that in C.

| a part of `.text` | C | Rust |
| --- | ---: | ---: |
{}",
        parts::rows(&rust, &c)
    );
    report.limit("code that both drivers have", ratio, MAX_COMPARABLE);
    Ok(())
}

fn send(file: &File, tag: u32) -> Request {
    let pend = Pend {
        tag: tag.into(),
        queue: queue::FIFO,
        ..Pend::default()
    };
    file.device_control(ioctl::PEND, pend.as_bytes(), vec![0; size_of::<Pended>()])
}

/// Completes up to `count` of the oldest requests; returns how many there were.
fn complete(file: &File, count: u32) -> u32 {
    let input = CompleteOldest { count, reserved: 0 };
    let output = vec![0; size_of::<Completed>()];
    let request = file.device_control(ioctl::COMPLETE_OLDEST, input.as_bytes(), output);
    let count = request
        .ended()
        .and_then(|end| end.output.first_chunk().copied());
    count.map_or(0, u32::from_le_bytes)
}

/// Runs `work`, and returns the processor time of all threads that it took.
fn time(work: impl FnOnce()) -> Duration {
    let start = ProcessTime::now();
    work();
    start.elapsed()
}

fn pend_and_complete(device: &Device) -> Result<Duration, i32> {
    let file = device.open(Access::ReadWrite)?;
    Ok(time(|| {
        for tag in 0..REQUESTS {
            let request = send(&file, tag);
            complete(&file, 1);
            drop(request);
        }
    }))
}

fn pend_and_cancel(device: &Device) -> Result<Duration, i32> {
    let file = device.open(Access::ReadWrite)?;
    Ok(time(|| {
        for tag in 0..REQUESTS {
            send(&file, tag).cancel();
        }
    }))
}

fn close(device: &Device) -> Result<Duration, i32> {
    let file = device.open(Access::ReadWrite)?;
    let requests: Vec<_> = (0..REQUESTS).map(|tag| send(&file, tag)).collect();
    let took = time(|| file.close());
    drop(requests);
    Ok(took)
}

fn reject(device: &Device) -> Result<Duration, i32> {
    let file = device.open(Access::ReadWrite)?;
    let output = vec![0; size_of::<Pended>()];
    Ok(time(|| {
        for _ in 0..REQUESTS {
            drop(file.device_control(ioctl::PEND, &[0; 8], output.clone()));
        }
    }))
}

/// Each of `pairs` threads pends its share of the requests, and each of as many others completes its share.
fn hand_over(device: &Device, pairs: u32) -> Result<Duration, i32> {
    let files: Vec<_> = (0..2 * pairs)
        .map(|_| device.open(Access::ReadWrite))
        .collect::<Result<_, _>>()?;
    let share = REQUESTS / pairs;
    Ok(time(|| {
        thread::scope(|scope| {
            for pair in files.chunks(2) {
                scope.spawn(move || {
                    let requests: Vec<_> = (0..share).map(|tag| send(&pair[0], tag)).collect();
                    for request in &requests {
                        let _ = request.wait(Duration::from_mins(1));
                    }
                });
                scope.spawn(move || {
                    let mut left = share;
                    for _ in 0..MAX_POLLS {
                        left -= complete(&pair[1], 1);
                        if left == 0 {
                            break;
                        }
                    }
                });
            }
        });
    }))
}
