//! Makes one mistake at a time in a correct script, and checks that it is found.

use super::*;

const SCRIPT: &str = "\
#Requires -Version 5.1
[CmdletBinding()]
param([string] $Name, [long] $Memory = 4GB)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

function Get-Answer {
    param($Question)
    & cmd.exe /c $Question
    $LASTEXITCODE
}

$settings = @{ Path = $Name }
foreach ($line in Get-Answer -Question $Memory) {
    Write-Output \"$line on $env:COMPUTERNAME\"
}
Get-Content @settings | ForEach-Object { $_.Length }
";

fn of(script: &str) -> Vec<String> {
    problems(script).unwrap()
}

/// Returns the problems after a part of the script is replaced.
fn with(part: &str, other: &str) -> Vec<String> {
    assert!(SCRIPT.contains(part), "{part}");
    of(&SCRIPT.replacen(part, other, 1))
}

#[test]
fn correct_script_has_no_problems() {
    assert_eq!(of(SCRIPT), [""; 0]);
}

#[test]
fn scripts_of_the_project_have_no_problems() {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../inf/vm");
    let mut seen = 0;
    for entry in std::fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "ps1") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(of(&text), [""; 0], "{}", path.display());
            seen += 1;
        }
    }
    assert_ne!(seen, 0);
}

/// The reader of the book sees the message of a program that fails, so the exit codes of these programs are not checked.
#[test]
fn powershell_of_the_book_has_no_problems() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/book/src");
    let mut seen = 0;
    for page in ["model_to_vm.md", "own_repository.md"] {
        let text = std::fs::read_to_string(format!("{pages}/{page}")).unwrap();
        for block in text.split("```powershell\n").skip(1) {
            let commands = block.split("```").next().unwrap();
            let commands = commands.replace("cargo ", "cargo.exe ");
            let script = format!("{}\n{commands}", PREAMBLE.join("\n"));
            let mut problems = of(&script);
            problems.retain(|problem| !problem.contains(": the exit code of "));
            assert_eq!(problems, [""; 0], "{page}: {commands}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn syntax_error_is_found() {
    for (part, other) in [
        ("param($Question)", "param($Question"),
        ("{ $_.Length }", "{ $_.Length"),
        ("@{ Path", "@( Path"),
        ("on $env:COMPUTERNAME\"", "on $env:COMPUTERNAME"),
    ] {
        let problems = with(part, other);
        assert!(
            problems.iter().all(|it| it.ends_with("does not parse")),
            "{other}: {problems:?}"
        );
        assert!(!problems.is_empty(), "{other}");
    }
}

#[test]
fn syntax_of_newer_powershell_is_found() {
    for (other, name) in [
        ("$Name && $Name", "`&&` and `||`"),
        ("($Name ?? 'x')", "`??`"),
        ("($Name ? 1 : 2)", "`? :`"),
    ] {
        let expected = format!("line 13: Windows PowerShell 5.1 has no {name}");
        assert_eq!(with("@{ Path = $Name }", other), [expected], "{other}");
    }
}

#[test]
fn non_ascii_character_without_byte_order_mark_is_found() {
    assert_eq!(
        with("'Stop'\n\n", "'Stop'\n# \u{2013}\n"),
        ["line 6: a character is not ASCII, so tools can read it differently"]
    );
}

#[test]
fn missing_preamble_is_found() {
    for line in PREAMBLE {
        assert_eq!(with(line, ""), [format!("`{line}` is missing")]);
    }
}

#[test]
fn unchecked_exit_code_is_found() {
    let found = with("    $LASTEXITCODE\n", "    $Question\n");
    assert_eq!(found, ["line 9: the exit code of cmd.exe is not checked"]);
}

#[test]
fn misspelt_name_is_found() {
    let again = "-Version Latest\nSet-StrictMode -Versoin 3";
    for (part, other, line, name) in [
        ("Get-Content", "Get-Contents", 17, "Get-Contents"),
        ("in Get-Answer", "in Get-Anwser", 14, "Get-Anwser"),
        ("-Version Latest", again, 5, "-Versoin of Set-StrictMode"),
    ] {
        let expected = format!("line {line}: {name} is not in cmdlets.txt");
        assert_eq!(with(part, other), [expected], "{other}");
    }
    for (part, other, line, name) in [
        ("\"$line on", "\"$lien on", 15, "$lien"),
        ("@settings", "@setings", 17, "@setings"),
        ("Path = $Name", "Path = $Nam", 13, "$Nam"),
    ] {
        let expected = format!("line {line}: {name} is set nowhere");
        assert_eq!(with(part, other), [expected], "{other}");
    }
}

#[test]
fn list_of_cmdlets_is_sorted() {
    let names: Vec<_> = CMDLETS
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .collect();
    assert!(names.is_sorted());
    for line in names {
        let parameters: Vec<_> = line.split_whitespace().skip(1).collect();
        assert!(parameters.is_sorted(), "{line}");
    }
}
