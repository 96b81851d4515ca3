//! Driver bugs that do not compile: each file in `compile_fail/` contains one bug and is named after it; its
//! comments say which errors the compiler reports.

mod compiler;

use std::{fs, path::Path};

#[test]
fn driver_bugs_do_not_compile() {
    compiler::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail"));
}

/// A case that fails as expected: with the texts of an `on_unimplemented`, and with two errors on one line.
const AS_EXPECTED: &str = r#"
#![deny(warnings)]
#[diagnostic::on_unimplemented(message = "this is {Self}", note = "and a note")]
trait Wanted {}
fn want(_: impl Wanted) {}
fn mistake() {
    let unused = want(1_u8); //~ E0277
    //~| this is u8
    //~| and a note
    let _: (u32, &str) = (true, false); //~ E0308
    //~^ E0308
}
"#;

/// A case that fails as expected with a lifetime error, which has no code.
const ABOUT_LIFETIMES: &str = "
fn longer<'a, 'b>(short: &'a u8, _: &'b u8) -> &'b u8 {
    short //~ lifetime
}
";

/// Cases that do not fail as expected, and the differences in each.
const DIFFERENT: &[(&str, &str, &[&str])] = &[
    ("compiles", "fn f() {} //~ E0308", &["it compiles"]),
    (
        "another_code",
        "fn f() { let _: u32 = missing(); } //~ E0308",
        &["line 1: expected E0308 []", "not expected: E0425: "],
    ),
    (
        "another_line",
        "fn f() { //~ E0308\n    let _: u32 = true;\n}",
        &["line 1: expected E0308 []", "not expected: E0308: "],
    ),
    (
        "second_error",
        "fn f() {\n    let _: u32 = true; //~ E0308\n    let _: u32 = false;\n}",
        &["not expected: E0308: "],
    ),
    (
        "second_error_on_its_line",
        "fn f() { let _: u32 = true; let _: u32 = false; } //~ E0308",
        &["not expected: E0308: "],
    ),
    (
        "another_text",
        "fn f() { let _: wdm::NtStatus = 0; } //~ E0308\n//~| PassiveLevel",
        &[
            "line 1: expected E0308 [\"PassiveLevel\"]",
            "not expected: E0308: ",
        ],
    ),
    (
        "syntax_error_for_one_about_lifetimes",
        "fn f() { let; } //~ lifetime",
        &[
            "line 1: expected lifetime []",
            "not expected: an error without a code: ",
        ],
    ),
    (
        "nothing_expected",
        "fn f() { let _: u32 = true; }",
        &["not expected: E0308: "],
    ),
    (
        "no_error_and_nothing_expected",
        "fn f() {}",
        &["it compiles"],
    ),
];

#[test]
fn a_case_that_does_not_fail_as_expected_is_found() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("controls");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the cases");
    let write = |name: &str, source: &str| {
        fs::write(folder.join(name).with_extension("rs"), source).expect("a case is written");
    };
    write("as_expected", AS_EXPECTED);
    write("about_lifetimes", ABOUT_LIFETIMES);
    for (name, source, _) in DIFFERENT {
        write(name, source);
    }
    let mut differences = compiler::differences(&folder);
    for (name, _, expected) in DIFFERENT {
        let found = differences.remove(*name).unwrap_or_default();
        let alike = found
            .iter()
            .zip(*expected)
            .all(|(found, expected)| found.starts_with(expected));
        assert!(found.len() == expected.len() && alike, "{name}: {found:?}");
    }
    assert!(differences.is_empty(), "{differences:?}");
}
