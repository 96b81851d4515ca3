//! The whole program, on a machine without the device: its output and its exit codes.

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
fn help_lists_examples_and_passes() {
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
        // These would pass without doing anything.
        &["run", "--iterations", "0"],
        &["run", "--timeout", "0"],
        &["run", "--processors", "0"],
        &["stress", "--seconds", "0"],
        &["stress", "--threads", "0"],
        &["stress", "--pending", "0"],
        &["explore", "--schedules", "0"],
        &["sequence", "--count", "0"],
        &["hold", "--count", "0"],
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
fn without_the_device_commands_that_need_it_report_that() {
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
fn a_file_without_steps_is_not_a_sequence() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_steps");
    std::fs::write(&path, "# nothing\n\n").expect("the file is written");
    let path = path.to_str().expect("a path in UTF-8");
    let output = harness(&["sequence", "--kernel", "model", "--steps", path]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("contains no step"), "{said}");
}

#[test]
fn a_mistake_is_explored_by_its_full_name_and_replayed() {
    let explored = harness(&["explore", "own_queue::taken_anyway"]);
    let said = stdout(&explored);
    assert_eq!(explored.status.code(), Some(1), "{said}");
    let rule = "rule     DoubleCompletion";
    assert!(said.contains(rule), "{said}");
    let again = said.lines().find_map(|line| {
        let command = line.strip_prefix("harness ")?;
        command.strip_suffix(" repeats it step by step")
    });
    let again: Vec<_> = again
        .expect("the command that replays it")
        .split(' ')
        .collect();
    let replayed = harness(&again);
    let said = stdout(&replayed);
    assert_eq!(replayed.status.code(), Some(1), "{said}");
    assert!(said.contains(rule), "{said}");

    let correct = harness(&["explore", "own_queue::taken_anyway, corrected"]);
    assert_eq!(correct.status.code(), Some(0), "{}", stdout(&correct));
    // A part of a name does not select mistakes, so an exploration with a filter can pass.
    let part = harness(&["explore", "own_queue::taken"]);
    assert_eq!(part.status.code(), Some(2), "{}", stdout(&part));
    let listed = stdout(&harness(&["explore", "--list", "own_queue::taken"]));
    assert!(listed.starts_with("own_queue::taken_anyway  "), "{listed}");
}

#[test]
fn the_replay_in_the_readme_finds_the_mistake() {
    let readme = include_str!("../../README.md");
    let (_, command) = readme.split_once("`harness replay ").expect("there is one");
    let (schedule, _) = command.split_once('`').expect("it has an end");
    let output = harness(&["replay", schedule]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{}", stderr(&output));
    assert!(said.contains("rule     DoubleCompletion"), "{said}");
}

#[test]
fn a_schedule_that_does_not_fit_its_test_could_not_run() {
    for (schedule, reason) in [
        // At first only thread a can run.
        (
            "queue::cancel_against_completion:b",
            "at step 1 thread b cannot continue",
        ),
        // Later it waits for the other threads.
        (
            "queue::cancel_against_completion:a100000",
            "thread a cannot continue",
        ),
        ("queue::cancel_against_completion:", "at least one step"),
        (
            "queue::cancel_against_completion:A",
            "does not name a thread of a schedule",
        ),
        ("cancel_against_completion", "is not a schedule"),
        ("no_such::test:a", "no test is named"),
    ] {
        let output = harness(&["replay", schedule]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{schedule}: {said}");
        assert!(said.contains(reason), "{schedule}: {said}");
        assert_eq!(stdout(&output), "", "{schedule}");
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
        // On a busy machine, so few rounds may end before the other thread runs.
        let ignored = report
            .lines()
            .filter(|line| line.contains("... ignored, ") && !line.ends_with("never overlapped"));
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

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../model/tests/image_file/mod.rs"]
mod image_file;

/// The thread that calls `DriverEntry` never returns, so another one must end the program.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn image_that_breaks_a_rule_in_driver_entry_fails_each_command() {
    // xor eax, eax; mov al, [rax]
    let image = image_file::ImageFile::new(&[0x31, 0xc0, 0x8a, 0x00]).bytes();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("faulty.sys");
    std::fs::write(&path, image).expect("the folder is there");
    let driver = ["--driver", path.to_str().expect("it is text")];
    for command in [
        &["run"][..],
        &["stress", "--seconds", "1"],
        &["sequence", "--count", "1"],
    ] {
        let output = harness(&[command, &driver].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let (stdout, stderr) = (stdout(&output), stderr(&output));
        let report = "the driver reads from 0x0, where there is no memory";
        assert!(
            stdout.contains(report) || stderr.contains(report),
            "{command:?}: {stdout}{stderr}"
        );
    }
}
