# shellcheck shell=sh
# What bin/site, bin/test, bin/lock and bench/run share: Debian packages and locked Python environments. To be sourced
# from the project's root, by sh or bash; runs nothing itself. Functions in (parentheses) keep their variables.

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Run a command as root: as we are, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo here. Become root and run: $*"
    fi
}

# apt without questions; it waits for another apt, such as the updates of a fresh machine.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@"
}

apt_update() {
    say "Refreshing the list of Debian packages"
    apt update >&2 || die "apt-get update failed: see its messages above"
}

# need_packages PACKAGE…: install the Debian packages that are missing.
need_packages() (
    if ! command -v dpkg-query >/dev/null; then
        say "This is not Debian; install these yourself if they are missing: $*"
        return
    fi
    missing=
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    apt_update
    say "Installing Debian packages:$missing"
    # shellcheck disable=SC2086 # a list of words
    apt install -y --no-install-recommends $missing >/dev/null || die "could not install$missing: see apt's messages above"
)

# Everything that downloads trusts what the system trusts: a machine may sit behind a proxy with a CA of its own.
trust_system_certificates() {
    bundle=/etc/ssl/certs/ca-certificates.crt
    export UV_SYSTEM_CERTS=1
    [ -r "$bundle" ] || return 0
    export PIP_CERT="${PIP_CERT:-$bundle}" REQUESTS_CA_BUNDLE="${REQUESTS_CA_BUNDLE:-$bundle}"
    export SSL_CERT_FILE="${SSL_CERT_FILE:-$bundle}"
}

# The Python that environments are made with: $PYTHON, or python3, and never one of another environment.
find_python() (
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || need_packages python3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1). Name another one: PYTHON=python3.13"
    "$python" -c 'import os, sys; print(os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2]))'
)

UV_LOCK=roles/host/files/uv.txt

# What an environment is made from: the Python, the place and the locks, as one digest.
describe_venv() (
    python=$1 dir=$2
    shift 2
    "$python" - "$PWD/$dir" "$UV_LOCK" "$@" <<'DIGEST'
import hashlib, pathlib, sys
total = hashlib.sha256(f"{sys.argv[1]}\n{sys.executable}\n{sys.version}\n".encode())
for lock in sys.argv[2:]:
    total.update(pathlib.Path(lock).read_bytes())
print(total.hexdigest())
DIGEST
)

# need_venv DIR LOCK [LOCK…]: a virtual environment with exactly what the hashed locks name. It is made anew when a
# lock, the Python or the place changed: three seconds with uv's cache, and nothing of an older lock stays behind.
need_venv() (
    dir=$1
    shift
    python=$(find_python)
    wanted=$(describe_venv "$python" "$dir" "$@")
    [ "$(cat "$dir/.made-from" 2>/dev/null)" != "$wanted" ] || return 0

    need_packages ca-certificates
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need_packages python3-venv
    trust_system_certificates
    say "Building $dir from $* (half a minute the first time)"
    "$python" -m venv --clear "$dir"
    "$dir/bin/python" -m pip --disable-pip-version-check install -q --require-hashes -r "$UV_LOCK" ||
        die "could not download uv from the package index: see pip's messages above"
    # pip's own settings name the index for uv too, so that a mirror is set in one place.
    index=${PIP_INDEX_URL:-$("$dir/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    for lock in "$@"; do
        "$dir/bin/uv" pip install --python "$dir/bin/python" --require-hashes --link-mode="${UV_LINK_MODE:-hardlink}" \
            --requirements="$lock" >&2 || die "could not install $lock: see uv's messages above"
    done
    printf '%s\n' "$wanted" > "$dir/.made-from"
)

# nginx's program, to check what the templates render. Its package is only unpacked, not installed.
need_nginx() {
    export PATH="$PATH:/usr/sbin"
    ! command -v nginx >/dev/null || return 0
    command -v apt-get >/dev/null || return 0
    export PATH="$PATH:$PWD/build/nginx/usr/sbin"
    if ! command -v nginx >/dev/null; then
        apt_update
        say "Unpacking Debian's nginx below build/nginx, without installing it"
        mkdir -p build/nginx
        (cd build/nginx && apt-get -qq download nginx nginx-common &&
            for file in *.deb; do dpkg-deb --extract "$file" . && rm "$file"; done) ||
            say "Debian's nginx could not be downloaded: the tests that need it will be skipped, and say so"
    fi
    # The one folder that Debian's nginx insists on, whatever its configuration says.
    [ -d /var/lib/nginx ] || as_root mkdir /var/lib/nginx
}
