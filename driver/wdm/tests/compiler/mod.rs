//! Compiles each file of a folder as a library on `wdm` that forbids unsafe code, and compares the compiler's errors with those
//! that the file's comments expect.
//!
//! | comment | the compiler must report |
//! | --- | --- |
//! | `//~ E0277` | an error with this code on this line |
//! | `//~ unsafe_code` | unsafe code on this line |
//! | `//~ lifetime` | an error about lifetimes on this line; such errors have no code |
//! | `//~? E0080` | such an error in no line of this file: a constant of `wdm` that is evaluated for the file's types |
//! | `//~^ E0277` | the same for the line above; each further `^` is one more line above |
//! | <code>//~\| text</code> | this text as part of the error of the comment before |
//!
//! Such constants are evaluated when code is generated. So a folder named `built` is built, and other folders are
//! checked.
//!
//! Every error must be expected. The wording of the compiler's errors changes between versions and is not compared;
//! a text in a comment is one of `#[diagnostic::on_unimplemented]` in `wdm`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cargo_metadata::{
    Message,
    diagnostic::{Diagnostic, DiagnosticLevel, DiagnosticSpan},
};

/// An error that a comment expects.
struct Expected<'a> {
    line: Option<usize>,
    code: &'a str,
    texts: Vec<&'a str>,
}

/// An error that the compiler reports.
struct Reported {
    line: Option<usize>,
    code: String,
    /// Its message, its labels, and the labels of its notes.
    text: String,
    /// The error as the compiler prints it.
    rendered: String,
}

/// Panics unless every case of a folder fails to compile as its comments expect.
pub fn check(folder: &Path) {
    let differences = differences(folder);
    let list = |(case, found): (&String, &Vec<String>)| format!("\n{case}: {}", found.join("\n"));
    let all: String = differences.iter().map(list).collect();
    assert!(differences.is_empty(), "{}:{all}", folder.display());
}

/// Returns the differences of each case of a folder that does not fail as expected.
pub fn differences(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let cases = cases(folder);
    let output = compile(folder, &cases);
    let mut reported: BTreeMap<String, Vec<Reported>> = BTreeMap::new();
    for message in Message::parse_stream(Cursor::new(&output.stdout)) {
        match message.expect("a message of cargo's") {
            Message::CompilerMessage(message) if message.target.is_example() => {
                let errors = reported.entry(message.target.name.clone()).or_default();
                errors.extend(error(
                    &message.message,
                    message.target.src_path.as_std_path(),
                ));
            }
            Message::CompilerArtifact(artifact) if artifact.target.is_example() => {
                reported.entry(artifact.target.name).or_default();
            }
            _ => {}
        }
    }
    let mut differences = BTreeMap::new();
    for (name, path) in cases {
        let source = fs::read_to_string(path).expect("the case is readable");
        let found = match reported.remove(&name) {
            Some(reported) => compare(expected(&source), reported),
            None => vec![format!(
                "not compiled\n{}",
                String::from_utf8_lossy(&output.stderr)
            )],
        };
        if !found.is_empty() {
            differences.insert(name, found);
        }
    }
    differences
}

/// The files of a folder, by their names.
fn cases(folder: &Path) -> BTreeMap<String, PathBuf> {
    let files =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = files.map(|file| file.expect("the folder is readable").path());
    let sources = paths.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let cases: BTreeMap<_, _> = sources
        .map(|path| {
            let name = path.file_stem().and_then(|name| name.to_str());
            (name.expect("a name in UTF-8").to_owned(), path)
        })
        .collect();
    assert!(!cases.is_empty(), "{} has no case", folder.display());
    cases
}

/// Runs cargo on a package that contains each case as a library.
fn compile(folder: &Path, cases: &BTreeMap<String, PathBuf>) -> Output {
    let wdm = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = folder.file_name().expect("a folder with a name");
    let package = scratch.join("packages").join(name);
    let mut manifest = vec![format!(
        "[package]\nname = 'cases'\nedition = '2024'\n\n[workspace]\n\n[lints.rust]\nunsafe_code = 'forbid'\n\n[dependencies]\nwdm = {{ package = 'interlock-wdm', path = '{}' }}\n\
         pinned-init = {{ version = '*', default-features = false }}\n",
        wdm.display()
    )];
    // A package has one library, but any number of examples, each of which can be one.
    let library = |(name, path): (_, &PathBuf)| {
        let path = path.display();
        format!("[[example]]\nname = '{name}'\npath = '{path}'\ncrate-type = ['lib']\n")
    };
    manifest.extend(cases.iter().map(library));
    fs::create_dir_all(&package).expect("a folder for the package");
    fs::write(package.join("Cargo.toml"), manifest.join("\n")).expect("its manifest");
    fs::copy(wdm.join("../../Cargo.lock"), package.join("Cargo.lock")).expect("its lock file");

    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let command = if name == "built" { "build" } else { "check" };
    Command::new(cargo)
        .args([
            command,
            "--quiet",
            "--offline",
            "--keep-going",
            "--examples",
            "--message-format=json",
        ])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        // Only the lints that the manifest forbids count, independent of the flags of the tests.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Awarnings")
        .output()
        .expect("cargo runs")
}

/// The errors that the comments of a case expect.
fn expected(source: &str) -> Vec<Expected<'_>> {
    let mut all: Vec<Expected> = Vec::new();
    for (line, text) in (1..).zip(source.lines()) {
        let Some((_, comment)) = text.split_once("//~") else {
            continue;
        };
        if let Some(text) = comment.strip_prefix('|') {
            let last = all.last_mut().expect("`//~|` stands after `//~`");
            last.texts.push(text.trim());
            continue;
        }
        let code = comment.trim_start_matches('^');
        let elsewhere = code.strip_prefix('?');
        all.push(Expected {
            line: elsewhere
                .is_none()
                .then(|| line - (comment.len() - code.len())),
            code: elsewhere.unwrap_or(code).trim(),
            texts: Vec::new(),
        });
    }
    all
}

/// Parses a message of the compiler, if it is an error.
fn error(message: &Diagnostic, case: &Path) -> Option<Reported> {
    match message.level {
        DiagnosticLevel::Error | DiagnosticLevel::Ice => {}
        _ => return None,
    }
    // The last message, with the number of errors.
    if message.code.is_none() && message.spans.is_empty() && message.children.is_empty() {
        return None;
    }
    let code = match &message.code {
        Some(code) => &code.code,
        None if message.message.contains("lifetime") => "lifetime",
        None => "an error without a code",
    };
    let mut primary = message.spans.iter().filter(|span| span.is_primary);
    let parts = [message].into_iter().chain(&message.children);
    let texts = parts.flat_map(|part| {
        let labels = part.spans.iter().filter_map(|span| span.label.as_deref());
        labels.chain([part.message.as_str()])
    });
    Some(Reported {
        line: primary.find_map(|span| line(span, case)),
        code: code.to_owned(),
        text: texts.collect::<Vec<_>>().join("\n"),
        rendered: message.rendered.clone().unwrap_or_default(),
    })
}

/// Returns the line of a case that contains a span, or the macro call that the span comes from.
fn line(span: &DiagnosticSpan, case: &Path) -> Option<usize> {
    if case.ends_with(&span.file_name) {
        return Some(span.line_start);
    }
    line(&span.expansion.as_ref()?.span, case)
}

/// Returns the errors that are expected and not reported, and those that are reported and not expected.
fn compare(expected: Vec<Expected>, mut reported: Vec<Reported>) -> Vec<String> {
    if reported.is_empty() {
        return vec!["it compiles".to_owned()];
    }
    let mut differences = Vec::new();
    for Expected { line, code, texts } in expected {
        let is_it = |error: &Reported| {
            let says = |text: &&str| error.text.contains(text);
            error.line == line && error.code == code && texts.iter().all(says)
        };
        if let Some(index) = reported.iter().position(is_it) {
            drop(reported.remove(index));
        } else {
            let line = line.map_or("elsewhere".to_owned(), |line| format!("line {line}"));
            differences.push(format!("{line}: expected {code} {texts:?}"));
        }
    }
    for error in reported {
        differences.push(format!("not expected: {}: {}", error.code, error.rendered));
    }
    differences
}
