#!/usr/bin/env bash
# Installs a driver under Wine, opens its device, and removes it again:
#   driver.sh NAME TARGET [--no-inf] [--debug-log] [-- COMMAND ARGUMENT...]
# The driver is that of TARGET/interlock. COMMAND is a program for Windows, which runs while the driver is installed.
# --no-inf creates a service instead, for a driver with a control device, which COMMAND opens. A driver with the INF of a filter is also
# loaded as a service, since Wine never calls a filter's AddDevice. --debug-log writes the output of DbgPrintEx to TARGET/wine/wine.log.
#
# Passes if the driver or its device starts and COMMAND succeeds, and if afterwards the driver is unloaded with all its pool freed, and
# no device node is left. Exit code 0 passed, 1 failed, 2 could not run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
driver=$1
built=$2/interlock
work=$2/wine
shift 2
inf=$built/$driver.inf
if [[ ${1-} == --no-inf ]]; then
    inf=/dev/null
    shift
fi
if grep -q '^Class *= *Extension' "$inf"; then
    printf 'Wine adds no filter to a device: %s is loaded as a service, and gets no device\n' "$driver"
    inf=/dev/null
fi
# The hardware ID is the last field of the INF's first line for a root-enumerated device, and AddInterface names the
# interface.
hardware_id=$(sed -nE '/^;/! s/.*,[[:space:]]*([Rr][Oo][Oo][Tt]\\[^[:space:],;]+).*/\1/p' "$inf" | head -n 1)
interface=$(sed -nE 's/^AddInterface[[:space:]]*=[[:space:]]*(\{[^}]*\}).*/\1/p' "$inf" | head -n 1)
# shellcheck source=session.sh
source "$here/session.sh"

build_installer() {
    [[ $work/devnode.exe -nt $here/devnode.c ]] ||
        x86_64-w64-mingw32-gcc-win32 -std=gnu11 -O2 -Wall -Wextra -Werror -municode \
            -o "$work/devnode.exe" "$here/devnode.c" -lsetupapi -lnewdev -lole32
}

# install, and remove: as devcon does with an INF, or as sc.exe does with a service.
install() {
    if [[ -n $hardware_id ]]; then
        build_installer
        wine 120 "$work/devnode.exe" install "Z:${package//\//\\}\\$driver.inf" "$hardware_id" ||
            failed "$driver was not installed (see above)"
    else
        # Deletes the service of an earlier run. A run does not delete its service: sc.exe can hang directly after the driver was unloaded.
        wine 60 sc.exe delete "$driver" > /dev/null 2>&1 || true
        wine 60 sc.exe create "$driver" type= kernel start= demand binPath= "Z:${package//\//\\}\\$driver.sys" ||
            failed "the service $driver was not created (see above)"
        wine 60 sc.exe start "$driver" > /dev/null || failed "the service $driver did not start (see above)"
    fi
    await_service
    if [[ -n $interface ]]; then
        wine 60 "$work/devnode.exe" open "$interface"
    fi
}

# The service control manager can still be starting the driver, in another process.
await_service() {
    local state try
    for ((try = 0; try < 60; try++)); do
        state=$(service_state)
        [[ $state == START_PENDING ]] || break
        sleep 1
    done
    [[ $state == RUNNING ]] || failed "the service $driver does not run: its state is ${state:-unknown}; $work/wine.log ends with: $(tail -n 3 "$work/wine.log")"
}

remove() {
    local status=0
    [[ -z $hardware_id ]] || wine 120 "$work/devnode.exe" remove "$hardware_id" || status=1
    unload
    return "$status"
}

main() {
    local lines status=0
    [[ -n $hardware_id || $inf == /dev/null ]] || could_not_run "$inf names no hardware ID such as root\\$driver"
    if [[ ${1-} == --debug-log ]]; then
        WINEDEBUG+=,warn+debugstr
        shift
    fi
    [[ ${1-} != -- ]] || shift
    begin "$built"
    lines=$(wc -l < "$driver_log")
    install || status=1
    if (($# > 0)); then
        say "$*"
        program 3600 "$@" || status=$?
    fi
    remove || status=1
    check_removed "$lines"
    stop_wine || failed "a Wine process is still running"
    ((status == 0)) || failed "the driver's device or the command failed (see above)"
    say passed
}

# On a terminal Wine would use control sequences; to a pipe it prints plain lines.
main "$@" 2>&1 | cat
