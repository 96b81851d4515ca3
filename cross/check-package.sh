#!/usr/bin/env bash
# Checks the package in target/package/: that it is whole, that its signatures hold, and that they do not hold any
# more where a byte is changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
package=$target/package
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# check NAME COMMAND...: whether the command succeeds; what it prints is shown if it does not.
check() {
    local output
    if output=$("${@:2}" 2>&1); then
        printf 'ok      %s\n' "$1"
    else
        printf '%s\nFAILED  %s\n' "$output" "$1"
        failures=$((failures + 1))
    fi
}

refused() {
    ! "$@"
}

files_are_seven() {
    diff <(printf '%s\n' harness.{debug,exe} interlock.{cat,cer,inf,pdb,sys} | sort) <(ls -A "$package" | sort)
}

# The harness without its symbols is less than 4 MB.
harness_is_stripped() {
    local size
    size=$(stat -c %s "$package/harness.exe")
    ((size < 4000000)) || {
        echo "harness.exe has $size bytes"
        return 1
    }
}

# The symbols of the harness are in the file that it names.
symbols_are_beside_harness() {
    llvm-readobj-19 --hex-dump=.gnu_debuglink "$package/harness.exe" | grep -F harness.debug &&
        llvm-readobj-19 --sections "$package/harness.debug" | grep -F .debug_line
}

version_is_cargos() {
    local id
    id=$(cargo pkgid --package interlock-sys)
    grep -E "^DriverVer = [0-9/]+,${id##*[#@]}\.0"$'\r?$' "$package/interlock.inf"
}

certificate_is_der() {
    openssl x509 -inform DER -in "$package/interlock.cer" -out "$scratch/interlock.pem" &&
        openssl x509 -in "$scratch/interlock.pem" -outform DER | cmp - "$package/interlock.cer"
}

certificate_is_for_code() {
    local text
    text=$(openssl x509 -in "$scratch/interlock.pem" -noout -text)
    grep -A1 'Extended Key Usage: critical' <<<"$text" | grep -x ' *Code Signing' &&
        grep -E 'Public-Key: \((2048|3072|4096) bit\)' <<<"$text"
}

key_is_private() {
    [[ $(stat -c %a "$target/test-certificate/interlock.key") == 600 ]]
}

# The signature in a file of a package is by the test certificate, and of the file as it is.
signed() {
    osslsigncode verify -CAfile "$scratch/interlock.pem" -in "$1"
}

# The same of the driver by the catalog's signature.
signed_in_catalog() {
    osslsigncode verify -CAfile "$scratch/interlock.pem" -catalog "$1/interlock.cat" -in "$1/interlock.sys"
}

# with_changed_byte FILE OFFSET: makes a copy of the package with one byte of the file changed.
with_changed_byte() {
    local copy=$scratch/package byte
    rm -rf "$copy"
    cp -r "$package" "$copy"
    byte=$(od -An -tu1 -j "$2" -N 1 "$copy/$1")
    printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
        dd of="$copy/$1" bs=1 seek="$2" conv=notrunc status=none
    ! cmp -s "$package/$1" "$copy/$1"
}

check 'seven files and no other' files_are_seven
check 'harness.exe is less than 4 MB' harness_is_stripped
check 'its symbols are in harness.debug' symbols_are_beside_harness
check "the INF's version is Cargo's" version_is_cargos
check 'the certificate is DER' certificate_is_der
check 'the certificate is for signing code' certificate_is_for_code
check 'the key is for nobody else to read' key_is_private
check 'the signed driver is still a right image' cargo interlock-cross check-image "$package/interlock.sys"
check 'the INF keeps the rules for Windows drivers' cargo interlock-cross check-inf "$package/interlock.inf"
check 'the catalog lists the files as they are' cargo interlock-cross check-catalog "$package/interlock.inf"
check 'interlock.sys is signed' signed "$package/interlock.sys"
check 'interlock.cat is signed' signed "$package/interlock.cat"
check 'interlock.sys is signed in interlock.cat' signed_in_catalog "$package"

check 'interlock.sys as it was built is not' refused signed "$target/interlock/interlock.sys"

# In the driver's headers, its code and its last section; the signature follows that, and its hash is not of itself.
size=$(stat -c %s "$target/interlock/interlock.sys")
for offset in 64 $((size / 3)) $((size - 600)); do
    with_changed_byte interlock.sys "$offset"
    check "interlock.sys with byte $offset changed is refused" refused signed "$scratch/package/interlock.sys"
    check "and not signed in the catalog" refused signed_in_catalog "$scratch/package"
done
# In the catalog's list, and in the signature that ends it.
size=$(stat -c %s "$package/interlock.cat")
for offset in 160 500 $((size - 8)); do
    with_changed_byte interlock.cat "$offset"
    check "interlock.cat with byte $offset changed is refused" refused signed "$scratch/package/interlock.cat"
    check "and the driver not signed in it" refused signed_in_catalog "$scratch/package"
done
with_changed_byte interlock.inf 100
check 'interlock.inf with a byte changed is not in the catalog' \
    refused cargo interlock-cross check-catalog "$scratch/package/interlock.inf"

if ((failures != 0)); then
    echo "$failures checks of the package failed"
    exit 1
fi
