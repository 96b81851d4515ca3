#!/usr/bin/env bash
# Runs the commands of the book's chapters "Your own repository" and "From the model to the VM" in a bare Debian 12 with Rust, then
# those that differ for the other kinds of drivers. Prints the elapsed time and the processor time of each. The Debian system is installed
# in target/bare, and deleted at the end. It contains Rust and this repository, and nothing else of this machine. KEEP=1 keeps it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bare=$(realpath -m "${CARGO_TARGET_DIR:-target}/bare")
log=$bare.log

# skip REASON: ends without a test, if none is possible.
skip() {
    printf 'SKIPPED: %s: %s\n' "${0##*/}" "$1"
    exit
}

if [[ ${1-} != --unshared ]]; then
    ((EUID == 0)) || skip 'needs root'
    unshare --mount --pid --fork true || skip 'needs namespaces of its own'
    # The second run of this script has its own mount namespace, which ends with it. So the Debian system is deleted without the mounts.
    [[ -n ${KEEP-} ]] || trap 'rm -rf --one-file-system "$bare"' EXIT
    unshare --mount --pid --fork --kill-child --mount-proc "$0" --unshared
    exit
fi

# timed COMMAND...: runs it, and sets $times to a line with its times.
TIMEFORMAT='%0R %0U %0S'
timed() {
    local code=0
    { time "$@" >> "$log" 2>&1 < /dev/null || code=$?; } 2> "$bare.times"
    read -r elapsed user system < "$bare.times"
    processors=$((processors + user + system))
    return "$code"
}

# print TEXT: prints a line for the command that `timed` ran last.
print() { printf '%5d s elapsed, %5d s processor time: %s\n' "$elapsed" $((user + system)) "$1"; }

# step COMMAND: runs it in the Debian, in the current folder and with the variables of the previous one. If it begins with `!`, it must fail.
step() {
    printf '\n$ %s\n' "$1" >> "$log"
    timed chroot "$bare" /usr/bin/env --ignore-environment /bin/bash -c "source /root/state; $1
        code=\$?; { echo \"cd '\$PWD'\"; export -p; } > /root/state; exit \$code" || {
        tail -n 40 "$log"
        print "FAILED: $1"
        exit 1
    }
    print "$1"
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

rm -rf --one-file-system "$bare"
mkdir -p "$bare"
: > "$log"
processors=0
apt() { apt-get --quiet=2 "$@"; }
# The Debian archives that this machine uses.
archives() { apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | grep bookworm; }
archives > /dev/null || apt update || skip 'apt has no archive of Debian 12'
command -v debootstrap > /dev/null || apt install --yes debootstrap > /dev/null || skip 'debootstrap cannot be installed'
archive=$(archives | awk '$3 == "bookworm" { print $2; exit }')
timed debootstrap --variant=minbase bookworm "$bare" "$archive" || {
    tail "$log"
    skip 'debootstrap failed (above)'
}
print 'a bare Debian 12'

mkdir -p "$bare/opt/rust" "$bare/etc/ssl/certs" "$bare/root/interlock"
mount -t proc proc "$bare/proc"
mount --rbind /dev "$bare/dev"
mount --bind -o ro "$(rustc --print sysroot)" "$bare/opt/rust"
cp /etc/resolv.conf "$bare/etc/"
archives > "$bare/etc/apt/sources.list"
cp /etc/ssl/certs/ca-certificates.crt "$bare/etc/ssl/certs/"
git ls-files -z | xargs -0 cp --parents --target-directory="$bare/root/interlock"
cat > "$bare/root/state" << 'END'
export HOME=/root PATH=/root/.cargo/bin:/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /root/interlock
END

# busy: the processor time of the machine in seconds, of this script and of others.
busy() { awk -v hertz="$(getconf CLK_TCK)" '$1 == "cpu" { print int(($2 + $3 + $4 + $7 + $8 + $9) / hertz) }' /proc/stat; }

SECONDS=0
processors=0
busy=$(busy)
while read -r line; do
    [[ $line != 'cargo interlock doctor' ]] || line="! $line" # A package is still missing.
    step "$line"
done < <(commands own_repository; commands model_to_vm)
elapsed=$SECONDS user=$processors system=0
print 'total'
others=$(($(busy) - busy - processors))
if ((elapsed >= 900)); then
    # Other programs that run for more than a tenth of the time falsify the result.
    ((others > elapsed * $(nproc) / 10)) || {
        echo 'FAILED: more than 15 minutes'
        exit 1
    }
    printf 'NOT JUDGED: more than 15 minutes, but other programs had the processors for %d s\n' "$others"
fi

# The other kinds, whose dependencies are not built again. One has a path with a space.
step 'export CARGO_TARGET_DIR=$PWD/target'
step 'mkdir "../a folder" && cd "../a folder"'
step 'cargo interlock new my_filter --kind filter && cd my_filter'
try
step 'cargo interlock wine'
step 'cd .. && cargo interlock new my_control --kind control && cd my_control'
try
step 'cargo interlock wine'
