//! Checks PowerShell scripts without PowerShell: that they parse, and that the commands, parameters and variables that they use exist.

use tree_sitter::{Node, Parser, TreeCursor};

/// The cmdlets that the scripts call, with the parameters that they pass.
const CMDLETS: &str = include_str!("../cmdlets.txt");

/// Variables that PowerShell sets.
const AUTOMATIC: &[&str] = &[
    "_",
    "true",
    "false",
    "null",
    "pscmdlet",
    "psscriptroot",
    "pwd",
    "lastexitcode",
    "erroractionpreference",
];

/// The start of every script: the version of PowerShell that Windows contains, and a stop at the first error.
const PREAMBLE: &[&str] = &[
    "#Requires -Version 5.1",
    "Set-StrictMode -Version Latest",
    "$ErrorActionPreference = 'Stop'",
];

/// Syntax that Windows PowerShell 5.1 does not support.
const NEWER: &[(&str, &str)] = &[
    ("pipeline_chain_tail", "`&&` and `||`"),
    ("null_coalesce_expression", "`??`"),
    ("ternary_expression", "`? :`"),
];

/// Returns the problems in a script, each with its line. A script without problems may still be wrong.
pub fn problems(text: &str) -> Result<Vec<String>, String> {
    let mut parser = Parser::new();
    let language = tree_sitter_pwsh::LANGUAGE.into();
    parser
        .set_language(&language)
        .map_err(|error| error.to_string())?;
    let tree = parser.parse(text, None).ok_or("the parser stopped")?;
    let mut nodes = Vec::new();
    collect(&mut tree.walk(), &mut nodes);
    let script = Script { text, nodes };

    let mut problems = script.characters();
    problems.extend(script.preamble());
    let syntax = script.syntax();
    if syntax.is_empty() {
        problems.extend(script.newer());
        problems.extend(script.unchecked_programs());
        problems.extend(script.unknown_commands());
        problems.extend(script.unknown_variables());
    } else {
        // The other checks need a valid syntax tree.
        problems.extend(syntax);
    }
    Ok(problems)
}

/// Returns every node of the tree, parents first.
fn collect<'tree>(cursor: &mut TreeCursor<'tree>, nodes: &mut Vec<Node<'tree>>) {
    loop {
        nodes.push(cursor.node());
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return;
            }
        }
    }
}

struct Script<'a> {
    text: &'a str,
    nodes: Vec<Node<'a>>,
}

impl<'a> Script<'a> {
    fn source(&self, node: Node) -> &'a str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = Node<'a>> {
        self.nodes
            .iter()
            .copied()
            .filter(move |node| node.kind() == kind)
    }

    /// Windows PowerShell reads a file without a byte order mark in the system's code page.
    fn characters(&self) -> Vec<String> {
        let lines = self.text.lines().enumerate();
        let wrong = lines.filter(|(_, line)| !line.is_ascii());
        wrong
            .map(|(index, _)| {
                format!(
                    "line {}: a character is not ASCII, so tools can read it differently",
                    index + 1
                )
            })
            .collect()
    }

    fn preamble(&self) -> Vec<String> {
        let missing = PREAMBLE
            .iter()
            .filter(|&&expected| !self.text.lines().any(|line| line == expected));
        missing.map(|line| format!("`{line}` is missing")).collect()
    }

    fn syntax(&self) -> Vec<String> {
        let wrong = self
            .nodes
            .iter()
            .filter(|node| node.is_error() || node.is_missing());
        wrong.map(|&node| at(node, "this does not parse")).collect()
    }

    fn newer(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (kind, name) in NEWER {
            let message = format!("Windows PowerShell 5.1 has no {name}");
            problems.extend(self.of_kind(kind).map(|node| at(node, &message)));
        }
        problems
    }

    /// Returns the name of the command that a node calls, unless the name is computed.
    fn command_name(&self, command: Node) -> Option<&'a str> {
        let name = self.source(command.child_by_field_name("command_name")?);
        (!name.contains('$')).then_some(name)
    }

    /// PowerShell does not stop if a program fails, so the next statement must check its exit code.
    fn unchecked_programs(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for command in self.of_kind("command") {
            let name = self.command_name(command).unwrap_or_default();
            if !is_program(name) {
                continue;
            }
            let mut statement = command;
            while let Some(parent) = statement.parent()
                && parent.kind() != "statement_list"
            {
                statement = parent;
            }
            let next = statement.next_named_sibling();
            if !next.is_some_and(|next| self.source(next).contains("$LASTEXITCODE")) {
                problems.push(at(
                    command,
                    &format!("the exit code of {name} is not checked"),
                ));
            }
        }
        problems
    }

    fn unknown_commands(&self) -> Vec<String> {
        let functions: Vec<_> = self
            .of_kind("function_name")
            .map(|node| self.source(node))
            .collect();
        let mut problems = Vec::new();
        for command in self.of_kind("command") {
            let Some(name) = self.command_name(command) else {
                continue;
            };
            if is_program(name) || functions.contains(&name) {
                continue;
            }
            let Some(known) = parameters(name) else {
                problems.push(at(command, &format!("{name} is not in cmdlets.txt")));
                continue;
            };
            for given in self.given_parameters(command) {
                if !known.contains(&given) {
                    let message = format!("-{given} of {name} is not in cmdlets.txt");
                    problems.push(at(command, &message));
                }
            }
        }
        problems
    }

    /// Returns the named parameters that are passed to a command.
    fn given_parameters(&self, command: Node) -> Vec<&'a str> {
        let Some(elements) = command.child_by_field_name("command_elements") else {
            return Vec::new();
        };
        let mut cursor = elements.walk();
        let children = elements.named_children(&mut cursor);
        let parameters = children.filter(|child| child.kind() == "command_parameter");
        parameters
            .map(|parameter| {
                self.source(parameter)
                    .trim_start_matches('-')
                    .trim_end_matches(':')
            })
            .collect()
    }

    fn unknown_variables(&self) -> Vec<String> {
        let name = |node| {
            let name = self.source(node).trim_start_matches(['$', '@']);
            name.trim_matches(['{', '}']).to_ascii_lowercase()
        };
        // The grammar treats a parameter after one with a default value as a part of that value, so every variable among the
        // parameters counts as a parameter.
        let is_set = |node: &Node| {
            let parent = node.parent().map(|parent| parent.kind());
            parent == Some("foreach_statement")
                || is_assigned(*node)
                || is_below(*node, "parameter_list")
        };
        let set: Vec<_> = self.of_kind("variable").filter(is_set).map(name).collect();
        let unknown = self.of_kind("variable").filter(|&node| {
            let name = name(node);
            let is_environment = name.starts_with("env:");
            !is_environment && !AUTOMATIC.contains(&name.as_str()) && !set.contains(&name)
        });
        unknown
            .map(|node| at(node, &format!("{} is set nowhere", self.source(node))))
            .collect()
    }
}

/// Returns whether a node has an ancestor of a kind.
fn is_below(mut node: Node, kind: &str) -> bool {
    while let Some(parent) = node.parent() {
        if parent.kind() == kind {
            return true;
        }
        node = parent;
    }
    false
}

/// Returns whether a variable is the whole left side of an assignment.
fn is_assigned(variable: Node) -> bool {
    let mut node = variable;
    while let Some(parent) = node.parent()
        && parent.byte_range() == variable.byte_range()
    {
        node = parent;
    }
    node.kind() == "left_assignment_expression"
}

fn is_program(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".exe")
}

/// Returns the listed parameters of a cmdlet.
fn parameters(cmdlet: &str) -> Option<Vec<&'static str>> {
    CMDLETS.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(cmdlet)).then(|| words.collect())
    })
}

fn at(node: Node, message: &str) -> String {
    format!("line {}: {message}", node.start_position().row + 1)
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
