# shellcheck shell=bash
# What bin/site, bin/test and bench/run share: Debian packages and locked Python environments. To be sourced; runs
# nothing itself.

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Run a command as root: as we are, or through sudo where there is one.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo here. Become root and run: $*"
    fi
}

# apt, without questions, and patient with another apt that is at work (a fresh machine's own updates, usually).
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@"
}

__apt_updated=
apt_update() {
    [ -n "$__apt_updated" ] && return
    say "Refreshing the list of Debian packages"
    apt update >&2 || die "apt-get update failed: see its words above"
    __apt_updated=yes
}

# need_packages PACKAGE…: see to it that these Debian packages are installed; quick when they are.
need_packages() {
    local package missing=()
    if ! command -v dpkg-query >/dev/null; then
        say "This is no Debian, so please make sure yourself that you have: $*"
        return
    fi
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    apt_update
    say "Installing Debian packages: ${missing[*]}"
    apt install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        die "could not install ${missing[*]}: see apt's words above"
}

# Everything that fetches trusts what the system trusts: a machine may sit behind a proxy with a CA of its own.
trust_system_certificates() {
    local bundle=/etc/ssl/certs/ca-certificates.crt
    export UV_SYSTEM_CERTS=1
    [ -r "$bundle" ] || return 0
    export PIP_CERT="${PIP_CERT:-$bundle}" REQUESTS_CA_BUNDLE="${REQUESTS_CA_BUNDLE:-$bundle}"
    export SSL_CERT_FILE="${SSL_CERT_FILE:-$bundle}"
}

# need_venv DIR LOCK [LOCK…]: a virtual environment with exactly what the hashed locks name. It is made anew when a
# lock, the Python or the place changed: three seconds with uv's cache, and nothing of an older lock stays behind.
need_venv() {
    local dir=$1 python=${PYTHON:-python3} uv_lock=$__lib_root/requirements/uv.txt wanted lock
    shift
    command -v "$python" >/dev/null || need_packages python3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1). Name another one: PYTHON=python3.13"
    # Never build one environment from another that happens to be activated.
    python=$("$python" -c 'import os, sys; print(os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2]))')
    wanted=$({ printf '%s\n' "$PWD/$dir"; "$python" -c 'import sys; print(sys.executable, sys.version)'
        cat "$uv_lock" "$@"; } | sha256sum)
    [ "$(cat "$dir/.made-from" 2>/dev/null)" = "$wanted" ] && return

    need_packages ca-certificates
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need_packages python3-venv
    trust_system_certificates
    say "Building $dir from $* (half a minute the first time)"
    "$python" -m venv --clear "$dir"
    "$dir/bin/python" -m pip --disable-pip-version-check install -q --require-hashes -r "$uv_lock" ||
        die "could not fetch uv from the package index: see pip's words above"
    # pip's own settings name the index for uv too, so that a mirror is set in one place.
    local index
    index=${PIP_INDEX_URL:-$("$dir/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    set --  "${@/#/--requirements=}"
    for lock in "$@"; do
        "$dir/bin/uv" pip install --python "$dir/bin/python" --require-hashes --link-mode="${UV_LINK_MODE:-hardlink}" \
            "$lock" >&2 || die "could not install ${lock#*=}: see uv's words above"
    done
    printf '%s\n' "$wanted" > "$dir/.made-from"
}

# nginx's program, for what the templates render. Its package is only unpacked: a developer's machine needs no server.
need_nginx() {
    export PATH=$PATH:/usr/sbin
    command -v nginx >/dev/null && return
    command -v apt-get >/dev/null || return 0
    export PATH=$PATH:$__lib_root/build/nginx/usr/sbin
    if ! command -v nginx >/dev/null; then
        apt_update
        say "Unpacking Debian's nginx below build/nginx, without installing it"
        mkdir -p "$__lib_root/build/nginx"
        (cd "$__lib_root/build/nginx" && apt-get -qq download nginx nginx-common &&
            for file in *.deb; do dpkg-deb --extract "$file" . && rm "$file"; done) ||
            say "No nginx to be had: the tests that need it will be skipped, and say so"
    fi
    # The one folder that Debian's nginx insists on, whatever its configuration says.
    [ -d /var/lib/nginx ] || as_root mkdir /var/lib/nginx
}

__lib_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
