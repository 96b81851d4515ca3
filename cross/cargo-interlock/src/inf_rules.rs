//! The documented rules of `InfVerif /w` for a Windows driver's INF, except those for features that these INFs do not use. The numbers
//! are the tool's error codes.
//!
//! The rules come from "INF validation errors and warnings", "Using a universal INF file", "Driver package isolation"
//! and "Run from driver store" in the driver kit's documentation. `InfVerif` itself is authoritative.

mod contents;
mod devices;
mod version;

use crate::{
    arch::Arch,
    check::Check,
    inf::{Inf, Line},
};

/// The valid value, or the error.
type Finding = Result<String, String>;

/// A rule's name, and the function that checks it.
type Rule = (&'static str, fn(&Inf) -> Finding);

/// The rules that are the same for every architecture.
const RULES: &[Rule] = &[
    ("signature (1001)", version::signature),
    ("provider (1204)", version::provider),
    ("class", version::class),
    ("driver version (1217)", version::driver_version),
    ("catalog (1233)", version::catalog),
    ("locked down", version::locked_down),
    ("devices (1297)", devices::devices),
    (
        "service for each device (1296)",
        devices::service_for_each_device,
    ),
    ("service is a PnP driver", devices::service_is_a_pnp_driver),
    (
        "no legacy section (1212, 1285, 1300)",
        contents::no_legacy_section,
    ),
    ("no legacy directive (1301)", contents::no_legacy_directive),
    (
        "registry relative to the device (1221, 1304)",
        contents::registry_is_relative,
    ),
    ("no co-installer (1303)", contents::no_co_installer),
    ("nothing appended (1305)", contents::nothing_appended),
    ("files have a source (1230)", contents::files_have_a_source),
    (
        "files run from the driver store (1100, 1306)",
        contents::files_run_from_the_driver_store,
    ),
    ("strings (1235)", contents::strings),
    ("sections (1203, 2083)", contents::sections),
];

/// Checks every rule for an INF of one architecture.
pub fn all(text: &str, arch: Arch) -> Result<Vec<Check>, String> {
    let inf = Inf::parse(text)?;
    let models = devices::models_are_decorated(&inf, arch);
    let others = RULES.iter().map(|&(name, look)| (name, look(&inf)));
    let check = |(name, outcome)| Check { name, outcome };
    Ok([("models are decorated", models)]
        .into_iter()
        .chain(others)
        .map(check)
        .collect())
}

fn expect(holds: bool, found: &str, rule: &str) -> Finding {
    if holds {
        Ok(found.into())
    } else {
        Err(format!("{found}: {rule}"))
    }
}

/// Returns `right` if there is no error, and otherwise the errors.
fn none(wrong: impl IntoIterator<Item = String>, right: &str) -> Finding {
    let wrong: Vec<_> = wrong.into_iter().collect();
    if wrong.is_empty() {
        Ok(right.into())
    } else {
        Err(wrong.join("; "))
    }
}

fn at(line: &Line) -> String {
    let key = line
        .key
        .as_ref()
        .map_or(String::new(), |key| format!("{key} = "));
    format!("line {}: {key}{}", line.number, line.fields.join(","))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
#[path = "inf_rules_tests.rs"]
mod tests;
