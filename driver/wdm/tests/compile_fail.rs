//! The driver bugs that do not compile: each file in `compile_fail/` is one, named after what is wrong in
//! it, and the compiler's answer stands beside it.

#[test]
fn driver_bugs_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
