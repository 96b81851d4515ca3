//! Every mistake breaks its rule in some schedule, and again when the schedule is replayed. Every correct version passes.

use std::{collections::HashSet, time::Duration};

use interlock_explore::faulty::{Fault, faults};
use ntmodel::explore::{Schedule, Search, explore, replay};

const EVERY: Search = Search::every(1_000_000);

#[test]
fn names_are_unique() {
    let names = faults().flat_map(|fault| [fault.name, fault.correct_name]);
    let mut seen = HashSet::new();
    for name in names {
        assert!(seen.insert(name), "{name} is defined twice");
        assert!(interlock_explore::find(name).is_some());
    }
}

#[test]
fn every_mistake_breaks_its_rule_and_again_in_a_replay() {
    for fault in faults() {
        let Err(found) = explore(EVERY, fault.faulty) else {
            panic!("{} was not found", fault.name);
        };
        println!(
            "{:38} {:28} {:5} schedules {:6.3} s  {}",
            fault.name,
            fault.rule.name(),
            found.schedules,
            found.time.as_secs_f64(),
            found.schedule
        );
        assert_eq!(found.violation.rule, fault.rule, "{}:\n{found}", fault.name);
        assert!(found.time < Duration::from_secs(10), "{}", fault.name);
        replay_finds(fault, &found.schedule.to_string());
    }
}

/// Checks that the printed schedule of a mistake finds it again.
fn replay_finds(fault: &Fault, printed: &str) {
    let schedule = printed
        .parse::<Schedule>()
        .expect("a printed schedule is valid");
    let Ok(Some(found)) = replay(&schedule, fault.faulty) else {
        panic!("the replay of {printed} did not find {}", fault.name);
    };
    assert_eq!(found.violation.rule, fault.rule, "{}:\n{found}", fault.name);
    assert_eq!(found.schedule, schedule, "{}", fault.name);
    let (family, _) = fault.name.split_once("::").expect("family::mistake");
    let source = format!("explore/src/faulty/{family}");
    let of_family = found
        .steps
        .iter()
        .any(|step| step.caller.contains(&source) && step.caller.contains(".rs:"));
    assert!(
        of_family,
        "{}: no step is in {source}: {:#?}",
        fault.name, found.steps
    );
}

/// Each kind of depth-first search finds each mistake, since none of them is visible in plain memory only.
#[test]
fn every_search_finds_every_mistake() {
    const MAX: usize = 1_000_000;
    for search in [Search::unreduced(MAX), Search::guarded(MAX)] {
        for fault in faults() {
            let Err(found) = explore(search, fault.faulty) else {
                panic!("{} was not found: {search}", fault.name);
            };
            assert_eq!(found.violation.rule, fault.rule, "{search}: {}", fault.name);
        }
    }
}

#[test]
fn every_correct_version_passes() {
    for fault in faults() {
        match explore(EVERY, fault.correct) {
            Ok(explored) => {
                println!("{:40} {explored:?}", fault.correct_name);
                assert!(explored.complete, "{}", fault.correct_name);
            }
            Err(found) => panic!("{}:\n{found}", fault.correct_name),
        }
    }
}
