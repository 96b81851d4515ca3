//! Attacks on the types that do not compile: each file in `attacks/` tries one way to corrupt memory, to forge a
//! token or to deadlock from safe code; its comments say which errors the compiler reports.

mod compiler;

use std::path::Path;

#[test]
fn attacks_do_not_compile() {
    let attacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    compiler::check(&attacks);
    // Attacks whose errors are reported only when code is generated.
    compiler::check(&attacks.join("built"));
}
