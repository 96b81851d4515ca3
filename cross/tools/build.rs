//! Makes Cargo tell the crate where the output of build scripts goes.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
