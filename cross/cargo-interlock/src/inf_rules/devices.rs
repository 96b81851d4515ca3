//! The rules for the devices that an INF installs, and their services.

use super::{Finding, contents::copied_files, expect, none, number};
use crate::{
    arch::Arch,
    inf::{Inf, Line, Section},
};

/// Windows 10, version 1709, the first that runs drivers from the driver store.
const FIRST_WITH_DRIVER_STORE: u32 = 16299;

/// Each models section is for the architecture and for versions of Windows that can run a driver from the driver store, and for every
/// type of product.
pub fn models_are_decorated(inf: &Inf, arch: Arch) -> Finding {
    let models = inf.models();
    let mut wrong = Vec::new();
    for (name, decoration) in &models {
        let decoration = decoration.as_deref().unwrap_or_default();
        let parts: Vec<_> = decoration.split('.').collect();
        if !arch.is_decoration(decoration) {
            wrong.push(format!("{name},{decoration} is not for {}", arch.name()));
        } else if parts[1..].get(2..4).is_some_and(|parts| parts != ["", ""]) {
            wrong.push(format!("{decoration} is for one type of product"));
        } else {
            let numbers = [1, 2, 5].map(|at| parts.get(at).and_then(|part| part.parse().ok()));
            if numbers < [Some(10), Some(0), Some(FIRST_WITH_DRIVER_STORE)] {
                wrong.push(format!(
                    "{decoration} is before Windows 10 build {FIRST_WITH_DRIVER_STORE}"
                ));
            }
        }
    }
    if models.is_empty() {
        wrong.push("[Manufacturer] names none".into());
    }
    let decorations: Vec<_> = models
        .iter()
        .filter_map(|(_, own)| own.as_deref())
        .collect();
    none(wrong, &decorations.join(", "))
}

/// The INF has at least one device, and each device has a hardware ID.
pub fn devices(inf: &Inf) -> Finding {
    let devices = inf.devices();
    let ids: Vec<_> = devices.iter().map(|line| line.field(1)).collect();
    expect(
        !ids.is_empty() && !ids.contains(&""),
        &format!("hardware ID {}", ids.join(", ")),
        "each device of the models sections must have one",
    )
}

/// Returns the install section of each device. As Windows does, it prefers the decorated section to the undecorated one.
pub fn installs(inf: &Inf) -> Vec<&Section> {
    let mut installs: Vec<&Section> = Vec::new();
    for line in inf.devices() {
        let name = line.field(0);
        for decoration in [".NTamd64", ".NTarm64", ".NT", ""] {
            if let Some(section) = inf.section(&format!("{name}{decoration}")) {
                if !installs.iter().any(|own| own.is(&section.name)) {
                    installs.push(section);
                }
                break;
            }
        }
    }
    installs
}

/// Returns the section `INSTALL.name` of an install section.
pub fn extension<'a>(inf: &'a Inf, install: &Section, name: &str) -> Option<&'a Section> {
    inf.section(&format!("{}.{name}", install.name))
}

/// Returns the `AddService` lines of an install section that add a function driver or a filter driver.
fn drivers<'a>(inf: &'a Inf, install: &Section) -> Vec<&'a Line> {
    let section = |name| extension(inf, install, name);
    let filters: Vec<_> = section("Filters")
        .into_iter()
        .flat_map(|filters| filters.all("AddFilter"))
        .map(|line| line.field(0))
        .collect();
    let is_filter = |line: &Line| {
        filters
            .iter()
            .any(|name| name.eq_ignore_ascii_case(line.field(0)))
    };
    let services = section("Services")
        .into_iter()
        .flat_map(|section| section.all("AddService"));
    services
        .filter(|line| is_function_driver(line) || is_filter(line))
        .collect()
}

/// Returns whether the flags contain `SPSVCINST_ASSOCSERVICE`.
fn is_function_driver(line: &Line) -> bool {
    number(line.field(1)).is_some_and(|flags| flags & 2 != 0)
}

/// Each install section adds a function driver or a filter driver.
pub fn service_for_each_device(inf: &Inf) -> Finding {
    let installs = installs(inf);
    let mut wrong = Vec::new();
    let mut names = Vec::new();
    for install in &installs {
        let drivers = drivers(inf, install);
        if drivers.is_empty() {
            wrong.push(format!("[{}] associates none", install.name));
        }
        names.extend(drivers.iter().map(|line| line.field(0)));
    }
    if installs.is_empty() {
        wrong.push("there is no install section".into());
    }
    none(wrong, &names.join(", "))
}

/// Each service is a kernel driver that the PnP manager starts, in a file of the driver store.
pub fn service_is_a_pnp_driver(inf: &Inf) -> Finding {
    let mut wrong = Vec::new();
    let files = copied_files(inf);
    for line in installs(inf)
        .into_iter()
        .flat_map(|install| drivers(inf, install))
    {
        let Some(section) = inf.section(line.field(2)) else {
            wrong.push(format!("[{}] does not exist", line.field(2)));
            continue;
        };
        for (key, right) in [
            ("ServiceType", 1..=1),
            ("StartType", 3..=3),
            ("ErrorControl", 0..=3),
        ] {
            let value = section.value(key).unwrap_or_default();
            if !number(value).is_some_and(|value| right.contains(&value)) {
                wrong.push(format!("{key} = {value}"));
            }
        }
        let binary = section.value("ServiceBinary").unwrap_or_default();
        let file = binary.strip_prefix(r"%13%\").unwrap_or_default();
        if !files.iter().any(|copied| copied.eq_ignore_ascii_case(file)) {
            wrong.push(format!("ServiceBinary = {binary}"));
        }
    }
    none(wrong, "demand-started, from the driver store")
}
