#!/usr/bin/env bash
# Makes the driver package in target/package/ of what was built, signed with a test certificate, and checks it.
# The certificate and its key are made on first use and stay in target/test-certificate/. It is for x64 alone: a package
# has the harness in it, which is built for nothing else here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ $# -gt 0 ]]; then
    echo 'usage: cross/package.sh' >&2
    exit 2
fi
cross/packages.sh
target=${CARGO_TARGET_DIR:-target}
built=$target/interlock
package=$target/package
certificate=$target/test-certificate/interlock.pem
key=$target/test-certificate/interlock.key

# A certificate of its own issuer, for signing code and nothing else. Another is made when it is about to end.
make_certificate() {
    [[ -e $key ]] && openssl x509 -in "$certificate" -noout -checkend 86400 >/dev/null 2>&1 && return
    mkdir -p "${key%/*}"
    rm -f "$key" "$certificate"
    (umask 077 && quietly openssl req -x509 -newkey rsa:3072 -noenc -sha256 -days 3650 \
        -subj '/CN=Interlock test certificate' \
        -addext basicConstraints=critical,CA:FALSE \
        -addext keyUsage=critical,digitalSignature \
        -addext extendedKeyUsage=critical,codeSigning \
        -keyout "$key" -out "$certificate")
}

sign() {
    quietly osslsigncode sign -h sha256 -n Interlock -certs "$certificate" -key "$key" -in "$1" -out "$1.signed"
    mv "$1.signed" "$1"
}

# What a command prints is of interest only if it fails.
quietly() {
    local output
    output=$("$@" 2>&1) || {
        printf '%s\n%s failed\n' "$output" "$1" >&2
        return 1
    }
}

make_certificate
rm -rf "$package"
mkdir -p "$package"
cp "$built"/{interlock.sys,interlock.inf,interlock.pdb} "$package/"
# The symbols of the harness go into a file beside it, which its section .gnu_debuglink names.
llvm-objcopy-19 --only-keep-debug "$built/harness.exe" "$package/harness.debug"
llvm-objcopy-19 --strip-all --add-gnu-debuglink="$package/harness.debug" "$built/harness.exe" "$package/harness.exe"
sign "$package/interlock.sys"
# The catalog is of the files as they are now, so it comes last.
cargo interlock-cross make-catalog "$package/interlock.inf"
sign "$package/interlock.cat"
openssl x509 -in "$certificate" -outform DER -out "$package/interlock.cer"

cross/check-package.sh
