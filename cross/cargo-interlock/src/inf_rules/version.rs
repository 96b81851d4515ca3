//! The rules for `[Version]`.

use super::{Finding, expect};
use crate::inf::Inf;

/// Setup classes of software-only devices and filters, with the `ClassGuid` that Microsoft assigned.
const CLASSES: &[(&str, &str)] = &[
    ("Extension", "{e2f84ce7-8efa-411c-aa69-97454ca4cb57}"),
    ("SoftwareDevice", "{62f9c741-b25a-46ce-b54c-9bccce08b6f2}"),
    ("System", "{4d36e97d-e325-11ce-bfc1-08002be10318}"),
];

/// Returns the value of a line in `[Version]`.
fn version(inf: &Inf, key: &str) -> Finding {
    let value = inf
        .section("Version")
        .and_then(|section| section.value(key));
    let value = value.filter(|value| !value.is_empty());
    value
        .map(str::to_owned)
        .ok_or_else(|| format!("[Version] has no {key}"))
}

/// `Signature` is that of an INF for Windows NT.
pub fn signature(inf: &Inf) -> Finding {
    let signature = version(inf, "Signature")?;
    let is_windows_nt = signature.eq_ignore_ascii_case("$Windows NT$");
    expect(is_windows_nt, &signature, "it must be \"$Windows NT$\"")
}

/// `Provider` is given, and is not Microsoft.
pub fn provider(inf: &Inf) -> Finding {
    let provider = version(inf, "Provider")?;
    let is_own = !provider.eq_ignore_ascii_case("Microsoft");
    expect(is_own, &provider, "it must be your name")
}

/// `Class` and `ClassGuid` are given, and match if the class is one of [`CLASSES`].
pub fn class(inf: &Inf) -> Finding {
    let (class, guid) = (version(inf, "Class")?, version(inf, "ClassGuid")?);
    let known = CLASSES
        .iter()
        .find(|(own, _)| class.eq_ignore_ascii_case(own));
    let belongs = known.is_none_or(|(_, own)| guid.eq_ignore_ascii_case(own));
    expect(
        belongs,
        &format!("{class} {guid}"),
        "this class has another ClassGuid",
    )
}

/// `month/day/year,w.x.y.z`, each part of the version up to 65535.
pub fn driver_version(inf: &Inf) -> Finding {
    let line = inf
        .section("Version")
        .and_then(|section| section.all("DriverVer").next());
    let line = line.ok_or("[Version] has no DriverVer")?;
    let numbers = |field: usize, separator| {
        let parts = line.field(field).split(separator);
        parts
            .map(|part| part.parse().ok())
            .collect::<Option<Vec<u16>>>()
            .unwrap_or_default()
    };
    let is_date = matches!(numbers(0, '/')[..], [1..=12, 1..=31, 1970..=9999]);
    let is_version = numbers(1, '.').len() == 4;
    expect(
        is_date && is_version,
        &line.fields.join(","),
        "it must be month/day/year,w.x.y.z",
    )
}

/// `CatalogFile` names a catalog, without which a package has no signature.
pub fn catalog(inf: &Inf) -> Finding {
    let catalog = version(inf, "CatalogFile")?;
    let is_name = catalog.to_ascii_lowercase().ends_with(".cat") && !catalog.contains(['\\', '/']);
    expect(is_name, &catalog, "it must be the name of a .cat file")
}

/// `PnpLockdown = 1` keeps applications from changing the files.
pub fn locked_down(inf: &Inf) -> Finding {
    let value = version(inf, "PnpLockdown")?;
    expect(value == "1", &value, "PnpLockdown must be 1")
}
