//! Every mistake is found, by its rule, and found again; and its correct twin passes.

use std::{collections::HashSet, time::Duration};

use interlock_explore::faulty::{FAULTS, Fault};
use ntmodel::explore::{Schedule, Search, explore, replay};

#[test]
fn names_are_unique() {
    let names = FAULTS
        .iter()
        .flat_map(|fault| [fault.name, fault.twin_name]);
    let mut seen = HashSet::new();
    for name in names {
        assert!(seen.insert(name), "{name} is there twice");
        assert!(interlock_explore::find(name).is_some());
    }
}

#[test]
fn every_mistake_is_found_by_its_rule_and_found_again() {
    for fault in FAULTS {
        let Err(found) = explore(fault.search, fault.faulty) else {
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
        found_again(fault, &found.schedule.to_string());
    }
}

/// Plays the schedule of a mistake, as it was printed.
fn found_again(fault: &Fault, printed: &str) {
    let schedule = printed.parse::<Schedule>().expect("it was printed");
    let Ok(Some(found)) = replay(&schedule, fault.faulty) else {
        panic!("{} was not found again by {printed}", fault.name);
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

#[test]
fn every_twin_passes() {
    for fault in FAULTS {
        match explore(fault.search, fault.twin) {
            Ok(explored) => {
                println!("{:40} {explored:?}", fault.twin_name);
                let whole = matches!(fault.search, Search::DepthFirst { .. });
                assert_eq!(explored.complete, whole, "{}", fault.twin_name);
            }
            Err(found) => panic!("{}:\n{found}", fault.twin_name),
        }
    }
}
