//! Small tests for the explorer of the model kernel: two or three threads use one queue, in every order or in many.
//!
//! The [tests](TESTS) of `wdm`'s queues pass. The [faults] are mistakes of real drivers in queue and cancel code, written on
//! raw `nt`, since they do not compile with `wdm`. The explorer finds each mistake, and the correct version of each passes.

/// Makes a table of tests, each with the name of its function: the family and the driver, then for each test its name, the orders
/// to explore, and what the threads do and which result the test checks.
macro_rules! tests {
    ($family:literal, $driver:ty: $($name:ident, $searches:ident, $summary:literal;)*) => {
        &[$($crate::Test {
            name: concat!($family, "::", stringify!($name)),
            summary: $summary,
            searches: $searches,
            run: |kernel| $crate::Harness::run::<$driver>(kernel, $name),
        }),*]
    };
}

mod device;
pub mod faulty;
mod harness;
mod queue;
mod start_io;

use std::{env, path::Path, sync::Arc};

use ntmodel::{
    Driver, DriverEntry, Image, Kernel,
    explore::{Scenario, Search, check},
};

pub use harness::{Harness, actor, pend};

/// Loads a driver on `wdm` into a kernel.
///
/// # Errors
/// The status of its `DriverEntry`.
pub fn load<D: wdm::Device>(kernel: &Arc<Kernel>) -> Result<Driver, i32> {
    // SAFETY: the entry point is that of a driver on wdm.
    unsafe { Driver::load(kernel, wdm::entry::<D>) }
}

/// Loads a filter driver on `wdm` into a kernel.
///
/// # Errors
/// The status of its `DriverEntry`.
pub fn load_filter<F: wdm::Filter>(kernel: &Arc<Kernel>) -> Result<Driver, i32> {
    // SAFETY: as above.
    unsafe { Driver::load(kernel, wdm::filter_entry::<F>) }
}

/// The environment variable that names the folder of the images. The user who sets it is responsible for each image being
/// built from the logic of the same name.
const BUILT: &str = "INTERLOCK_BUILT";

/// A driver on `wdm` whose tests run on its logic or on its image, the `.sys` file.
#[derive(Clone, Copy, Debug)]
pub struct BuiltDriver {
    name: &'static str,
    // Invariant: the entry point of a driver on `wdm`.
    entry: DriverEntry,
}

impl BuiltDriver {
    /// Returns the driver of a Plug and Play device, and the name of its image.
    #[must_use]
    pub const fn device<D: wdm::Device>(name: &'static str) -> Self {
        let entry = wdm::entry::<D>;
        Self { name, entry }
    }

    /// Returns the filter driver, and the name of its image.
    #[must_use]
    pub const fn filter<F: wdm::Filter>(name: &'static str) -> Self {
        let entry = wdm::filter_entry::<F>;
        Self { name, entry }
    }

    /// The driver of a control device, and the name of its image.
    #[must_use]
    pub const fn control<D: wdm::ControlDevice>(name: &'static str) -> Self {
        let entry = wdm::control_entry::<D>;
        Self { name, entry }
    }

    /// Loads the driver's logic, or its image from the folder that the environment variable `INTERLOCK_BUILT` names, such as
    /// `target/interlock`.
    ///
    /// # Errors
    /// The status of its `DriverEntry`.
    ///
    /// # Panics
    /// The file is not an image that the model can load.
    pub fn load(self, kernel: &Arc<Kernel>) -> Result<Driver, i32> {
        let Some(folder) = env::var_os(BUILT) else {
            // SAFETY: the entry point is that of a driver on wdm.
            return unsafe { Driver::load(kernel, self.entry) };
        };
        let file = Path::new(&folder).join(self.name).with_extension("sys");
        let image =
            Image::load(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // SAFETY: the image is that of a driver on wdm, as the environment variable states.
        unsafe { Driver::load_image(kernel, image) }
    }

    /// Loads the driver, and starts and opens its device.
    ///
    /// # Panics
    /// One of the steps fails.
    #[must_use]
    pub fn start(self, kernel: &Arc<Kernel>) -> Harness {
        Harness::new(kernel, self.load(kernel))
    }
}

/// The environment variable that contains the number of schedules of [`hold`].
const SCHEDULES: &str = "INTERLOCK_SCHEDULES";

/// Tests a scenario of a [`BuiltDriver`] by [`check`], with as many schedules of each search as the environment variable
/// `INTERLOCK_SCHEDULES` contains. The default is 500; or 100 for an image, whose loading takes milliseconds.
///
/// # Panics
/// As [`check`]; or the variable is not a number.
#[track_caller]
pub fn hold(scenario: Scenario) {
    let is_built = env::var_os(BUILT).is_some();
    let default = if is_built { 100 } else { 500 };
    let schedules = env::var(SCHEDULES).map_or(default, |number| {
        let parsed = number.parse();
        parsed.unwrap_or_else(|_| panic!("{SCHEDULES} is not a number: {number:?}"))
    });
    check(schedules, scenario);
}

/// A test.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// The name.
    pub name: &'static str,
    /// What the threads do, and the result that the test checks.
    pub summary: &'static str,
    /// The orders to explore.
    pub searches: &'static [Search],
    /// Runs the test once.
    pub run: Scenario,
}

/// Every order, for tests that have few.
const EVERY: &[Search] = &[Search::every(1_000_000)];

/// Every order of the accesses that locks and interlocked routines guard, which are all accesses of a driver in safe code on `wdm`; and,
/// in case `wdm` makes others, every order with at most three preemptions. For tests that have too many orders for [`EVERY`].
const GUARDED: &[Search] = &[Search::guarded(1_000_000), Search::preempting(3)];

/// Every order with at most three preemptions, and a sample of the others. For tests that have too many orders for [`GUARDED`].
const PREEMPTED: &[Search] = &[Search::preempting(3), SAMPLE];

const SAMPLE: Search = Search::Random {
    schedules: 500,
    seed: 1,
};

/// A sample of the orders, for tests with too many orders for the other searches.
const MANY: &[Search] = &[
    SAMPLE,
    Search::Pct {
        schedules: 500,
        depth: 3,
        seed: 1,
    },
];

/// The tests of `wdm`'s queues.
pub const TESTS: &[&[Test]] = &[queue::TESTS, start_io::TESTS, device::TESTS];

/// Returns a test for every mistake and for every correct version.
pub fn faults() -> impl Iterator<Item = Test> {
    faulty::faults().flat_map(|fault| {
        let test = |name, summary, run| Test {
            name,
            summary,
            searches: EVERY,
            run,
        };
        let without = "the same test without the mistake";
        [
            test(fault.name, fault.what, fault.faulty),
            test(fault.correct_name, without, fault.correct),
        ]
    })
}

/// Returns the test, mistake or correct version with this name.
#[must_use]
pub fn find(name: &str) -> Option<Test> {
    let tests = TESTS.iter().copied().flatten().copied();
    tests.chain(faults()).find(|test| test.name == name)
}
