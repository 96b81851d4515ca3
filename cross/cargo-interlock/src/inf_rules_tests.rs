//! Puts one defect at a time into the driver's own INF, and checks that exactly the rule for it fails.

use super::{contents::LEGACY_DIRECTIVES, *};
use crate::{arch::Arch, stamp::Stamp};

/// The driver's INF, stamped for x86-64.
fn inf() -> String {
    inf_for(Arch::X64)
}

/// The driver's INF, stamped for an architecture.
fn inf_for(arch: Arch) -> String {
    let stamp = Stamp {
        arch,
        version: "1.2.3.0",
        date: "02/29/2024".into(),
    };
    stamp
        .apply(include_str!("../../../inf/interlock.inx"))
        .unwrap()
}

/// Returns the rules that an INF for x86-64 breaks.
fn broken(text: &str) -> Vec<&'static str> {
    broken_for(Arch::X64, text)
}

/// Returns the rules that an INF for an architecture breaks.
fn broken_for(arch: Arch, text: &str) -> Vec<&'static str> {
    let broken = all(text, arch)
        .unwrap()
        .into_iter()
        .filter(|check| check.outcome.is_err());
    broken.map(|check| check.name).collect()
}

/// Returns the rules that the INF breaks if a text is replaced everywhere.
#[track_caller]
fn with(text: &str, replacement: &str) -> Vec<&'static str> {
    let inf = inf();
    assert!(inf.contains(text), "{text}");
    broken(&inf.replace(text, replacement))
}

/// Returns the rules that the INF breaks if a line is added after another.
#[track_caller]
fn with_line(after: &str, line: &str) -> Vec<&'static str> {
    with(after, &format!("{after}\r\n{line}\r\n"))
}

#[test]
fn inf_of_interlock_breaks_no_rule() {
    for arch in Arch::ALL {
        assert_eq!(broken_for(arch, &inf_for(arch)), [""; 0]);
    }
}

#[test]
fn inf_of_another_architecture_is_refused() {
    let rule = ["models are decorated"];
    assert_eq!(broken_for(Arch::Arm64, &inf_for(Arch::X64)), rule);
    assert_eq!(broken_for(Arch::X64, &inf_for(Arch::Arm64)), rule);
}

/// A file that is cut off anywhere is checked without a panic, and breaks at least as many rules.
#[test]
fn truncated_inf_is_refused() {
    let inf = inf();
    for length in 0..inf.len() {
        if let Ok(checks) = all(&inf[..length], Arch::X64) {
            assert_eq!(checks.len(), RULES.len() + 1);
        }
    }
    assert!(broken("").len() > RULES.len() / 2);
}

#[test]
fn signature() {
    let found = with("\"$Windows NT$\"", "\"$Chicago$\"");
    assert_eq!(found, ["signature (1001)"]);
    assert_eq!(with("Signature ", ";"), ["signature (1001)"]);
}

#[test]
fn provider() {
    let rule = ["provider (1204)"];
    let found = with("Provider    = %Manufacturer%", "Provider = Microsoft");
    assert_eq!(found, rule);
    assert_eq!(with("\"The Interlock developers\"", "Microsoft"), rule);
    assert_eq!(with("Provider    = %Manufacturer%", "Provider ="), rule);
}

#[test]
fn class() {
    let rule = ["class"];
    assert_eq!(with("Class       = System", ""), rule);
    assert_eq!(with("{4d36e97d-", "{4d36e97e-"), rule);
}

#[test]
fn driver_version() {
    for wrong in [
        "02/29/2024,1.2.3",
        "02/29/2024,1.2.3.65536",
        "2024/02/29,1.2.3.0",
        "13/01/2024,1.2.3.0",
        "02/29/2024",
        "1.2.3.0",
        "",
    ] {
        let found = with("02/29/2024,1.2.3.0", wrong);
        assert_eq!(found, ["driver version (1217)"], "{wrong}");
    }
}

#[test]
fn catalog() {
    assert_eq!(with("CatalogFile = interlock.cat", ""), ["catalog (1233)"]);
    assert_eq!(with("interlock.cat", "interlock.sys"), ["catalog (1233)"]);
    let found = with("interlock.cat", r"x64\interlock.cat");
    assert_eq!(found, ["catalog (1233)"]);
}

#[test]
fn locked_down() {
    assert_eq!(with("PnpLockdown = 1", "PnpLockdown = 0"), ["locked down"]);
    assert_eq!(with("PnpLockdown = 1", ""), ["locked down"]);
}

#[test]
fn models_are_decorated() {
    let decoration = "NTamd64.10.0...19041";
    for (wrong, replacement) in [
        (format!(",{decoration}"), String::new()),
        (decoration.into(), "NT.10.0...19041".into()),
        (decoration.into(), "NTamd64".into()),
        (decoration.into(), "NTamd64.6.3".into()),
        (decoration.into(), "NTamd64.10.0...15063".into()),
        (decoration.into(), "NTamd64.10.0.1..19041".into()),
    ] {
        let broken = match replacement.as_str() {
            // The section's name changes with it.
            "" => broken(
                &inf()
                    .replace(&wrong, "")
                    .replace(&format!("Models.{decoration}"), "Models"),
            ),
            _ => with(&wrong, &replacement),
        };
        assert_eq!(broken, ["models are decorated"], "{replacement}");
    }
}

#[test]
fn devices() {
    let found = with(r"Interlock, root\interlock", "Interlock");
    assert_eq!(found, ["devices (1297)"]);
}

#[test]
fn service_for_each_device() {
    let rules = ["service for each device (1296)"];
    let found = with("interlock,0x00000002,", "interlock,0x00000000,");
    assert_eq!(found, rules);
    assert_eq!(with("interlock,0x00000002,", "interlock,,"), rules);
    assert_eq!(
        with("[Interlock.NT.Services]", "[Interlock.NTx86.Services]"),
        ["service for each device (1296)", "sections (1203, 2083)"]
    );
}

#[test]
fn service_is_a_pnp_driver() {
    let rule = ["service is a PnP driver"];
    for (text, wrong) in [
        ("ServiceType   = 1", "ServiceType = 0x10"),
        ("StartType     = 3", "StartType = 0"),
        ("StartType     = 3", ""),
        ("ErrorControl  = 1", "ErrorControl = 4"),
        (r"%13%\interlock.sys", r"%12%\interlock.sys"),
        (r"%13%\interlock.sys", r"%13%\other.sys"),
    ] {
        assert_eq!(with(text, wrong), rule, "{wrong}");
    }
}

#[test]
fn legacy_sections() {
    let rules = [
        "no legacy section (1212, 1285, 1300)",
        "sections (1203, 2083)",
    ];
    for section in [
        "DefaultInstall",
        "defaultinstall.NTamd64",
        "ClassInstall32",
        "Interlock.NT.CoInstallers",
        "Interlock.NT.FactDef",
        "Interlock.NT.LogConfigOverride",
    ] {
        let found = with("[Strings]", &format!("[{section}]\r\n[Strings]"));
        assert_eq!(found, rules, "{section}");
    }
}

#[test]
fn legacy_directives() {
    for directive in LEGACY_DIRECTIVES {
        let line = format!("{} = Interlock.Old", directive.to_ascii_uppercase());
        let found = with_line("[Interlock.NT]", &line);
        assert_eq!(found, ["no legacy directive (1301)"], "{directive}");
    }
}

#[test]
fn registry_values() {
    let add = |line: &str| with_line("[Interlock.Service.AddReg]", line);
    for root in ["HKLM", "HKCR", "HKCU", "HKU"] {
        let line = format!("{root},Software\\Interlock,One,,two");
        assert_eq!(
            add(&line),
            ["registry relative to the device (1221, 1304)"],
            "{root}"
        );
    }
    let found = add("HKR,,CoInstallers32,0x00010000,\"old.dll\"");
    assert_eq!(found, ["no co-installer (1303)"]);
    let found = add("HKR,,UpperFilters,0x00010008,\"other\"");
    assert_eq!(found, ["nothing appended (1305)"]);
}

#[test]
fn files_have_a_source() {
    let rule = ["files have a source (1230)"];
    assert_eq!(with_line("[Interlock.CopyFiles]", "more.dll"), rule);
    assert_eq!(with_line("[Interlock.NT]", "CopyFiles = @more.dll"), rule);
    assert_eq!(with("interlock.sys = 1", "interlock.sys = 2"), rule);
}

#[test]
fn files_run_from_the_driver_store() {
    let rule = ["files run from the driver store (1100, 1306)"];
    assert_eq!(with("DefaultDestDir = 13", "DefaultDestDir = 12"), rule);
    assert_eq!(with("DefaultDestDir = 13", "DefaultDestDir = 13,x64"), rule);
    let found = with("DefaultDestDir = 13", "Interlock.CopyFiles = 13");
    assert_eq!(found, rule);
    let found = with_line("DefaultDestDir = 13", "Interlock.CopyFiles = 10,SysWOW64");
    assert_eq!(found, rule);
    let found = with_line("[Interlock.CopyFiles]", "interlock.sys,interlock_sys.dll");
    assert_eq!(found, rule);
    assert_eq!(with("interlock.sys = 1", "interlock.sys = 1,x64"), rule);
}

#[test]
fn strings() {
    assert_eq!(with("DeviceName   =", ";"), ["strings (1235)"]);
    let found = with("= %ServiceName%", "= %SystemRoot%");
    assert_eq!(found, ["strings (1235)"]);
}

/// Moves each value of the driver's own INF in turn into `[Strings]`; no rule is broken.
#[test]
fn any_value_may_be_a_string() {
    let inf = inf();
    let lines: Vec<_> = inf.lines().collect();
    let end = lines.iter().position(|&line| line == "[Strings]").unwrap();
    let mut tried = 0;
    for (index, line) in lines[..end].iter().enumerate() {
        let content = line.split(';').next().unwrap_or_default();
        if content.starts_with('[') || content.contains('"') {
            continue;
        }
        let (key, values) = content.split_at(content.find('=').map_or(0, |at| at + 1));
        let is_literal = |value: &&str| !value.is_empty() && !value.contains('%');
        for value in values.split(',').map(str::trim).filter(is_literal) {
            let moved = format!("{key}{}", values.replacen(value, "%value%", 1));
            let mut lines = lines.clone();
            lines[index] = &moved;
            let text = lines.join("\r\n") + &format!("\r\nvalue = \"{value}\"\r\n");
            assert_eq!(broken(&text), [""; 0], "{moved}: {value}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

/// A rule also finds a defect in a value that is a string.
#[test]
fn defect_in_a_string_is_found() {
    for (text, wrong, rule) in [
        (
            "interlock,0x00000002,",
            "interlock,%hidden%,",
            "service for each device (1296)",
        ),
        (
            "StartType     = 3",
            "StartType = %hidden%",
            "service is a PnP driver",
        ),
        (
            "DefaultDestDir = 13",
            "DefaultDestDir = %hidden%",
            "files run from the driver store (1100, 1306)",
        ),
        (
            "HKR,,FriendlyName",
            "%hidden%,,FriendlyName",
            "registry relative to the device (1221, 1304)",
        ),
        ("interlock.cat", "%hidden%", "catalog (1233)"),
    ] {
        assert_eq!(
            broken(&(inf().replace(text, wrong) + "hidden = 0\r\n")),
            [rule]
        );
    }
}

#[test]
fn sections() {
    let rule = ["sections (1203, 2083)"];
    assert_eq!(with("[Interlock.HW.AddReg]", "[Interlock.AddReg]"), rule);
    assert_eq!(with("[Interlock.Interface]", "[Interlock.Other]"), rule);
    assert_eq!(with("[Strings]", "[Forgotten]\r\n[Strings]"), rule);
    // Windows reads these without a reference. A string of one language is no definition for the others.
    for (known, broken) in [
        ("[ControlFlags]\r\nExcludeFromSelect = *", &[][..]),
        ("[Strings.0407]\r\nServiceName = \"100 %\"", &[]),
        (
            "[Strings.0407]\r\nOther = x\r\n[Interlock.NT.HW]\r\nKey = %Other%",
            &["strings (1235)"],
        ),
    ] {
        assert_eq!(with("[Strings]", &format!("{known}\r\n[Strings]")), broken);
    }
}
