# shellcheck shell=bash disable=SC2034
# Functions that run a driver under Wine. A script sources this file after it has set these variables:
#   driver         the name of the driver's files and of its service
#   hardware_id    the hardware ID of its device; empty if the driver has no INF
#   work           the folder for the prefix and the logs
#
# The script that sources it exits with 0 if the driver passed, 1 if it failed, and 2 if it could not be run.

shim=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=wine.sh
source "$shim/wine.sh"

package=$work/package # what is installed
export WINEPREFIX=$work/prefix
export WINEARCH=win64
# Wine sets up no desktop, and the log has only errors of the driver's host process.
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

# program SECONDS PROGRAM ARGUMENT...: as `wine`, but runs the program again if Wine itself has crashed, which happens rarely. A fault
# in a Windows program or in a driver is an exception, which does not end a process with SIGSEGV.
program() {
    local status=0
    wine "$@" || status=$?
    if ((status == 139)); then
        say "Wine itself crashed (SIGSEGV); running the program again"
        status=0
        wine "$@" || status=$?
    fi
    return "$status"
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

# Ends Wine. Returns 0 if every process of the prefix has ended.
stop_wine() {
    local left
    timeout 30 "$wineserver" -k 2> /dev/null 9>&- || true
    timeout 30 "$wineserver" -w 2> /dev/null 9>&- || true
    left=$(processes)
    [[ -z $left ]] && return
    printf 'still running after wineserver -k:\n%s\n' "$left"
    awk '{ print $1 }' <<< "$left" | xargs kill -KILL 2> /dev/null || true
    return 1
}

build_shim() {
    local made=$work/ntoskrnl.exe sources
    sources=("$shim"/*.[ch] "$shim/build.sh" "$(wine_pe ntoskrnl.exe)")
    [[ -e $made && -z $(find "${sources[@]}" -newer "$made") ]] && return
    say "building the ntoskrnl.exe that completes Wine's"
    "$shim/build.sh" "$work" || could_not_run "$shim/build.sh failed (see above)"
}

# Not `wineboot -i`: the first Wine process has already done that. A second time would start a second services.exe, whose lock on the
# service database is never released.
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
    # Wine loads the ntoskrnl.exe that was copied, and not its own. winedevice.exe inherits the environment of the first Wine process, so
    # the variable must be set before that process starts.
    WINEDLLOVERRIDES+=';ntoskrnl.exe=n,b'
}

# make_package FOLDER FILE...: copies a driver from a folder, with further files of it.
#
# Wine 8 cannot handle two entries of the INF, so a copy without them is installed. It does not support a Windows version in the name
# of a models section. If the catalog that the INF names is missing, it records uninitialised memory as the name of the INF that the
# device was installed from.
make_package() {
    local file without_catalog= inf=()
    [[ -z $hardware_id ]] || inf=("$driver.inf")
    for file in "$driver.sys" "${inf[@]}" "${@:2}"; do
        [[ -e $1/$file ]] || could_not_run "$1/$file does not exist: build it first"
    done
    rm -rf "$package"
    mkdir -p "$package"
    for file in "$driver.sys" "${@:2}"; do
        cp "$1/$file" "$package/"
    done
    [[ -n $hardware_id ]] || return 0
    if [[ -e $1/$driver.cat ]]; then
        cp "$1/$driver.cat" "$package/"
    else
        without_catalog='/^CatalogFile/d'
    fi
    sed -E "s/(NTamd64)\.10\.0\.\.\.[0-9]+/\1/; $without_catalog" "$1/$driver.inf" > "$package/$driver.inf"
}

start_wine() {
    stop_wine || could_not_run "an earlier Wine does not end"
    rm -f "$driver_log"
    # The server runs for 10 minutes after its last client. It and the services print to a file, since a process that reads their
    # output from a pipe would wait until they end.
    "$wineserver" -p600 9>&-
    boot_wine "$work/wine.log"
    grep -q '^supplied: ' "$driver_log" 2> /dev/null || could_not_run "Wine does not load our ntoskrnl.exe: see $work/wine.log"
}

service_state() {
    wine 60 sc.exe query "$driver" 2> /dev/null | awk '$1 == "STATE" { print $4 }' | tr -d '\r'
}

# Windows unloads a driver when its last device is removed; Wine unloads it when its service is stopped.
unload() {
    if [[ $(service_state) == RUNNING ]]; then
        wine 60 sc.exe stop "$driver" > /dev/null 2>&1 || true
    fi
    [[ $(service_state) != RUNNING ]] || failed "the service $driver does not stop"
}

# Checks the state after the device was removed. $1: the number of lines in the log before it was installed.
check_removed() {
    local new devices
    if [[ -n $hardware_id ]]; then
        devices=$(wine 60 reg.exe query 'HKLM\System\CurrentControlSet\Enum' /s 2> /dev/null | grep -icF "$hardware_id" || true)
        ((devices == 0)) || failed "a device node of $hardware_id is left in the registry"
    fi
    new=$(tail -n "+$(($1 + 1))" "$driver_log")
    grep -q "^driver $driver unloaded: " <<< "$new" || failed "the driver was not unloaded: see $driver_log"
    if grep -E '^(error|not freed|driver .* not unloaded)' <<< "$new"; then
        failed "the driver broke a rule (above)"
    fi
    if grep "^driver $driver unloaded: " <<< "$new" | grep -v ': 0 blocks, 0 bytes '; then
        failed "the driver left pool behind (above)"
    fi
    grep "^driver $driver unloaded: " <<< "$new" | sed 's/^/    /'
}

summary() {
    printf '%s\n  routines that replace Wine'\''s:\n' "$(< "$work/version")"
    sed -n 's/^supplied: /    /p' "$driver_log" | sort -u
    printf '  routines that call Wine'\''s:\n'
    sed -n 's/^wrapped: /    /p' "$driver_log" | sort -u
    printf '  every other routine is Wine'\''s\n'
}

# begin FOLDER FILE...: starts Wine with the driver of that folder, not installed yet, until the script ends.
begin() {
    mkdir -p "$work"
    exec 9> "$work/lock"
    flock --nonblock 9 || could_not_run "another run is using $WINEPREFIX"
    trap 'stop_wine > /dev/null || true' EXIT
    build_shim
    make_prefix
    make_package "$@"
    start_wine
}
