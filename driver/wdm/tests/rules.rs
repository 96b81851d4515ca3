//! Checks that RULES.md lists every rule, and only tests that exist.

use std::{collections::HashSet, fs, path::Path};

/// Static Driver Verifier's rules that this crate enforces.
const RULES: &[&str] = &[
    "CancelSpinLock",
    "CancelSpinLockRelease",
    "SpinLock",
    "SpinLockDpc",
    "SpinlockRelease",
    "SpinLockSafe",
    "QueuedSpinLock",
    "QueuedSpinLockRelease",
    "IrqlKeReleaseSpinLock",
    "IrqlKeDispatchLte",
    "IrqlDispatch",
    "IrqlKeRaiseLower",
    "IrqlReturn",
    "IrqlIoApcLte",
    "IrqlExAllocatePool",
    "IrqlKeApcLte1",
    "IrqlKeApcLte2",
    "PowerDownFail",
    "PowerUpFail",
    "ForwardedAtBadIrql",
    "IrpCancelField",
    "MarkIrpPending",
    "MarkIrpPending2",
    "MarkingQueuedIrps",
    "MarkingInterlockedQueuedIrps",
    "PendedCompletedRequest",
    "DoubleCompletion",
    "CompleteRequest",
    "CompleteRequestStatusCheck",
    "IoAllocateComplete",
    "IrpProcessingComplete",
    "LowerDriverReturn",
    "StartIoCancel",
    "StartIoRecursion",
];

/// The rows of the table: a rule, and the names of its tests.
fn rows() -> Vec<(String, Vec<String>)> {
    let table = include_str!("../RULES.md").lines();
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split(" | ");
        let rule = cells.next()?.trim().to_owned();
        let tests = cells.next()?.split('`').skip(1).step_by(2);
        Some((rule, tests.map(str::to_owned).collect()))
    };
    let rows = table.filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    rows.skip(1).filter_map(row).collect()
}

/// Converts the name of a rule to the name of its test.
fn snake_case(rule: &str) -> String {
    let mut name = String::new();
    let mut last = '_';
    for letter in rule.chars() {
        if letter.is_uppercase() && last != '_' {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
        last = letter;
    }
    name
}

#[test]
fn every_rule_has_a_row_and_a_test_that_names_it() {
    let rows = rows();
    let listed: Vec<_> = rows.iter().map(|(rule, _)| rule.as_str()).collect();
    assert_eq!(listed, RULES);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    for (rule, tests) in &rows {
        assert!(
            tests.contains(&snake_case(rule)),
            "{rule} has no test of its name"
        );
        let heads = tests.iter().map(|test| {
            let path = folder.join(test).with_extension("rs");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        let words: HashSet<String> = heads
            .flat_map(|text| {
                let head = text.lines().take_while(|line| line.starts_with("//!"));
                let parts = head.flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
                parts.map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        assert!(
            words.contains(rule),
            "no test of {rule} names it: {tests:?}"
        );
    }
}
