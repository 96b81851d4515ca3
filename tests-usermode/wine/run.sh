#!/usr/bin/env bash
# Installs the driver under Wine, runs scenarios, and removes the driver:
#   run.sh [--rounds N] [--debug-log] [--package] [--driver FILE] [-- ARGUMENTS]
#                                                        every scenario; ARGUMENTS go to `harness run`
#                                                        then the driver's image on the model kernel of harness.exe
#   run.sh stress [--debug-log] ARGUMENTS                `harness stress ARGUMENTS` instead
#   run.sh sequence [--debug-log] ARGUMENTS              `harness sequence ARGUMENTS` instead
# --debug-log writes the output of DbgPrintEx to target/wine/wine.log. --package installs the signed package of
# target/package instead of the built files. --driver installs another driver with the same interface in place of interlock.sys.
#
# Passes if the harness passes, the driver is unloaded and has freed its pool, and neither a device node nor a Wine process is left.
# Exit code: 0 passed, 1 failed, 2 could not run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target
built=$target/interlock
work=$target/wine
driver=interlock
other= # a driver in place of interlock.sys
hardware_id='root\interlock'
# shellcheck source=../../cross/cargo-interlock/wine/session.sh
source "$here/../../cross/cargo-interlock/wine/session.sh"

# harness SECONDS ARGUMENT...: prints what it does, then the time that it took.
harness() {
    local start=$EPOCHREALTIME status=0
    say "harness ${*:2}"
    program "$1" "$package/harness.exe" "${@:2}" || status=$?
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "    (%.1f s)\n", b - a }'
    if ((status == 124 || status == 137)); then
        echo "harness $2 was stopped after $1 seconds"
        return 1
    fi
    return "$status"
}

# round SECONDS ARGUMENT...: install, `harness ARGUMENT...`, remove, and every check.
round() {
    local left lines status=0
    lines=$(wc -l < "$driver_log")
    harness 120 install || return
    harness 60 status || status=$?
    harness 60 doctor || status=$?
    harness "$@" || status=$?
    harness 120 remove || status=1
    left=$(processes | grep -F harness.exe || true)
    [[ -z $left ]] || failed "a harness still runs: $left"
    unload
    check_removed "$lines"
    tail -n "+$((lines + 1))" "$driver_log" | grep -Eq '^driver interlock unloaded: .*allocated [1-9]' \
        || failed "the driver allocated no pool at all: it cannot have run"
    return "$status"
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
                other=${2-}
                [[ -e $other ]] || could_not_run "--driver: there is no file '$other'"
                shift
                ;;
            *) break ;;
        esac
        shift
    done
    [[ $rounds =~ ^[1-9][0-9]*$ ]] || could_not_run "--rounds requires a number, not '$rounds'"
    if [[ ${1-} == -- ]]; then
        shift
    elif [[ $command == run && $# != 0 ]]; then
        could_not_run "'$1' is not an option; put the arguments of \`harness run\` after --"
    fi

    begin "$built" harness.exe
    [[ -z $other ]] || cp "$other" "$package/$driver.sys"
    for ((number = 1; number <= rounds; number++)); do
        ((rounds == 1)) || say "round $number of $rounds"
        round 3600 "$command" "$@" || status=$?
        ((status == 0)) || break
    done
    # The model kernel on a Windows host loads the image too.
    if ((status == 0)) && [[ $command == run && -z $other && $# == 0 ]]; then
        harness 600 run --driver "$package/$driver.sys" || status=$?
    fi
    summary
    stop_wine || failed "a Wine process was left"
    ((status == 0)) || say "FAILED: harness ended with $status"
    ((status != 0)) || say "passed"
    return "$status"
}

# With a terminal Wine would draw on it as on a console; through a pipe it prints plain lines.
main "$@" 2>&1 | cat
