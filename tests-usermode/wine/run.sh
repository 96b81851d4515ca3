#!/usr/bin/env bash
# Installs, drives and removes the driver under Wine:
#   run.sh [--rounds N] [--debug-log] [--package] [--driver FILE] [-- ARGUMENTS]
#                                                        every scenario; ARGUMENTS go to `harness run`
#   run.sh stress [--debug-log] ARGUMENTS                `harness stress ARGUMENTS` instead
#   run.sh sequence [--debug-log] ARGUMENTS              `harness sequence ARGUMENTS` instead
# --debug-log keeps what the driver prints with DbgPrintEx in target/wine/wine.log. --package installs the signed package of
# target/package instead of what was built. --driver installs another driver with the same interface in place of interlock.sys.
#
# Passes if the harness does, and if afterwards the driver is unloaded with all its pool freed, no
# device node is left and no Wine process. Exit code 0 passed, 1 failed, 2 could not run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target
# shellcheck source=wine.sh
source "$here/wine.sh"

driver= # in place of interlock.sys
built=$target/interlock # interlock.sys, interlock.inf, harness.exe; in a package interlock.cat too
work=$target/wine
package=$work/package
export WINEPREFIX=$work/prefix
export WINEARCH=win64
# Wine's defaults for a desktop, which nothing here needs, and errors alone of the driver's host.
export WINEDLLOVERRIDES='winemenubuilder.exe,mscoree,mshtml='
export WINEDEBUG='-all,err+ntoskrnl,err+plugplay'
unset DISPLAY WAYLAND_DISPLAY
system32=$WINEPREFIX/drive_c/windows/system32
driver_log=$WINEPREFIX/drive_c/windows/temp/ntoskrnl.log # written by ntoskrnl.c

say() { printf '==> %s\n' "$*"; }
failed() { printf 'FAILED: %s\n' "$*"; exit 1; }
could_not_run() { printf 'could not run: %s\n' "$*"; exit 2; }

# wine SECONDS PROGRAM ARGUMENT...
wine() {
    timeout --kill-after=10 "$1" "$wine64" "${@:2}" < /dev/null 9>&-
}

# The processes of the prefix, each as its ID and command line. A zombie has no executable.
processes() {
    local process executable
    for process in /proc/[0-9]*; do
        executable=$(readlink "$process/exe" 2> /dev/null) || continue
        [[ ${executable##*/} == wine* ]] || continue
        grep -qzxF "WINEPREFIX=$WINEPREFIX" "$process/environ" 2> /dev/null || continue
        printf '%s %s\n' "${process#/proc/}" "$(tr '\0' ' ' < "$process/cmdline")"
    done
}

# Ends Wine: 0 if every process of the prefix went.
stop_wine() {
    local left
    timeout 30 "$wineserver" -k 2> /dev/null 9>&- || true
    timeout 30 "$wineserver" -w 2> /dev/null 9>&- || true
    left=$(processes)
    [[ -z $left ]] && return
    printf 'still there after wineserver -k:\n%s\n' "$left"
    awk '{ print $1 }' <<< "$left" | xargs kill -KILL 2> /dev/null || true
    return 1
}

build_shim() {
    local made=$work/ntoskrnl.exe sources
    sources=("$here"/*.[ch] "$here/build.sh" "$(wine_pe ntoskrnl.exe)")
    [[ -e $made && -z $(find "${sources[@]}" -newer "$made") ]] && return
    say "building the ntoskrnl.exe that completes Wine's"
    "$here/build.sh" "$work" || could_not_run "$here/build.sh failed (see above)"
}

# Not `wineboot -i`: the first Wine process has done that by itself, and a second time starts a second
# services.exe, whose lock on the service database then never goes.
boot_wine() {
    wine 180 wineboot.exe > "$1" 2>&1 || could_not_run "Wine does not start: $(tail -n 3 "$1")"
}

make_prefix() {
    local version
    version=$("$wine64" --version)
    if [[ ! -e $work/version || $(< "$work/version") != "$version" ]]; then
        say "making the prefix $WINEPREFIX for $version"
        rm -rf "$WINEPREFIX" "$work/version"
        boot_wine "$work/wineboot.log"
        stop_wine || could_not_run "Wine does not end"
        printf '%s\n' "$version" > "$work/version"
    fi
    cp "$work/ntoskrnl.exe" "$work/ntosbase.dll" "$system32/"
    # Ours, not Wine's. winedevice.exe has the environment of the first Wine process, so this must be
    # set by then.
    WINEDLLOVERRIDES+=';ntoskrnl.exe=n,b'
}

# Two things in the INF are not for Wine 8, so a copy without them is installed: it knows no Windows
# version in the name of a models section, and where the catalog that the INF names is missing, it
# records uninitialised memory as the name of the INF that the device was installed from.
make_package() {
    local file without_catalog=
    for file in interlock.sys interlock.inf harness.exe; do
        [[ -e $built/$file ]] || could_not_run "$built/$file is not there: cargo make build or cargo make package makes it"
    done
    rm -rf "$package"
    mkdir -p "$package"
    cp "$built/harness.exe" "$package/"
    cp "${driver:-$built/interlock.sys}" "$package/interlock.sys"
    if [[ -e $built/interlock.cat ]]; then
        cp "$built/interlock.cat" "$package/"
    else
        without_catalog='/^CatalogFile/d'
    fi
    sed -E "s/(NTamd64)\.10\.0\.\.\.[0-9]+/\1/; $without_catalog" "$built/interlock.inf" > "$package/interlock.inf"
}

start_wine() {
    stop_wine || could_not_run "an earlier Wine does not end"
    rm -f "$driver_log"
    # The server stays for 10 minutes after its last client. Whatever it and the services print goes
    # to a file, so that nobody waits for their end of a pipe.
    "$wineserver" -p600 9>&-
    boot_wine "$work/wine.log"
    grep -q '^supplied: ' "$driver_log" 2> /dev/null || could_not_run "Wine does not load our ntoskrnl.exe: see $work/wine.log"
}

# harness SECONDS ARGUMENT...: prints what it does, then the time that it took.
harness() {
    local start=$EPOCHREALTIME status=0
    say "harness ${*:2}"
    wine "$1" "$package/harness.exe" "${@:2}" || status=$?
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "    (%.1f s)\n", b - a }'
    if ((status == 124 || status == 137)); then
        echo "harness $2 was stopped after $1 seconds"
        return 1
    fi
    return "$status"
}

service_state() {
    wine 60 sc.exe query interlock 2> /dev/null | awk '$1 == "STATE" { print $4 }' | tr -d '\r'
}

# Windows unloads a driver when its last device goes; Wine waits for the service to be stopped.
unload() {
    if [[ $(service_state) == RUNNING ]]; then
        wine 60 sc.exe stop interlock > /dev/null 2>&1 || true
    fi
    [[ $(service_state) != RUNNING ]] || failed "the service interlock does not stop"
}

# What must hold after the device was removed. $1: how many lines the log had before it was installed.
check_removed() {
    local new devices left
    devices=$(wine 60 reg.exe query 'HKLM\System\CurrentControlSet\Enum' /s 2> /dev/null | grep -icF 'root\interlock' || true)
    ((devices == 0)) || failed "a device node of root\\interlock is left in the registry"
    left=$(processes | grep -F harness.exe || true)
    [[ -z $left ]] || failed "a harness still runs: $left"

    new=$(tail -n "+$(($1 + 1))" "$driver_log")
    grep -q '^driver interlock unloaded: ' <<< "$new" || failed "the driver was not unloaded: see $driver_log"
    if grep -E '^(error|not freed|driver .* not unloaded)' <<< "$new"; then
        failed "the driver broke a rule (above)"
    fi
    if grep '^driver interlock unloaded: ' <<< "$new" | grep -v ': 0 blocks, 0 bytes '; then
        failed "the driver left pool behind (above)"
    fi
    grep -Eq '^driver interlock unloaded: .*allocated [1-9]' <<< "$new" || failed "the driver allocated no pool at all: it cannot have run"
    grep '^driver interlock unloaded: ' <<< "$new" | sed 's/^/    /'
}

# round SECONDS ARGUMENT...: install, `harness ARGUMENT...`, remove, and every check.
round() {
    local lines status=0
    lines=$(wc -l < "$driver_log")
    harness 120 install || return
    harness 60 status || status=$?
    harness 60 doctor || status=$?
    harness "$@" || status=$?
    harness 120 remove || status=1
    unload
    check_removed "$lines"
    return "$status"
}

summary() {
    printf '%s\n  supplied in place of Wine'\''s own:\n' "$(< "$work/version")"
    sed -n 's/^supplied: /    /p' "$driver_log" | sort -u
    printf '  Wine'\''s own, with a little of ours:\n'
    sed -n 's/^wrapped: /    /p' "$driver_log" | sort -u
    printf '  Wine'\''s own: every other routine\n'
}

main() {
    local rounds=1 number status=0 command=run
    if [[ ${1-} == stress || ${1-} == sequence ]]; then
        command=$1
        shift
    fi
    while (($#)); do
        case $1 in
            --rounds)
                rounds=${2-}
                shift
                ;;
            --debug-log) WINEDEBUG+=,warn+debugstr ;;
            --package) built=$target/package ;;
            --driver)
                driver=${2-}
                [[ -e $driver ]] || could_not_run "--driver: there is no file '$driver'"
                shift
                ;;
            *) break ;;
        esac
        shift
    done
    [[ $rounds =~ ^[1-9][0-9]*$ ]] || could_not_run "--rounds wants a number, not '$rounds'"
    if [[ ${1-} == -- ]]; then
        shift
    elif [[ $command == run && $# != 0 ]]; then
        could_not_run "'$1' is no option; what is for \`harness run\` goes after --"
    fi

    mkdir -p "$work"
    exec 9> "$work/lock"
    flock --nonblock 9 || could_not_run "another run is using $WINEPREFIX"
    trap 'stop_wine > /dev/null || true' EXIT
    build_shim
    make_prefix
    make_package
    start_wine
    for ((number = 1; number <= rounds; number++)); do
        ((rounds == 1)) || say "round $number of $rounds"
        round 3600 "$command" "$@" || status=$?
        ((status == 0)) || break
    done
    summary
    stop_wine || failed "a Wine process was left"
    ((status == 0)) || say "FAILED: harness ended with $status"
    ((status != 0)) || say "passed"
    return "$status"
}

# With a terminal Wine would draw on it as on a console; through a pipe it prints plain lines.
main "$@" 2>&1 | cat
