# shellcheck shell=bash disable=SC2034
# The architectures that the driver is built for. Sourced, not run.

# Sets what depends on the architecture from `--arch x64|arm64`; x64 if nothing is given. 1 for anything else.
parse_arch() {
    case "$*" in
    '' | '--arch x64')
        arch=x64 inf_arch=amd64 driver=driver triple=x86_64-pc-windows-msvc
        out=${CARGO_TARGET_DIR:-target}/interlock
        ;;
    '--arch arm64')
        arch=arm64 inf_arch=arm64 driver=driver-arm64 triple=aarch64-pc-windows-msvc
        out=${CARGO_TARGET_DIR:-target}/interlock-arm64
        ;;
    *) return 1 ;;
    esac
}
