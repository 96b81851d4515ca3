//! The names of functions in reports, `Type::function`, for both of the compiler's symbol manglings.
//!
//! | | legacy | v0 |
//! | --- | --- | --- |
//! | a method | `wdm::io::irp::Irp<R>::complete` | `<wdm::io::irp::Irp<u32>>::complete::<wdm::ke::irql::PassiveLevel>` |
//! | a method of a trait | `<interlock::Fifo as wdm::Device>::remove` | the same |
//! | a default method of a trait | `wdm::Device::remove` | `<interlock::Fifo as wdm::Device>::remove` |
//! | a closure | `interlock::add::{{closure}}` | `interlock::add::{closure#0}` |
//!
//! For a default method of a trait, a legacy symbol does not contain the type, so the name has the trait instead.

/// Returns `Type::function`, or `module::function` if it is not a method, for a demangled path. A closure adds
/// `::{closure}`.
pub(crate) fn short(path: &str) -> String {
    last(path, 2)
}

/// Returns the last names of a path, with the closures after and between them.
fn last(path: &str, mut names: usize) -> String {
    let mut kept = Vec::new();
    for (index, part) in split(path, "::").into_iter().enumerate().rev() {
        // The arguments of a generic function.
        if index > 0 && part.starts_with('<') && !part.starts_with("<impl ") {
            continue;
        }
        if names == 0 {
            break;
        }
        if part.starts_with('{') {
            let kind = part.trim_matches(['{', '}']).split('#').next();
            kept.push(format!("{{{}}}", kind.unwrap_or_default()));
        } else {
            names -= 1;
            kept.push(name(part));
        }
    }
    kept.reverse();
    kept.join("::")
}

/// Returns the name in one part of a path: `Irp` for `Irp<R>`, `<Irp<R> as Drop>` and `<impl Drop for Irp<R>>`.
fn name(part: &str) -> String {
    let Some(implementation) = part
        .strip_prefix('<')
        .and_then(|part| part.strip_suffix('>'))
    else {
        return part.split('<').next().unwrap_or_default().to_owned();
    };
    let for_type = match implementation.strip_prefix("impl ") {
        Some(implementation) => split(implementation, " for ").pop(),
        None => split(implementation, " as ").into_iter().next(),
    };
    let mut named = for_type.unwrap_or_default();
    for sigil in ["&", "*", "mut ", "const ", "dyn "] {
        named = named.strip_prefix(sigil).unwrap_or(named);
    }
    // Tuples, arrays and functions have no name.
    if named.starts_with(['(', '[']) || named.starts_with("fn(") {
        return named.to_owned();
    }
    last(named, 1)
}

/// Returns the parts of a text between separators that are outside brackets.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    let mut before = ' ';
    for (index, character) in text.char_indices() {
        match character {
            '<' | '(' | '[' | '{' => depth += 1,
            // The arrow of a function type, which is `.>` in legacy symbols.
            '>' if matches!(before, '-' | '.') => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 && index >= start && text[index..].starts_with(separator) => {
                parts.push(&text[start..index]);
                start = index + separator.len();
            }
            _ => {}
        }
        before = character;
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use backtrace::SymbolName;

    use super::short;

    /// Symbols of one program in both manglings, and the functions that they name.
    const BOTH: &[(&str, &str, &str)] = &[
        (
            "_ZN3sym4main17h08cc069d1773aad5E",
            "_RNvCskmyjjBiEivC_3sym4main",
            "sym::main",
        ),
        (
            "_ZN3sym2io8mistakes16Gen$LT$T$C$_$GT$3get17h9e1fd8422b012149E",
            "_RINvMs0_NtNtCskmyjjBiEivC_3sym2io8mistakesINtB6_3GentKj4_E3getReNCNvBa_4main0EBa_",
            "Gen::get",
        ),
        (
            "_ZN65_$LT$sym..io..mistakes..TakenAnyway$u20$as$u20$sym..io..Steps$GT$6insert17hf8682c3d8abd44ddE",
            "_RNvXNtNtCskmyjjBiEivC_3sym2io8mistakesNtB2_11TakenAnywayNtB4_5Steps6insert",
            "TakenAnyway::insert",
        ),
        (
            "_ZN76_$LT$sym..io..mistakes..Gen$LT$T$C$3_usize$GT$$u20$as$u20$sym..io..Steps$GT$6insert28_$u7b$$u7b$closure$u7d$$u7d$17h65e6245f7b15359bE",
            "_RNCNvXs_NtNtCskmyjjBiEivC_3sym2io8mistakesINtB6_3GenhKj3_ENtB8_5Steps6insert0Ba_",
            "Gen::insert::{closure}",
        ),
        (
            "_ZN77_$LT$sym..io..mistakes..Gen$LT$T$C$_$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0aa201665340b9d4E",
            "_RNvXs1_NtNtCskmyjjBiEivC_3sym2io8mistakesINtB5_3GentKj4_ENtNtNtCs8NwYtU1Mohg_4core3ops4drop4Drop4dropB9_",
            "Gen::drop",
        ),
        // Implementations in another module than the type; the type of the second one contains a closure.
        (
            "_ZN3sym2io5impls73_$LT$impl$u20$sym..io..Steps$u20$for$u20$sym..io..Elsewhere$LT$u8$GT$$GT$6insert17h5ba2c7599e970e74E",
            "_RNvXs_NtNtCskmyjjBiEivC_3sym2io5implsINtB6_9ElsewherehENtB6_5Steps6insert",
            "Elsewhere::insert",
        ),
        (
            "_ZN3sym2io5impls45_$LT$impl$u20$sym..io..Elsewhere$LT$F$GT$$GT$3run17h0a4b10fc7b8fe22bE",
            "_RNvMNtNtCskmyjjBiEivC_3sym2io5implsINtB4_9ElsewhereNCNvB6_4mains_0E3runB6_",
            "Elsewhere::run",
        ),
        (
            "_ZN3sym4main28_$u7b$$u7b$closure$u7d$$u7d$17h5458013cec596938E",
            "_RNCNvCskmyjjBiEivC_3sym4mains_0B3_",
            "sym::main::{closure}",
        ),
        (
            "_ZN3sym4main28_$u7b$$u7b$closure$u7d$$u7d$5inner17hbb93994967f4f2a9E",
            "_RNvNCNvCskmyjjBiEivC_3sym4mains1_05inner",
            "main::{closure}::inner",
        ),
        (
            "_ZN47_$LT$$u5b$u8$u5d$$u20$as$u20$sym..io..Steps$GT$6insert17h830b7e9bf5ac113bE",
            "_RNvXNtCskmyjjBiEivC_3sym2ioShNtB2_5Steps6insert",
            "[u8]::insert",
        ),
        (
            "_ZN116_$LT$dyn$u20$core..ops..function..Fn$LT$$LP$u8$C$$RP$$GT$$u2b$Output$u20$$u3d$$u20$u16$u20$as$u20$sym..io..Steps$GT$6insert17ha1a341c81b2f52f0E",
            "_RNvXs1_NtCskmyjjBiEivC_3sym2ioDINtNtNtCs8NwYtU1Mohg_4core3ops8function2FnThEEp6OutputtEL_NtB5_5Steps6insert",
            "Fn::insert",
        ),
        (
            "_ZN82_$LT$alloc..boxed..Box$LT$dyn$u20$sym..io..Steps$GT$$u20$as$u20$sym..io..Steps$GT$6insert17h9563463f48bab1b1E",
            "_RNvXs2_NtCskmyjjBiEivC_3sym2ioINtNtCsbEht8wFNRx7_5alloc5boxed3BoxDNtB5_5StepsEL_EB12_6insert",
            "Box::insert",
        ),
        (
            "_ZN51_$LT$$BP$const$u20$u8$u20$as$u20$sym..io..Steps$GT$6insert17h8e80d318ca91c993E",
            "_RNvXs3_NtCskmyjjBiEivC_3sym2ioPhNtB5_5Steps6insert",
            "u8::insert",
        ),
    ];

    /// Functions for which a legacy symbol has the trait or its parameter instead of the type.
    const TYPE_IN_V0: &[(&str, &str, &str, &str)] = &[
        (
            "_ZN3sym2io5Steps4stat17h5379f73e24cc27ecE",
            "_RINvYNtNtNtCskmyjjBiEivC_3sym2io8mistakes11TakenAnywayNtB7_5Steps4stathEB9_",
            "Steps::stat",
            "TakenAnyway::stat",
        ),
        (
            "_ZN40_$LT$$RF$T$u20$as$u20$sym..io..Steps$GT$6insert17hbd59d7cc28fb8fcfE",
            "_RNvXs_NtCskmyjjBiEivC_3sym2ioRNtNtB4_8mistakes11TakenAnywayNtB4_5Steps6insertB6_",
            "T::insert",
            "TakenAnyway::insert",
        ),
        (
            "_ZN78_$LT$$LP$u8$C$fn$LP$u8$RP$$u20$.$GT$$u20$u16$RP$$u20$as$u20$sym..io..Steps$GT$6insert17h7350751e3ed66025E",
            "_RNvXs0_NtCskmyjjBiEivC_3sym2ioThFhEtENtB5_5Steps6insert",
            "(u8,fn(u8) .> u16)::insert",
            "(u8, fn(u8) -> u16)::insert",
        ),
    ];

    fn named(symbol: &str) -> String {
        short(&format!("{:#}", SymbolName::new(symbol.as_bytes())))
    }

    #[test]
    fn a_function_has_one_name_in_both_manglings() {
        for (legacy, v0, expected) in BOTH {
            assert_eq!([named(legacy), named(v0)], [*expected; 2]);
        }
    }

    #[test]
    fn a_type_that_only_v0_names_is_replaced_by_its_trait() {
        for (legacy, v0, trait_method, method) in TYPE_IN_V0 {
            assert_eq!([named(legacy), named(v0)], [*trait_method, *method]);
        }
    }

    #[test]
    fn unmangled_name_is_unchanged() {
        assert_eq!(named("IoCompleteRequest"), "IoCompleteRequest");
        assert_eq!(short(""), "");
    }
}
