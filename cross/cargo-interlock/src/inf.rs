//! Parses an INF into sections, lines and strings.

/// An INF's sections, in the order of the file.
pub struct Inf {
    pub sections: Vec<Section>,
    /// The `%strings%` that are used but not defined in `[Strings]`.
    pub undefined_strings: Vec<String>,
}

/// A section's name and lines. Sections with the same name are merged.
pub struct Section {
    pub name: String,
    pub lines: Vec<Line>,
}

/// A line `key = field, field...` or `field, field...`, without quotes and comments. Each `%string%` that is defined is replaced by its
/// value.
pub struct Line {
    /// The number of the line in the file, from 1.
    pub number: usize,
    pub key: Option<String>,
    pub fields: Vec<String>,
}

impl Line {
    /// Returns a field, or an empty string if the line has fewer fields.
    pub fn field(&self, index: usize) -> &str {
        self.fields.get(index).map_or("", String::as_str)
    }

    /// Returns whether the line has this key.
    pub fn is(&self, key: &str) -> bool {
        self.key
            .as_ref()
            .is_some_and(|own| own.eq_ignore_ascii_case(key))
    }
}

impl Section {
    /// Returns the lines with this key.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.is(key))
    }

    /// Returns the first field of the line with this key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.all(key).next().map(|line| line.field(0))
    }

    /// Returns whether this is `[Strings]`, or the strings of one language, such as `[Strings.0407]`.
    pub fn has_strings(&self) -> bool {
        let first = self.name.split('.').next();
        first.is_some_and(|first| first.eq_ignore_ascii_case("Strings"))
    }

    /// Returns whether this is the section's name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Inf {
    /// Parses the text of an INF.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut sections: Vec<Section> = Vec::new();
        // The section that the lines belong to.
        let mut current = None;
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        while let Some((index, first)) = lines.next() {
            let at = |error: &str| format!("line {}: {error}", index + 1);
            let mut line = without_comment(first).map_err(at)?.to_owned();
            while line.ends_with('\\') {
                line.pop();
                let (_, next) = lines
                    .next()
                    .ok_or_else(|| at("is continued, but is the last one"))?;
                line.push_str(without_comment(next).map_err(at)?);
            }
            if line.is_empty() {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| at("has no ]"))?.trim();
                let found = sections.iter().position(|section| section.is(name));
                current = Some(found.unwrap_or(sections.len()));
                if found.is_none() {
                    sections.push(Section {
                        name: name.into(),
                        lines: Vec::new(),
                    });
                }
                continue;
            }
            let section = current.and_then(|current| sections.get_mut(current));
            let section = section.ok_or_else(|| at("is before the first section"))?;
            section.lines.push(read_line(index + 1, &line));
        }
        let mut inf = Self {
            sections,
            undefined_strings: Vec::new(),
        };
        inf.replace_strings();
        Ok(inf)
    }

    /// Replaces every `%string%` in the keys and fields outside `[Strings]` by the value for every language.
    fn replace_strings(&mut self) {
        let (strings, others): (Vec<_>, Vec<_>) = self
            .sections
            .iter_mut()
            .partition(|section| section.has_strings());
        let strings = strings.into_iter().find(|section| section.is("Strings"));
        let strings = strings.map(|section| &*section);
        let lines = others.into_iter().flat_map(|section| &mut section.lines);
        for text in lines.flat_map(|line| line.key.iter_mut().chain(&mut line.fields)) {
            match expand(text, strings) {
                Ok(expanded) => *text = expanded,
                Err(undefined) => self.undefined_strings.push(undefined),
            }
        }
    }

    /// Returns the section with this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.is(name))
    }

    /// Returns the lines of all sections.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.sections.iter().flat_map(|section| &section.lines)
    }

    /// Returns the lines of a section, which may not exist.
    pub fn lines_in(&self, name: &str) -> &[Line] {
        self.section(name).map_or(&[], |section| &section.lines)
    }

    /// Returns the models sections that `[Manufacturer]` names, each as its name without the decoration, and the decoration.
    pub fn models(&self) -> Vec<(String, Option<String>)> {
        let mut models = Vec::new();
        for line in self.lines_in("Manufacturer") {
            let name = line.field(0).to_owned();
            let decorations = line.fields.get(1..).unwrap_or_default();
            if decorations.is_empty() {
                models.push((name, None));
            } else {
                let decorated = decorations
                    .iter()
                    .map(|own| (name.clone(), Some(own.clone())));
                models.extend(decorated);
            }
        }
        models
    }

    /// Returns the lines of all models sections, each `description = install section, hardware ID...`.
    pub fn devices(&self) -> Vec<&Line> {
        let sections = self.models().into_iter().filter_map(|(name, decoration)| {
            self.section(&decoration.map_or(name.clone(), |own| format!("{name}.{own}")))
        });
        sections.flat_map(|section| &section.lines).collect()
    }

    /// Returns the names of the files in the package, except the INF itself and its catalog.
    pub fn source_files(&self) -> Vec<&str> {
        let of_files = |section: &&Section| {
            let name = section.name.to_ascii_lowercase();
            name == "sourcedisksfiles" || name.starts_with("sourcedisksfiles.")
        };
        let lines = self
            .sections
            .iter()
            .filter(of_files)
            .flat_map(|section| &section.lines);
        lines.filter_map(|line| line.key.as_deref()).collect()
    }
}

/// Replaces each `%string%` in a text by its value. The number of a folder, such as `%13%`, is kept. The error is the first string that
/// is not defined.
fn expand(text: &str, strings: Option<&Section>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        expanded.push_str(before);
        let (name, after) = after.split_once('%').ok_or("a % without another")?;
        rest = after;
        if name.is_empty() {
            expanded.push('%');
        } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
            expanded.extend(["%", name, "%"]);
        } else {
            let value = strings.and_then(|strings| strings.value(name));
            expanded.push_str(value.ok_or_else(|| format!("%{name}%"))?);
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Removes the surrounding spaces of a line and its comment, which starts at a `;` outside quotes.
fn without_comment(line: &str) -> Result<&str, &'static str> {
    let mut quoted = false;
    let comment = line.find(|letter| {
        quoted ^= letter == '"';
        letter == ';' && !quoted
    });
    if comment.is_none() && quoted {
        return Err("has a quote that is not closed");
    }
    Ok(line[..comment.unwrap_or(line.len())].trim())
}

/// Splits a line at the first `=` and at the commas outside quotes.
fn read_line(number: usize, line: &str) -> Line {
    let mut quoted = false;
    let (mut key, mut fields, mut field) = (None, Vec::new(), String::new());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // Two quotes within quotes stand for one.
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => quoted = !quoted,
            '=' if !quoted && key.is_none() && fields.is_empty() => {
                key = Some(field.trim().to_owned());
                field.clear();
            }
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            _ => field.push(letter),
        }
    }
    fields.push(field.trim().to_owned());
    Line {
        number,
        key,
        fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
; a comment
[Version]
Signature = \"$Windows NT$\" ; another
[Add]
HKR,,Text,,\"a; b, \"\"c\"\"=d\"
HKR,\\
  ,Two
[version]
class=System
[Manufacturer]
%Maker% = Models, NTamd64, NTarm64
[Models.NTamd64]
%Device% = Install, root\\one
[SourceDisksFiles]
one.sys = 1
[Strings]
Maker = \"The maker\"
";

    #[test]
    fn sections_keys_and_fields() {
        let inf = Inf::parse(TEXT).unwrap();
        let version = inf.section("VERSION").unwrap();
        assert_eq!(version.value("signature"), Some("$Windows NT$"));
        assert_eq!(version.value("Class"), Some("System"));
        let add = &inf.section("Add").unwrap().lines;
        assert_eq!(add[0].fields, ["HKR", "", "Text", "", "a; b, \"c\"=d"]);
        assert_eq!(add[0].key, None);
        assert_eq!(
            (add[1].number, &add[1].fields[..]),
            (6, &["HKR", "", "Two"].map(String::from)[..])
        );
    }

    #[test]
    fn devices_and_files() {
        let inf = Inf::parse(TEXT).unwrap();
        let decorations: Vec<_> = inf.models().into_iter().map(|(_, own)| own).collect();
        assert_eq!(
            decorations,
            [Some("NTamd64".into()), Some("NTarm64".into())]
        );
        let devices = inf.devices();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].fields, ["Install", r"root\one"]);
        assert_eq!(inf.source_files(), ["one.sys"]);
    }

    #[test]
    fn strings_are_replaced() {
        let inf = Inf::parse(TEXT).unwrap();
        let expand = |text| expand(text, inf.section("Strings"));
        assert_eq!(expand("by %maker%!").as_deref(), Ok("by The maker!"));
        assert_eq!(expand(r"%13%\one.sys").as_deref(), Ok(r"%13%\one.sys"));
        assert_eq!(expand("100 %%").as_deref(), Ok("100 %"));
        assert_eq!(expand("%Nobody%").unwrap_err(), "%Nobody%");
        assert!(expand("100 %").is_err());
    }

    /// Strings are replaced in the keys and fields of every section but `[Strings]`; a value with a comma remains one field.
    #[test]
    fn strings_are_replaced_everywhere() {
        let text = "[Strings]\nA = \"1, %B%\"\nB = b\n[One]\n%B% = x,%A%\n[Two]\n%B%,%C%\n";
        let inf = Inf::parse(text).unwrap();
        let line = |line: &'_ Line| (line.key.clone(), line.fields.join("|"));
        let lines: Vec<_> = inf.lines().map(line).collect();
        assert_eq!(
            lines,
            [
                (Some("A".into()), "1, %B%".into()),
                (Some("B".into()), "b".into()),
                (Some("b".into()), "x|1, %B%".into()),
                (None, "b|%C%".into()),
            ]
        );
        assert_eq!(inf.undefined_strings, ["%C%"]);
    }

    #[test]
    fn malformed_line_is_refused() {
        for (text, reason) in [
            ("Class = System\n", "line 1: is before"),
            ("\n[Version\n", "line 2: has no ]"),
            ("[Version]\nClass = \"System\n", "line 2: has a quote"),
            ("[Version]\nClass = \\\n", "line 2: is continued"),
        ] {
            let error = Inf::parse(text).err().unwrap();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
