#!/usr/bin/env bash
# Builds leverd_VERSION_ARCHITECTURE.deb with dpkg-deb alone, from a release build.
#
#   cargo build --release --locked && packaging/debian/build.sh [FOLDER]      FOLDER: target/debian by default
#   LEVERD=/path/to/leverd packaging/debian/build.sh                          another program
#
# Version and date come from Cargo.toml and the last commit, so the same program gives the same package.

set -euo pipefail
# environment.sh names the debug build where nobody names another.
PROGRAM="${LEVERD:-}"
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/environment.sh"
PROGRAM="${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/leverd}"

FOLDER="${1:-${CARGO_TARGET_DIR:-target}/debian}"
HERE=packaging/debian

command -v dpkg-deb >/dev/null 2>&1 || fail "there is no dpkg-deb" "this runs on Debian and its kin"
[ -x "$PROGRAM" ] || fail "there is no $PROGRAM" "cargo build --release --locked"

VERSION="$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)"
# 1.0.0-rc.1 comes before 1.0.0.
VERSION="${VERSION/-/\~}"
ARCHITECTURE="$(dpkg --print-architecture)"
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH

umask 022
ROOT="$(mktemp -d)"
trap 'rm -rf "$ROOT"' EXIT
chmod 0755 "$ROOT"

# --- Files ---------------------------------------------------------------------------------------------------------

put() { install -D -m "$1" "$2" "$ROOT/$3"; }
# gzip without name and time.
packed() { gzip -9n >"$ROOT/$1"; }

put 0755 "$PROGRAM" usr/bin/leverd
# Debian's packages carry no debugging symbols. Without binutils it is larger, and works.
if command -v strip >/dev/null 2>&1; then strip --strip-unneeded "$ROOT/usr/bin/leverd"; fi

put 0644 packaging/systemd/leverd.service usr/lib/systemd/system/leverd.service
put 0644 config/levers.yaml etc/leverd/levers.yaml
# The shipped file, with the two paths that differ in a system's folders.
mkdir -p "$ROOT/etc/leverd"
sed -e 's|^#root: \.\.$|root: /var/lib/leverd|' -e 's|^#levers: config/levers.yaml$|levers: /etc/leverd/levers.yaml|' \
    config/leverd.yaml >"$ROOT/etc/leverd/leverd.yaml"
for line in 'root: /var/lib/leverd' 'levers: /etc/leverd/levers.yaml'; do
    grep -qxF "$line" "$ROOT/etc/leverd/leverd.yaml" ||
        fail "config/leverd.yaml has no line that becomes \"$line\"" "$HERE/build.sh replaces it: look there"
done

mkdir -p "$ROOT/usr/share/bash-completion/completions" "$ROOT/usr/share/zsh/vendor-completions" \
    "$ROOT/usr/share/fish/vendor_completions.d" "$ROOT/usr/share/man/man1"
"$PROGRAM" completions bash >"$ROOT/usr/share/bash-completion/completions/leverd"
"$PROGRAM" completions zsh >"$ROOT/usr/share/zsh/vendor-completions/_leverd"
"$PROGRAM" completions fish >"$ROOT/usr/share/fish/vendor_completions.d/leverd.fish"
"$PROGRAM" man "$ROOT/usr/share/man/man1" >/dev/null
for page in "$ROOT"/usr/share/man/man1/*.1; do
    [ -e "$page" ] || fail "leverd man wrote no page"
    gzip -9n "$page"
done

DOC=usr/share/doc/leverd
mkdir -p "$ROOT/$DOC"
put 0644 "$HERE/copyright" "$DOC/copyright"
put 0644 LICENSE-MIT "$DOC/LICENSE-MIT"
for page in README.md docs/CONFIGURATION.md docs/TRUST.md; do put 0644 "$page" "$DOC/$(basename "$page")"; done
for example in packaging/systemd/leverd.service.d/*.conf packaging/systemd/polkit/*.rules monitoring/*.yml \
    monitoring/postgresql.conf; do
    case "$example" in *.compose.yml) continue ;; esac
    put 0644 "$example" "$DOC/examples/$(basename "$(dirname "$example")")/$(basename "$example")"
done
{
    printf 'leverd (%s) unstable; urgency=medium\n\n  * See README.md.\n\n' "$VERSION"
    printf ' -- The leverd authors <leverd@localhost>  %s\n' "$(LC_ALL=C date -uR -d "@$SOURCE_DATE_EPOCH")"
} | packed "$DOC/changelog.gz"

# --- What dpkg reads -----------------------------------------------------------------------------------------------

mkdir "$ROOT/DEBIAN"
# The newest symbol of the C library that the program asks for.
GLIBC="$(LC_ALL=C grep -aoE 'GLIBC_2\.[0-9]+' "$PROGRAM" | sed 's/GLIBC_//' | sort -Vu | tail -n 1 || true)"
SIZE="$(du -sk --apparent-size --exclude=DEBIAN "$ROOT" | cut -f 1)"
sed -e "s/@VERSION@/$VERSION/" -e "s/@ARCHITECTURE@/$ARCHITECTURE/" -e "s/@GLIBC@/${GLIBC:-2.31}/" \
    -e "s/@SIZE@/$SIZE/" "$HERE/control.in" >"$ROOT/DEBIAN/control"
# What people edit: an upgrade asks before it replaces them.
printf '/etc/leverd/%s\n' leverd.yaml levers.yaml >"$ROOT/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 0755 "$HERE/$script" "$ROOT/DEBIAN/$script"; done
(cd "$ROOT" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | LC_ALL=C sort -z |
    xargs -0 md5sum) >"$ROOT/DEBIAN/md5sums"

mkdir -p "$FOLDER"
PACKAGE="$FOLDER/leverd_${VERSION}_$ARCHITECTURE.deb"
dpkg-deb --root-owner-group --build "$ROOT" "$PACKAGE" >/dev/null
say "built $PACKAGE"
printf '%s\n' "$PACKAGE"
