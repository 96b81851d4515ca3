//! Makes an INF from its template, as `stampinf` does.

use std::{
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use der::DateTime;

use crate::arch::Arch;

/// The variables of `stampinf` that a WDM driver has no value for.
const FRAMEWORK: &[&str] = &[
    "$KMDFVERSION$",
    "$KMDFCOINSTALLERVERSION$",
    "$UMDFVERSION$",
    "$UMDFCOINSTALLERVERSION$",
];

/// The values that are filled in.
pub struct Stamp<'a> {
    pub arch: Arch,
    pub version: &'a str,
    /// Month, day and year, in the format of INF files.
    pub date: String,
}

impl Stamp<'_> {
    /// Returns the INF, with CRLF line ends.
    pub fn apply(&self, template: &str) -> Result<String, String> {
        self.check_version()?;
        let driver_ver = format!("DriverVer = {},{}", self.date, self.version);
        let mut lines = Vec::new();
        // The line of `[Version]`, and whether the current line is in that section.
        let (mut version_at, mut in_version, mut stamped) = (None, false, false);
        for (index, line) in template.trim_start_matches('\u{feff}').lines().enumerate() {
            if !line.is_ascii() {
                return Err(format!(
                    "line {}: a character is not ASCII, so tools can read it differently",
                    index + 1
                ));
            }
            let mut line = line.trim_end().replace("$ARCH$", self.arch.inf_name());
            if let Some(section) = section_name(&line) {
                in_version = section.eq_ignore_ascii_case("Version");
                if in_version {
                    version_at = Some(lines.len());
                }
            } else if in_version && key(&line).eq_ignore_ascii_case("DriverVer") {
                line.clone_from(&driver_ver);
                stamped = true;
            }
            if let Some(variable) = FRAMEWORK.iter().find(|&&variable| line.contains(variable)) {
                return Err(format!(
                    "line {}: {variable} is for drivers on a framework",
                    index + 1
                ));
            }
            lines.push(line);
        }
        let version_at = version_at.ok_or("there is no [Version] section")?;
        if !stamped {
            lines.insert(version_at + 1, driver_ver);
        }
        Ok(lines.join("\r\n") + "\r\n")
    }

    fn check_version(&self) -> Result<(), String> {
        let parts: Vec<_> = self.version.split('.').collect();
        if parts.len() == 4 && parts.iter().all(|part| part.parse::<u16>().is_ok()) {
            return Ok(());
        }
        Err(format!(
            "{} is not a version of four numbers up to 65535",
            self.version
        ))
    }
}

/// Returns the name of the section that starts with a line.
fn section_name(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    Some(name.trim())
}

/// Returns the part of a line before `=`. A comment contains a `;`, so it is not a known key.
fn key(line: &str) -> &str {
    line.split_once('=').map_or("", |(key, _)| key.trim())
}

/// Returns the time since 1970 in `SOURCE_DATE_EPOCH`, or the current time.
pub fn now() -> Result<Duration, String> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| format!("SOURCE_DATE_EPOCH is {text}, not a number of seconds")),
        Err(_) => Ok(SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()),
    }
}

/// Returns the date of [`now`], in the format of INF files.
pub fn date() -> Result<String, String> {
    calendar_date(now()?)
}

/// Returns the date of a time since 1970.
fn calendar_date(time: Duration) -> Result<String, String> {
    let date = DateTime::from_unix_duration(time).map_err(|error| error.to_string())?;
    let (month, day, year) = (date.month(), date.day(), date.year());
    Ok(format!("{month:02}/{day:02}/{year}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(template: &str) -> Result<String, String> {
        stamp_for(Arch::X64, template)
    }

    fn stamp_for(arch: Arch, template: &str) -> Result<String, String> {
        Stamp {
            arch,
            version: "1.2.3.0",
            date: "02/29/2024".into(),
        }
        .apply(template)
    }

    #[test]
    fn driver_ver_is_replaced() {
        let inf =
            stamp("; $ARCH$\n[Version]\ndriverver = 1 ; old\n[Mfg]\n%A% = M, NT$ARCH$\n").unwrap();
        assert_eq!(
            inf,
            "; amd64\r\n[Version]\r\nDriverVer = 02/29/2024,1.2.3.0\r\n[Mfg]\r\n%A% = M, NTamd64\r\n"
        );
    }

    #[test]
    fn models_are_for_the_architecture() {
        for (arch, expected) in [(Arch::X64, "NTamd64.10.0"), (Arch::Arm64, "NTarm64.10.0")] {
            let template = "[Version]\n[Mfg]\n%A% = M, NT$ARCH$.10.0\n[M.NT$ARCH$.10.0]\n";
            let inf = stamp_for(arch, template).unwrap();
            assert_eq!(inf.matches(expected).count(), 2, "{inf}");
        }
    }

    #[test]
    fn driver_ver_is_added() {
        let inf = stamp("[version]\r\nClass = System\r\n").unwrap();
        assert_eq!(
            inf,
            "[version]\r\nDriverVer = 02/29/2024,1.2.3.0\r\nClass = System\r\n"
        );
    }

    #[test]
    fn driver_ver_in_another_section_is_not_changed() {
        let inf = stamp("[Version]\n[Other]\nDriverVer = mine\n").unwrap();
        assert!(inf.ends_with("[Other]\r\nDriverVer = mine\r\n"), "{inf}");
    }

    #[test]
    fn invalid_template_or_version_is_rejected() {
        for (template, reason) in [
            ("[Strings]\n", "[Version]"),
            ("[Version]\nKmdf = $KMDFVERSION$\n", "line 2: $KMDFVERSION$"),
            ("[Version]\nProvider = \u{e4}\n", "line 2"),
        ] {
            let error = stamp(template).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        for version in ["1.2.3", "1.2.3.x", "1.2.3.65536", ""] {
            let stamp = Stamp {
                arch: Arch::X64,
                version,
                date: String::new(),
            };
            assert!(stamp.apply("[Version]\n").is_err(), "{version}");
        }
    }

    #[test]
    fn date_is_that_of_the_calendar() {
        for (days, date) in [
            (0, "01/01/1970"),
            (10_957, "01/01/2000"),
            (19_782, "02/29/2024"),
            (20_088, "12/31/2024"),
        ] {
            let time = Duration::from_secs(days * 24 * 60 * 60 + 1);
            assert_eq!(calendar_date(time).as_deref(), Ok(date));
        }
    }
}
