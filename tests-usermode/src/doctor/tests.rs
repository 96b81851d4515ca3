//! Each test changes one fact: the checks that depend on it must find a problem, and no other check.

use super::*;
use crate::target::Condition;

/// Returns a machine that is ready for the driver, which is not installed yet.
fn ready() -> Facts {
    Facts {
        administrator: Ok(true),
        system: Ok(System::Windows([10, 0, 26100])),
        machine: Ok(Machine::X64),
        harness: Machine::X64,
        driver: Ok(Machine::X64),
        catalog: Ok(true),
        code_integrity: Ok(options(true, false)),
        secure_boot: Ok(Some(false)),
        memory_integrity_set: Ok(None),
        in_root: Ok(true),
        in_trusted_publisher: Ok(true),
        devnodes: Ok(Vec::new()),
        service: Ok(ServiceState::NotInstalled),
    }
}

/// Returns the machine with the driver installed and its device in this condition.
fn installed(condition: Condition) -> Facts {
    Facts {
        devnodes: Ok(vec![Devnode {
            instance: r"ROOT\SYSTEM\0001".into(),
            condition,
            inf: None,
        }]),
        service: Ok(ServiceState::Running),
        ..ready()
    }
}

fn options(test_signing: bool, memory_integrity: bool) -> CodeIntegrity {
    CodeIntegrity {
        enabled: true,
        test_signing,
        memory_integrity,
    }
}

/// Returns the same facts with a change.
fn changed(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Facts {
    change(&mut facts);
    facts
}

/// Returns the checks that find a problem, each with its remedy.
fn problems(facts: &Facts) -> Vec<(&'static str, String)> {
    let findings = diagnose(facts).into_iter();
    let problem = |finding: Finding| match finding.answer {
        Answer::Problem { remedy, .. } => Some((finding.check, remedy)),
        _ => None,
    };
    findings.filter_map(problem).collect()
}

/// Returns the checks that find a problem.
fn names(facts: &Facts) -> Vec<&'static str> {
    problems(facts).into_iter().map(|(name, _)| name).collect()
}

/// Returns the remedy of the only problem.
fn remedy(facts: &Facts) -> String {
    let [(_, remedy)] = problems(facts).try_into().unwrap();
    remedy
}

/// Returns the answer of a check.
fn answer(facts: &Facts, check: &str) -> Answer {
    let mut findings = diagnose(facts).into_iter();
    let finding = findings.find(|finding| finding.check == check);
    finding.unwrap().answer
}

fn is_fine(answer: &Answer) -> bool {
    matches!(answer, Answer::Fine(_))
}

#[test]
fn machine_that_is_ready_has_no_problems() {
    for facts in [ready(), installed(Condition::Started)] {
        for finding in diagnose(&facts) {
            assert!(is_fine(&finding.answer), "{finding:?}");
        }
    }
}

#[test]
fn an_unknown_fact_is_not_a_problem() {
    fn unknown<T>() -> Result<T> {
        Err(Error::failed("the reason"))
    }
    let facts = Facts {
        administrator: unknown(),
        system: unknown(),
        machine: unknown(),
        harness: Machine::X64,
        driver: unknown(),
        catalog: unknown(),
        code_integrity: unknown(),
        secure_boot: unknown(),
        memory_integrity_set: unknown(),
        in_root: unknown(),
        in_trusted_publisher: unknown(),
        devnodes: unknown(),
        service: unknown(),
    };
    for finding in diagnose(&facts) {
        let expected = Answer::CannotTell("the reason".into());
        assert_eq!(finding.answer, expected, "{}", finding.check);
    }
}

#[test]
fn windows_must_be_recent_enough_for_the_driver() {
    for (version, expected) in [
        ([10, 0, 19041], &[][..]),
        ([10, 0, 19040], &["system"]),
        ([6, 3, 99999], &["system"]),
    ] {
        let system = System::Windows(version);
        let facts = changed(ready(), |facts| facts.system = Ok(system));
        assert_eq!(names(&facts), expected, "{version:?}");
    }
}

#[test]
fn only_an_administrator_installs() {
    let facts = changed(ready(), |facts| facts.administrator = Ok(false));
    assert_eq!(names(&facts), ["administrator"]);
}

#[test]
fn harness_and_driver_must_have_the_machines_architecture() {
    let on_arm64 = changed(ready(), |facts| facts.machine = Ok(Machine::ARM64));
    assert_eq!(names(&on_arm64), ["harness", "driver"]);
    let only_the_driver = changed(ready(), |facts| facts.driver = Ok(Machine::ARM64));
    assert_eq!(names(&only_the_driver), ["driver"]);
    assert_eq!(remedy(&only_the_driver), "cargo make build");
    let only_the_harness = changed(on_arm64, |facts| facts.driver = Ok(Machine::ARM64));
    assert_eq!(names(&only_the_harness), ["harness"]);
    assert!(remedy(&only_the_harness).starts_with("cargo make build --arch arm64"));
}

#[test]
fn a_package_without_a_catalog_is_not_signed() {
    let facts = changed(ready(), |facts| facts.catalog = Ok(false));
    assert_eq!(names(&facts), ["catalog"]);
    assert!(remedy(&facts).starts_with("cargo make package"));
    let on_arm64 = Facts {
        machine: Ok(Machine::ARM64),
        harness: Machine::ARM64,
        driver: Ok(Machine::ARM64),
        ..facts
    };
    assert_eq!(names(&on_arm64), ["catalog"]);
    assert!(remedy(&on_arm64).starts_with("inf2cat"));
}

#[test]
fn test_signing_must_be_on() {
    let facts = changed(ready(), |facts| {
        facts.code_integrity = Ok(options(false, false));
    });
    assert_eq!(names(&facts), ["test signing"]);
    assert!(remedy(&facts).starts_with("bcdedit /set testsigning on"));
}

#[test]
fn test_signing_is_not_needed_if_nothing_is_checked_or_the_driver_runs() {
    let unchecked = Facts {
        code_integrity: Ok(CodeIntegrity {
            enabled: false,
            test_signing: false,
            memory_integrity: false,
        }),
        ..ready()
    };
    let running = changed(installed(Condition::Started), |facts| {
        facts.code_integrity = Ok(options(false, false));
    });
    for facts in [unchecked, running] {
        assert_eq!(names(&facts), [""; 0]);
        let facts = changed(facts, |facts| facts.secure_boot = Ok(Some(true)));
        assert_eq!(names(&facts), [""; 0]);
    }
}

#[test]
fn secure_boot_must_be_off_for_test_signing() {
    let facts = Facts {
        secure_boot: Ok(Some(true)),
        code_integrity: Ok(options(false, false)),
        ..ready()
    };
    assert_eq!(names(&facts), ["Secure Boot", "test signing"]);
    assert!(problems(&facts)[0].1.contains("-EnableSecureBoot Off"));
    let without = changed(facts, |facts| facts.secure_boot = Ok(None));
    assert_eq!(names(&without), ["test signing"]);
}

#[test]
fn memory_integrity_is_a_problem_once_the_driver_was_not_loaded() {
    let on = |facts| Facts {
        code_integrity: Ok(options(true, true)),
        memory_integrity_set: Ok(Some(true)),
        ..facts
    };
    let check = "memory integrity";
    assert!(is_fine(&answer(&on(installed(Condition::Started)), check)));
    let untried = answer(&on(ready()), check);
    assert!(matches!(untried, Answer::CannotTell(_)), "{untried:?}");
    for code in [31, 37, 39, 48, 52] {
        let facts = on(installed(Condition::Problem(code)));
        assert_eq!(names(&facts), [check, "device"], "{code}");
        let (_, remedy) = &problems(&facts)[0];
        assert!(remedy.contains("HypervisorEnforcedCodeIntegrity"));
    }
    // A disabled device does not show whether its driver loads.
    assert_eq!(names(&on(installed(Condition::Problem(22)))), ["device"]);
}

#[test]
fn turning_memory_integrity_off_requires_a_restart() {
    let facts = Facts {
        code_integrity: Ok(options(true, true)),
        memory_integrity_set: Ok(Some(false)),
        ..ready()
    };
    assert_eq!(names(&facts), ["memory integrity"]);
    assert_eq!(remedy(&facts), "shutdown /r /t 0");
}

#[test]
fn the_certificate_must_be_in_both_stores() {
    for (in_root, in_trusted_publisher, store) in
        [(false, true, "Root"), (true, false, "TrustedPublisher")]
    {
        let facts = Facts {
            in_root: Ok(in_root),
            in_trusted_publisher: Ok(in_trusted_publisher),
            ..ready()
        };
        assert_eq!(names(&facts), [store]);
        let text = remedy(&facts);
        assert_eq!(text, format!("certutil -addstore {store} interlock.cer"));
    }
}

#[test]
fn each_condition_of_the_device_has_its_remedy() {
    let restart = r#"pnputil /restart-device "ROOT\SYSTEM\0001""#;
    let enable = r#"pnputil /enable-device "ROOT\SYSTEM\0001""#;
    let install_again = "harness remove, then harness install";
    for (condition, expected) in [
        (Condition::Problem(10), restart),
        (Condition::Problem(14), "shutdown /r /t 0"),
        (Condition::Problem(22), enable),
        (Condition::Problem(28), "harness install"),
        (Condition::Stopped, restart),
        (Condition::Absent, install_again),
    ] {
        let facts = installed(condition);
        assert_eq!(names(&facts), ["device"], "{condition}");
        assert_eq!(remedy(&facts), expected, "{condition}");
    }
    for (code, expected) in [(32, "sc.exe config"), (48, "wevtutil"), (52, "wevtutil")] {
        let remedy = remedy(&installed(Condition::Problem(code)));
        assert!(remedy.starts_with(expected), "{code}: {remedy}");
    }
}

#[test]
fn only_one_device_may_exist() {
    let mut facts = installed(Condition::Started);
    let mut devnodes = facts.devnodes.clone().unwrap();
    devnodes.extend(devnodes.clone());
    facts.devnodes = Ok(devnodes);
    assert_eq!(names(&facts), ["device"]);
}

#[test]
fn a_device_without_a_service_must_be_installed_again() {
    let facts = changed(installed(Condition::Unknown), |facts| {
        facts.service = Ok(ServiceState::NotInstalled);
    });
    assert_eq!(names(&facts), ["service"]);
}

#[test]
fn wine_requires_no_signature() {
    let facts = Facts {
        system: Ok(System::Wine("8.0".into())),
        catalog: Ok(false),
        code_integrity: Ok(options(false, false)),
        secure_boot: Ok(None),
        in_root: Ok(false),
        in_trusted_publisher: Ok(false),
        ..installed(Condition::Unknown)
    };
    assert_eq!(names(&facts), [""; 0]);
}
