# shellcheck shell=bash disable=SC2034
# The paths of Debian's Wine. Sourced, not run.

# Prints the first of these paths that exists.
first_of() {
    local path
    for path in "$@"; do
        if [[ -e $path ]]; then
            printf '%s\n' "$path"
            return
        fi
    done
    echo "none of these exists: $* (is the package wine64 installed?)" >&2
    return 2
}

wine64=$(first_of /usr/lib/wine/wine64 /usr/bin/wine64)
wineserver=$(first_of /usr/lib/wine/wineserver64 /usr/bin/wineserver)

# The path of one of Wine's PE files.
wine_pe() {
    first_of "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/$1" "/usr/lib/wine/x86_64-windows/$1"
}
