//! Attacks on the types that do not compile: each file in `attacks/` tries one way to break memory, to forge a token or
//! to deadlock from safe code, and its comments say which errors the compiler reports.

mod compiler;

use std::path::Path;

#[test]
fn attacks_do_not_compile() {
    let attacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    compiler::check(&attacks);
    // Those that no error stops before code is generated.
    compiler::check(&attacks.join("built"));
}
