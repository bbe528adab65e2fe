#!/bin/sh
# Type-checks leverd for Apple silicon, from any machine.
#
# Needs the Rust target aarch64-apple-darwin, and, where this is no Mac, a C cross compiler for the build scripts
# of ring and SQLite: ziglang from PyPI, in a virtual environment of its own under .leverd/. Where one of them cannot
# be had, it says so and ends well: this check is a help, not a gate.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-apple-darwin
place=.leverd/macos-check

skip() {
    echo "check-macos: skipped: $1"
    exit 0
}

command -v cargo >/dev/null || skip "there is no cargo"
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    command -v rustup >/dev/null || skip "the Rust target $target is not installed, and there is no rustup"
    rustup target add "$target" || skip "the Rust target $target cannot be had"
fi

if [ "$(uname -s)" != Darwin ]; then
    command -v python3 >/dev/null || skip "there is no python3 for the cross compiler"
    if ! "$place/venv/bin/python" -m ziglang version >/dev/null 2>&1; then
        mkdir -p "$place"
        python3 -m venv "$place/venv" || skip "python3 has no venv"
        "$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check ziglang \
            || skip "PyPI's ziglang cannot be had"
    fi
    python=$PWD/$place/venv/bin/python
    # The cc crate passes clang's own way of naming the target, which zig does not take.
    cat >"$place/cc" <<WRAPPER
#!/bin/sh
for argument in "\$@"; do
    shift
    case "\$argument" in
        --target=* | -mmacosx-version-min=*) ;;
        *) set -- "\$@" "\$argument" ;;
    esac
done
exec "$python" -m ziglang cc -target aarch64-macos "\$@"
WRAPPER
    printf '#!/bin/sh\nexec "%s" -m ziglang ar "$@"\n' "$python" >"$place/ar"
    chmod +x "$place/cc" "$place/ar"
    CC_aarch64_apple_darwin=$PWD/$place/cc
    AR_aarch64_apple_darwin=$PWD/$place/ar
    ZIG_GLOBAL_CACHE_DIR=$PWD/$place/zig-cache
    export CC_aarch64_apple_darwin AR_aarch64_apple_darwin ZIG_GLOBAL_CACHE_DIR
fi

cargo check --locked --target "$target" "$@"
echo "check-macos: passed"
