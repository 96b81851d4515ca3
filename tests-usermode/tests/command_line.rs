//! The whole program, on a machine without the device: its output and its exit codes.

use std::process::Command;

/// The output of a command.
struct Printed {
    out: String,
    error: String,
}

/// Runs the harness, which must exit with this code.
#[track_caller]
fn harness(arguments: &[&str], code: i32) -> Printed {
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(arguments)
        .output()
        .expect("the harness was built and can be run");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {out}{error}"
    );
    Printed { out, error }
}

/// Runs the harness, which could not run: it exits with 2, prints this reason as an error, and nothing else.
#[track_caller]
fn could_not_run(arguments: &[&str], reason: &str) {
    let Printed { out, error } = harness(arguments, 2);
    assert!(error.contains(reason), "{arguments:?}: {error}");
    assert_eq!(out, "", "{arguments:?}");
}

#[test]
fn help_lists_examples_and_passes() {
    let help = harness(&["--help"], 0).out;
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
        could_not_run(arguments, "--help");
    }
}

#[test]
fn list_names_every_routine_with_its_scenarios() {
    let listed = harness(&["list", "--routines"], 0).out;
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
    let listed = harness(&["list"], 0).out;
    let document = include_str!("../SCENARIOS.md");
    for line in listed.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    assert!(listed.lines().count() >= 19, "{listed}");
}

#[test]
fn a_filter_that_selects_nothing_could_not_run() {
    could_not_run(&["run", "no_such_scenario"], "`harness list`");
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
        could_not_run(arguments, "the device exists only on Windows or Wine");
    }
}

#[test]
fn a_sequence_has_the_same_transcript_every_time() {
    let sequence = [
        "sequence", "--kernel", "model", "--seed", "7", "--count", "20",
    ];
    let transcript = harness(&sequence, 0).out;
    assert_eq!(transcript.matches("sequence ").count(), 20, "{transcript}");
    for processors in ["1", "5"] {
        let again = harness(&[&sequence[..], &["--processors", processors]].concat(), 0);
        assert_eq!(again.out, transcript, "{processors} processors");
    }
}

#[test]
fn a_file_without_steps_is_not_a_sequence() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_steps");
    std::fs::write(&path, "# nothing\n\n").expect("the file is written");
    let path = path.to_str().expect("a path in UTF-8");
    let sequence = ["sequence", "--kernel", "model", "--steps", path];
    could_not_run(&sequence, "contains no step");
}

#[test]
fn a_mistake_is_explored_by_its_full_name_and_replayed() {
    let said = harness(&["explore", "own_queue::taken_anyway"], 1).out;
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
    let said = harness(&again, 1).out;
    assert!(said.contains(rule), "{said}");

    harness(&["explore", "own_queue::taken_anyway, corrected"], 0);
    // A part of a name does not select mistakes, so an exploration with a filter can pass.
    harness(&["explore", "own_queue::taken"], 2);
    let listed = harness(&["explore", "--list", "own_queue::taken"], 0).out;
    assert!(listed.starts_with("own_queue::taken_anyway  "), "{listed}");
}

#[test]
fn the_replay_in_the_readme_finds_the_mistake() {
    let readme = include_str!("../../README.md");
    let (_, command) = readme.split_once("`harness replay ").expect("there is one");
    let (schedule, _) = command.split_once('`').expect("it has an end");
    let said = harness(&["replay", schedule], 1).out;
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
        could_not_run(&["replay", schedule], reason);
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
        let report = harness(&[&run[..], &[processors]].concat(), 0).out;
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
    let said = harness(&["stress", "--kernel", "model", "--seconds", "1"], 0).out;
    assert!(said.contains("ok: no request was lost"), "{said}");
}

#[cfg(not(windows))]
#[test]
fn without_windows_there_is_nothing_to_diagnose() {
    for arguments in [&["doctor"][..], &["doctor", "--format", "json"]] {
        could_not_run(arguments, "nothing to diagnose");
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
        let Printed { out, error } = harness(&[command, &driver].concat(), 1);
        let report = "the driver reads from 0x0, where there is no memory";
        let is_reported = out.contains(report) || error.contains(report);
        assert!(is_reported, "{command:?}: {out}{error}");
    }
}
