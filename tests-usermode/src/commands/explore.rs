//! `explore` and `replay`: small scenes on the model kernel, in many schedules or in one.

use interlock_explore::{SCENES, Scene, faults, find};
use ntmodel::explore::{Explored, Found, Schedule, Search, explore, replay};

use crate::cli::{Explore, Replay};
use crate::error::{Error, Exit, Result};

/// Explores the scenes that a filter selects, until a rule is broken. A mistake is selected by its full name.
pub fn explore_scenes(args: &Explore) -> Result<Exit> {
    let filter = args.filter.as_deref().unwrap_or_default();
    let scenes = SCENES.iter().copied().flatten().copied();
    let mut scenes: Vec<Scene> = scenes.filter(|scene| scene.name.contains(filter)).collect();
    let is_listed = |name: &str| args.list && name.contains(filter);
    scenes.extend(faults().filter(|scene| scene.name == filter || is_listed(scene.name)));
    if scenes.is_empty() {
        return Err(Error::could_not_run(
            "no scene has such a name: `harness explore --list` lists them",
        ));
    }
    let widths = scenes.iter().map(|scene| scene.name.len());
    let width = widths.max().unwrap_or_default();
    if args.list {
        for Scene { name, summary, .. } in scenes {
            anstream::println!("{name:width$}  {summary}");
        }
        return Ok(Exit::Passed);
    }
    anstream::println!(
        "{:width$}  {:13}  {:>9}  {:>9}",
        "scene",
        "orders",
        "schedules",
        "a second"
    );
    for scene in scenes {
        for search in scene.searches {
            let search = args
                .schedules
                .map_or(*search, |schedules| search.of(schedules.get()));
            match explore(search, scene.run) {
                Ok(explored) => print(scene.name, width, search, &explored),
                Err(found) => return Ok(report(scene.name, &found)),
            }
        }
    }
    Ok(Exit::Passed)
}

fn print(name: &str, width: usize, search: Search, explored: &Explored) {
    let orders = if explored.complete {
        "all there are".into()
    } else {
        search.to_string()
    };
    let schedules = explored.schedules;
    let milliseconds = explored.time.as_millis().max(1);
    let rate = schedules as u128 * 1000 / milliseconds;
    anstream::println!("{name:width$}  {orders:13}  {schedules:>9}  {rate:>9}");
}

/// Prints the violation, and the command that replays it.
fn report(name: &str, found: &Found) -> Exit {
    anstream::println!("\n{name}\n{found}");
    anstream::println!(
        "\nharness replay {name}:{} plays it step by step",
        found.schedule
    );
    Exit::Failed
}

/// Replays one schedule of a scene, step by step.
pub fn replay_schedule(args: &Replay) -> Result<Exit> {
    let usage = || {
        Error::could_not_run(format!(
            "{:?} is not a schedule: `harness explore` prints SCENE:SCHEDULE",
            args.schedule
        ))
    };
    let (name, schedule) = args.schedule.rsplit_once(':').ok_or_else(usage)?;
    let schedule: Schedule = schedule
        .parse()
        .map_err(|error| Error::could_not_run(format!("{}: {error}", args.schedule)))?;
    let scene = find(name).ok_or_else(|| {
        Error::could_not_run(format!(
            "no scene is called {name}: `harness explore --list`"
        ))
    })?;
    let found = replay(&schedule, scene.run).map_err(|misfit| {
        let schedule = &args.schedule;
        Error::could_not_run(format!("{schedule} does not fit the scene: {misfit}"))
    })?;
    match found {
        None => {
            anstream::println!("{name}: no rule is broken in this schedule");
            Ok(Exit::Passed)
        }
        Some(found) => {
            for (number, step) in found.steps.iter().enumerate() {
                anstream::println!("{number:4}  {step}");
            }
            anstream::println!("\n{}", found.violation);
            Ok(Exit::Failed)
        }
    }
}
