//! Small scenes for the model kernel: two or three actors on one queue, explored in every order, or in many.
//!
//! The [scenes](SCENES) are of `wdm`'s queues, and pass. The [faults] are mistakes of real drivers in queue and cancel
//! code, written on raw `nt` since with `wdm` they would not compile; each is found, and its correct version passes.

mod device;
pub mod faulty;
mod queue;
mod stage;
mod start_io;

use std::sync::Arc;

use ntmodel::{
    Driver, Kernel,
    explore::{Scenario, Search},
};

/// Loads a driver on `wdm` into a kernel.
///
/// # Errors
/// The status of its `DriverEntry`.
pub fn load<D: wdm::Device>(kernel: &Arc<Kernel>) -> Result<Driver, i32> {
    // SAFETY: the entry point is that of a driver on wdm.
    unsafe { Driver::load(kernel, wdm::entry::<D>) }
}

/// A scene.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What its actors do, and what must come of it.
    pub summary: &'static str,
    /// The orders to explore.
    pub searches: &'static [Search],
    /// Runs the scene once.
    pub run: Scenario,
}

/// Every order, of scenes that have few.
const EVERY: &[Search] = &[Search::every(1_000_000)];

/// Every order with a few preemptions, of scenes that have too many.
const FEW_PREEMPTIONS: &[Search] = &[Search::preempting(4)];

/// Random orders, and orders with few preemptions, of scenes that have too many even so.
const MANY: &[Search] = &[
    Search::Random {
        schedules: 5_000,
        seed: 1,
    },
    Search::Pct {
        schedules: 5_000,
        depth: 3,
        seed: 1,
    },
];

/// The scenes of `wdm`'s queues.
pub const SCENES: &[&[Scene]] = &[queue::SCENES, start_io::SCENES, device::SCENES];

/// Every mistake and every correct version, as a scene.
pub fn faults() -> impl Iterator<Item = Scene> {
    faulty::faults().flat_map(|fault| {
        let scene = |name, summary, run| Scene {
            name,
            summary,
            searches: EVERY,
            run,
        };
        let without = "the same scene without the mistake";
        [
            scene(fault.name, fault.what, fault.faulty),
            scene(fault.correct_name, without, fault.correct),
        ]
    })
}

/// The scene, mistake or correct version with this name.
#[must_use]
pub fn find(name: &str) -> Option<Scene> {
    let scenes = SCENES.iter().copied().flatten().copied();
    scenes.chain(faults()).find(|scene| scene.name == name)
}
