//! The checks.

#![expect(
    clippy::unnecessary_wraps,
    reason = "a check returns what these return"
)]

use super::{Answer, Facts, Machine, System, known};
use crate::error::Result;
use crate::target::{Condition, Devnode, ServiceState};

/// Checks one thing. An error is the reason why the result is not known.
pub type Check = fn(&Facts) -> Result<Answer>;

/// Every check, in the order in which problems are best solved.
pub const ALL: &[(&str, Check)] = &[
    ("system", system),
    ("administrator", administrator),
    ("harness", harness),
    ("driver", driver),
    ("catalog", catalog),
    ("Secure Boot", secure_boot),
    ("test signing", test_signing),
    ("memory integrity", memory_integrity),
    ("Root", root),
    ("TrustedPublisher", trusted_publisher),
    ("device", device),
    ("service", service),
];

/// Windows 10, version 2004: the first build that the INF supports, and the first with `ExAllocatePool2`.
const FIRST_BUILD: u32 = 19041;

const RESTART: &str = "shutdown /r /t 0";

/// The command that shows why code integrity did not load a driver.
const WHY_NOT_LOADED: &str =
    "wevtutil qe Microsoft-Windows-CodeIntegrity/Operational /c:5 /rd:true /f:text (shows why)";

fn fine(what: impl Into<String>) -> Result<Answer> {
    Ok(Answer::Fine(what.into()))
}

fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Result<Answer> {
    Ok(Answer::Problem {
        what: what.into(),
        remedy: remedy.into(),
    })
}

fn cannot_tell(why: impl Into<String>) -> Result<Answer> {
    Ok(Answer::CannotTell(why.into()))
}

fn system(facts: &Facts) -> Result<Answer> {
    match known(&facts.system)? {
        System::Wine(version) => fine(format!("Wine {version}, which checks no signatures")),
        System::Windows(version) => {
            let [major, minor, build] = version;
            let name = format!("Windows {major}.{minor}.{build}");
            if *version >= [10, 0, FIRST_BUILD] {
                fine(name)
            } else {
                problem(
                    format!("{name} is too old for the driver"),
                    format!("use Windows 10, version 2004 (build {FIRST_BUILD}), or later"),
                )
            }
        }
    }
}

fn administrator(facts: &Facts) -> Result<Answer> {
    if *known(&facts.administrator)? {
        fine("yes")
    } else {
        problem(
            "no: only an administrator installs a driver or opens the device",
            "powershell Start-Process cmd -Verb RunAs",
        )
    }
}

fn harness(facts: &Facts) -> Result<Answer> {
    architecture("this program", facts.harness, *known(&facts.machine)?)
}

fn driver(facts: &Facts) -> Result<Answer> {
    let driver = *known(&facts.driver)?;
    architecture("interlock.sys", driver, *known(&facts.machine)?)
}

fn architecture(file: &str, built_for: Machine, machine: Machine) -> Result<Answer> {
    if built_for == machine {
        return fine(format!("built for {built_for}, like this machine"));
    }
    let what = format!("{file} is built for {built_for}, and this machine is {machine}");
    match machine {
        Machine::ARM64 => problem(
            what,
            "cargo make build --arch arm64 (on Windows, since other hosts cannot build harness.exe for ARM64)",
        ),
        Machine::X64 => problem(what, "cargo make build"),
        _ => problem(what, "use an x64 or an ARM64 machine"),
    }
}

fn catalog(facts: &Facts) -> Result<Answer> {
    if !signatures_matter(facts) {
        return fine("not needed");
    }
    if *known(&facts.catalog)? {
        fine("interlock.cat exists; Windows checks its signature when it installs the driver")
    } else {
        problem(
            "there is no interlock.cat in the folder of this program: its package is not signed",
            if matches!(facts.machine, Ok(Machine::ARM64)) {
                "inf2cat and signtool, of the WDK: cargo make package supports only x64"
            } else {
                "cargo make package, and the harness.exe in target/package"
            },
        )
    }
}

/// Returns whether the system checks a driver's signature. If the system is not known, it does.
fn signatures_matter(facts: &Facts) -> bool {
    !matches!(facts.system, Ok(System::Wine(_)))
}

fn secure_boot(facts: &Facts) -> Result<Answer> {
    match known(&facts.secure_boot)? {
        None => fine("not supported by this firmware"),
        Some(false) => fine("off"),
        Some(true) if driver_is_accepted(facts) => fine("on, and the driver is accepted"),
        Some(true) => problem(
            "on: test signing cannot be turned on under it",
            "in a VM, on its host, while it is off: Set-VMFirmware -VMName NAME -EnableSecureBoot Off; \
             else shutdown /r /fw /t 0, and turn it off in the firmware's setup",
        ),
    }
}

fn test_signing(facts: &Facts) -> Result<Answer> {
    if !signatures_matter(facts) {
        return fine("not needed");
    }
    let code_integrity = known(&facts.code_integrity)?;
    if code_integrity.test_signing {
        fine("on")
    } else if !code_integrity.enabled {
        fine("off, and no signature is checked at all")
    } else if driver_runs(facts) {
        fine("off, and the driver runs without it")
    } else {
        problem(
            "off: a test-signed driver is not loaded",
            format!(
                "bcdedit /set testsigning on, then {RESTART}; before that, manage-bde -protectors -disable C: -rebootcount 0 if BitLocker is on"
            ),
        )
    }
}

fn memory_integrity(facts: &Facts) -> Result<Answer> {
    let set = known(&facts.memory_integrity_set)?;
    if !known(&facts.code_integrity)?.memory_integrity {
        return fine(match set {
            Some(true) => "off, although it is set to be on",
            _ => "off",
        });
    }
    if driver_runs(facts) {
        return fine("on, and the driver runs under it");
    }
    if *set == Some(false) {
        return problem("on until the next restart", RESTART);
    }
    if driver_was_not_loaded(facts) {
        return problem(
            "on, and the driver was not loaded",
            format!(
                "reg add HKLM\\SYSTEM\\CurrentControlSet\\Control\\DeviceGuard\\Scenarios\\\
                 HypervisorEnforcedCodeIntegrity /v Enabled /t REG_DWORD /d 0 /f, then {RESTART} \
                 (or Windows Security, Device security, Core isolation)"
            ),
        );
    }
    cannot_tell(
        "on: it rejects drivers that break its rules, and whether this driver does is known only once it is loaded",
    )
}

fn root(facts: &Facts) -> Result<Answer> {
    store("Root", facts, &facts.in_root)
}

fn trusted_publisher(facts: &Facts) -> Result<Answer> {
    store("TrustedPublisher", facts, &facts.in_trusted_publisher)
}

fn store(name: &str, facts: &Facts, has_certificate: &Result<bool>) -> Result<Answer> {
    if !signatures_matter(facts) {
        return fine("not needed");
    }
    if *known(has_certificate)? {
        fine("interlock.cer is in the machine's store")
    } else {
        problem(
            "interlock.cer is not in the machine's store",
            format!("certutil -addstore {name} interlock.cer"),
        )
    }
}

fn device(facts: &Facts) -> Result<Answer> {
    let devnodes = known(&facts.devnodes)?;
    let bad = devnodes.iter().find(|devnode| !devnode.condition.is_good());
    match (bad, devnodes.as_slice()) {
        (Some(devnode), _) => problem(
            format!("{}: {}", devnode.instance, devnode.condition),
            device_remedy(devnode),
        ),
        (None, []) => fine("does not exist yet: harness install creates it"),
        (None, [devnode]) => fine(format!("{}: {}", devnode.instance, devnode.condition)),
        (None, many) => problem(
            format!("there are {} devices, and there should be one", many.len()),
            "harness remove, then harness install",
        ),
    }
}

/// Returns the remedy for a device that is not started.
fn device_remedy(devnode: &Devnode) -> String {
    let instance = &devnode.instance;
    let restart_device = format!("pnputil /restart-device \"{instance}\"");
    match devnode.condition {
        Condition::Problem(14 | 21 | 38) => RESTART.into(),
        Condition::Problem(22) => format!("pnputil /enable-device \"{instance}\""),
        Condition::Problem(1 | 18 | 28) => "harness install".into(),
        Condition::Problem(32) => {
            format!("sc.exe config interlock start= demand, then {restart_device}")
        }
        Condition::Problem(48) => WHY_NOT_LOADED.into(),
        Condition::Problem(code) if is_load_failure(code) => {
            format!("{WHY_NOT_LOADED}; solve the problems above, then {restart_device}")
        }
        Condition::Absent => "harness remove, then harness install".into(),
        _ => restart_device,
    }
}

/// Returns whether a `CM_PROB` code means that the driver's image was not loaded.
const fn is_load_failure(code: u32) -> bool {
    // CM_PROB_FAILED_ADD, FAILED_DRIVER_ENTRY, DRIVER_FAILED_LOAD, DRIVER_BLOCKED, UNSIGNED_DRIVER
    matches!(code, 31 | 37 | 39 | 48 | 52)
}

fn service(facts: &Facts) -> Result<Answer> {
    let state = known(&facts.service)?;
    let devnodes = facts.devnodes.as_deref().unwrap_or_default();
    match state {
        ServiceState::NotInstalled if !devnodes.is_empty() => problem(
            "not installed, although the device exists",
            "harness install",
        ),
        // The check of the device reports why it does not run.
        _ => fine(state.to_string()),
    }
}

fn driver_runs(facts: &Facts) -> bool {
    let mut devnodes = facts.devnodes.iter().flatten();
    devnodes.any(|devnode| devnode.condition == Condition::Started)
}

fn driver_was_not_loaded(facts: &Facts) -> bool {
    let failed = |code| matches!(code, Condition::Problem(code) if is_load_failure(code));
    let mut devnodes = facts.devnodes.iter().flatten();
    devnodes.any(|devnode| failed(devnode.condition))
}

/// Returns whether the driver runs, or its signature does not prevent it.
fn driver_is_accepted(facts: &Facts) -> bool {
    let accepted = |it: &super::CodeIntegrity| it.test_signing || !it.enabled;
    driver_runs(facts)
        || !signatures_matter(facts)
        || facts.code_integrity.as_ref().is_ok_and(accepted)
}
