//! The expressions of a NatVis file, a subset of C++.
//!
//! They are not evaluated; only their types are checked. This finds fields that do not exist, and a `.` after a pointer.

use std::collections::BTreeMap;

use super::types::{Type, Types};

/// The types without a definition: those of C++, and Rust's primitive types, which appear as arguments of other types.
const BUILT_IN: &[&str] = &[
    "void",
    "bool",
    "char",
    "int",
    "unsigned int",
    "__int64",
    "unsigned __int64",
    "size_t",
    "i8",
    "i16",
    "i32",
    "i64",
    "isize",
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
];

/// Longest first, so that no operator is mistaken for a prefix of it.
const OPERATORS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "/", "%", "*", "&", "|",
];

/// The meaning of the names in an expression.
#[derive(Clone)]
pub struct Scope<'t> {
    pub types: &'t Types,
    /// The structure whose fields have no prefix.
    pub this: &'t str,
    /// The arguments `$T1`, `$T2` and so on.
    pub arguments: Vec<&'t str>,
    pub variables: BTreeMap<String, Type>,
}

impl Scope<'_> {
    /// Returns the type of an expression, which may end with a format specifier.
    pub fn type_of(&self, text: &str) -> Result<Type, String> {
        let mut parser = Parser {
            scope: self,
            rest: text.trim(),
        };
        let kind = parser.assignment()?;
        match parser.rest.strip_prefix(',') {
            None if parser.rest.is_empty() => Ok(kind),
            Some("d" | "x" | "h" | "o" | "b" | "na") => Ok(kind),
            _ => Err(format!("`{}` is not supported", parser.rest)),
        }
    }

    fn named(&self, name: &str) -> Result<Type, String> {
        if let Some(kind) = self.variables.get(name) {
            return Ok(kind.clone());
        }
        if name == "this" {
            return Ok(Type::Record(self.this.into()).pointer());
        }
        self.types.field(self.this, name).cloned()
    }

    /// Returns the type between the parentheses of a cast, or `None` if they contain an expression.
    fn cast(&self, text: &str) -> Result<Option<Type>, String> {
        let name = text.trim_end_matches(['*', ' ']);
        let stars = text[name.len()..].matches('*').count();
        if name.contains(['(', '&', '-', '=']) {
            return Ok(None);
        }
        let name = match name.strip_prefix("$T") {
            None => name.trim(),
            Some(number) => {
                let number = number.parse().ok().and_then(|n: usize| n.checked_sub(1));
                let argument = number.and_then(|number| self.arguments.get(number));
                argument.ok_or_else(|| format!("there is no {name}"))?
            }
        };
        let base = if BUILT_IN.contains(&name) {
            Type::Plain
        } else if self.types.contains(name) {
            Type::Record(name.into())
        } else if stars > 0 || name.contains("::") {
            return Err(format!("the PDB has no type {name}"));
        } else {
            return Ok(None);
        };
        Ok(Some((0..stars).fold(base, |kind, _| kind.pointer())))
    }
}

struct Parser<'s, 't> {
    scope: &'s Scope<'t>,
    rest: &'s str,
}

impl Parser<'_, '_> {
    /// Consumes a token if it is next.
    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest.trim_start();
        true
    }

    /// Consumes a name or a number if it is next.
    fn word(&mut self) -> Option<&str> {
        let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let end = self.rest.find(|character| !is_word(character));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        (!word.is_empty()).then_some(word)
    }

    fn assignment(&mut self) -> Result<Type, String> {
        let left = self.binary()?;
        if self.take("=") {
            let right = self.binary()?;
            if left != right {
                return Err(format!("{right:?} is assigned to {left:?}"));
            }
        }
        Ok(left)
    }

    /// Operators are applied from left to right without precedence, since the resulting types are the same.
    fn binary(&mut self) -> Result<Type, String> {
        let mut left = self.unary()?;
        loop {
            let next = OPERATORS
                .iter()
                .find(|operator| self.rest.starts_with(**operator));
            let Some(operator) = next else {
                return Ok(left);
            };
            self.take(operator);
            self.unary()?;
            if !matches!(*operator, "+" | "-") {
                left = Type::Plain;
            }
        }
    }

    fn unary(&mut self) -> Result<Type, String> {
        if self.take("*") {
            return match self.unary()? {
                Type::Pointer(to) => Ok(*to),
                other => Err(format!("* is applied to {other:?}")),
            };
        }
        if self.take("&") {
            return Ok(self.unary()?.pointer());
        }
        if self.take("!") {
            self.unary()?;
            return Ok(Type::Plain);
        }
        if let Some(inside) = self.rest.strip_prefix('(') {
            let end = closing(inside).ok_or("a parenthesis is not closed")?;
            if let Some(kind) = self.scope.cast(&inside[..end])? {
                self.rest = inside[end + 1..].trim_start();
                self.unary()?;
                return Ok(kind);
            }
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Type, String> {
        let mut kind = self.primary()?;
        loop {
            if self.take("->") {
                let Type::Pointer(to) = kind else {
                    return Err(format!("-> is applied to {kind:?}"));
                };
                kind = self.member(&to)?;
            } else if self.take(".") {
                kind = self.member(&kind)?;
            } else if self.take("[") {
                self.assignment()?;
                if !self.take("]") {
                    return Err("a bracket is not closed".into());
                }
                kind = match kind {
                    Type::Pointer(of) | Type::Array(of) => *of,
                    other => return Err(format!("[] is applied to {other:?}")),
                };
            } else {
                return Ok(kind);
            }
        }
    }

    fn member(&mut self, of: &Type) -> Result<Type, String> {
        let types = self.scope.types;
        let name = self.word().ok_or("a field's name is missing")?;
        match of {
            Type::Record(record) => types.field(record, name).cloned(),
            other => Err(format!("{other:?} has no field {name}")),
        }
    }

    fn primary(&mut self) -> Result<Type, String> {
        if self.take("(") {
            let kind = self.assignment()?;
            return if self.take(")") {
                Ok(kind)
            } else {
                Err("a parenthesis is not closed".into())
            };
        }
        let scope = self.scope;
        let rest = self.rest;
        let word = self
            .word()
            .ok_or_else(|| format!("`{rest}` is not understood"))?;
        if word.starts_with(|character: char| character.is_ascii_digit()) {
            return Ok(Type::Plain);
        }
        scope.named(word)
    }
}

/// Returns the position of the parenthesis that closes the one before a text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}
