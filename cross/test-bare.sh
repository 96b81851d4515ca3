#!/usr/bin/env bash
# Runs the commands of the book's chapters "Your own repository" and "From the model to the VM" in a Debian 12 that has only Rust and
# this repository, then the commands that differ for the other kinds of drivers, and prints the time of each. Debian is installed in
# target/bare. Needs root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The mounts are removed with the namespace of this script.
[[ ${1-} == --unshared ]] || exec unshare --mount --pid --fork --kill-child --mount-proc "$0" --unshared
bare=$(realpath -m "${CARGO_TARGET_DIR:-target}/bare")
log=$bare.log

# step COMMAND: runs the command in that Debian, with the folder and the variables of the step before. A command that begins with `!` must fail.
step() {
    local start=$SECONDS
    printf '\n$ %s\n' "$1" >> "$log"
    chroot "$bare" /usr/bin/env --ignore-environment /bin/bash -c "source /root/state; $1
        code=\$?; { echo \"cd '\$PWD'\"; export -p; } > /root/state; exit \$code" >> "$log" 2>&1 < /dev/null || {
        tail -n 40 "$log"
        printf 'FAILED after %d s: %s\n' $((SECONDS - start)) "$1"
        exit 1
    }
    printf '%5d s  %s\n' $((SECONDS - start)) "$1"
}

# The lines of a chapter's shell blocks.
commands() { sed -n '/^```sh$/,/^```$/ { /^```/! p }' "docs/book/src/$1.md"; }

# The tests of a kind of driver after its workspace was made, in its folder.
try() {
    step 'cargo fmt --all --check'
    step 'cargo test'
    step 'cargo interlock check'
    step 'cargo interlock package'
}

command -v debootstrap > /dev/null || apt-get install --quiet=2 --yes debootstrap > /dev/null
rm -rf "$bare"
debootstrap --variant=minbase bookworm "$bare" > "$log"
mkdir -p "$bare/opt/rust" "$bare/etc/ssl/certs" "$bare/root/interlock"
mount -t proc proc "$bare/proc"
mount --rbind /dev "$bare/dev"
mount --bind "$(rustc --print sysroot)" "$bare/opt/rust"
cp /etc/resolv.conf "$bare/etc/"
# As Debian's installer sets it.
printf 'deb http://deb.debian.org/debian%s main\n' ' bookworm' ' bookworm-updates' '-security bookworm-security' > "$bare/etc/apt/sources.list"
cp /etc/ssl/certs/ca-certificates.crt "$bare/etc/ssl/certs/"
git ls-files -z | xargs -0 cp --parents --target-directory="$bare/root/interlock"
cat > "$bare/root/state" << 'END'
export HOME=/root PATH=/root/.cargo/bin:/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /root/interlock
END
printf '%5d s  a bare Debian 12\n' $SECONDS

began=$SECONDS
while read -r line; do
    [[ $line != 'cargo interlock doctor' ]] || line="! $line" # A package is still missing.
    step "$line"
done < <(commands own_repository; commands model_to_vm)
printf '%5d s  in all\n' $((SECONDS - began))
((SECONDS - began < 900)) || {
    echo 'FAILED: more than 15 minutes'
    exit 1
}

# The other kinds, whose dependencies are not built again. One has a path with a space.
step 'export CARGO_TARGET_DIR=$PWD/target'
step 'mkdir "../a folder" && cd "../a folder"'
step 'cargo interlock new my_filter --kind filter && cd my_filter'
try
step '! cargo interlock wine'
step 'cd .. && cargo interlock new my_control --kind control && cd my_control'
try
step '! cargo interlock wine'
