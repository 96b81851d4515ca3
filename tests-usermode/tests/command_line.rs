//! The program as a whole, on a machine that has no device: what it prints and how it exits.

use std::process::{Command, Output};

fn harness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(arguments)
        .output()
        .expect("the harness was built and can be run")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_says_what_to_do_and_passes() {
    let output = harness(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for line in [
        "Usage: harness",
        "Examples:",
        "harness install",
        "Exit code:",
    ] {
        assert!(help.contains(line), "{line} is not in:\n{help}");
    }
}

#[test]
fn bad_usage_could_not_run() {
    for arguments in [
        &["fly"][..],
        &["run", "--exact"],
        &["stress", "--threads", "none"],
    ] {
        let output = harness(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("--help"), "{arguments:?}");
    }
}

#[test]
fn list_names_every_routine_with_its_scenarios() {
    let output = harness(&["list", "--routines"]);
    assert_eq!(output.status.code(), Some(0));
    let listed = stdout(&output);
    let is_scenario = |line: &&str| line.starts_with(' ');
    let routines = listed.lines().filter(|line| !is_scenario(line));
    assert!(
        routines.eq(interlock_abi::Routine::ALL
            .iter()
            .map(|routine| routine.name()))
    );
    let insertion = "\nExInterlockedInsertHeadList\n    interlocked::either_end\n";
    assert!(listed.contains(insertion), "{listed}");
    assert!(listed.lines().filter(is_scenario).count() >= 31, "{listed}");
}

#[test]
fn list_names_every_scenario_of_the_document() {
    let output = harness(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    let listed = stdout(&output);
    let document = include_str!("../SCENARIOS.md");
    for line in listed.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    assert!(listed.lines().count() >= 19, "{listed}");
}

#[test]
fn a_filter_that_selects_nothing_could_not_run() {
    let output = harness(&["run", "no_such_scenario"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`harness list`"));
    assert_eq!(stdout(&output), "");
}

#[cfg(not(windows))]
#[test]
fn without_a_device_whatever_needs_one_says_so() {
    for arguments in [
        &["install"][..],
        &["remove"],
        &["status"],
        &["run", "--kernel", "device"],
        &["run", "--kernel", "device", "--format", "json"],
        &["stress", "--kernel", "device", "--seconds", "1"],
        &["sequence", "--kernel", "device"],
    ] {
        let output = harness(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = stderr(&output);
        assert!(
            said.contains("the device is on Windows or Wine only"),
            "{arguments:?}: {said}"
        );
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_sequence_has_the_same_transcript_every_time() {
    let sequence = [
        "sequence", "--kernel", "model", "--seed", "7", "--count", "20",
    ];
    let first = harness(&sequence);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let transcript = stdout(&first);
    assert_eq!(transcript.matches("sequence ").count(), 20, "{transcript}");
    for processors in ["1", "5"] {
        let again = harness(&[&sequence[..], &["--processors", processors]].concat());
        assert_eq!(stdout(&again), transcript, "{processors} processors");
    }
}

#[test]
fn every_scenario_passes_on_the_model() {
    for processors in ["1", "2", "8"] {
        let run = [
            "run",
            "--kernel",
            "model",
            "--iterations",
            "500",
            "--processors",
        ];
        let output = harness(&[&run[..], &[processors]].concat());
        let report = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{report}{}", stderr(&output));
        // On a machine with much else to do, so few rounds may be over before the other thread runs.
        let ignored = report
            .lines()
            .filter(|line| line.contains("... ignored, ") && !line.ends_with("nothing was raced"));
        let ignored: Vec<&str> = ignored.collect();
        assert!(
            matches!(ignored[..], [line] if line.contains("teardown::kill_process")),
            "{ignored:?}"
        );
    }
}

#[test]
fn stress_on_the_model_loses_nothing() {
    let stress = ["stress", "--kernel", "model", "--seconds", "1"];
    let output = harness(&stress);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    assert!(said.contains("ok: none was lost"), "{said}");
}

#[cfg(not(windows))]
#[test]
fn without_windows_there_is_nothing_to_diagnose() {
    for arguments in [&["doctor"][..], &["doctor", "--format", "json"]] {
        let output = harness(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = stderr(&output);
        assert!(
            said.contains("nothing to diagnose"),
            "{arguments:?}: {said}"
        );
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}
