#!/usr/bin/env bash
# What the shared libraries let out: async_* and nothing else, async__* only where a public header names it; and nothing in them
# asks for an executable stack, as assembly does that forgets to say that it needs none.
# ctest: shared
set -euo pipefail
failed=0

check() {
    local library=$1 name names
    names=$(nm -D --defined-only --format=posix "$library" | awk '$2 != "A" { sub(/@.*/, "", $1); print $1 }')
    if [ -z "$names" ]; then
        echo "$library exports nothing"
        failed=1
    fi
    for name in $names; do
        case $name in
            async__*)
                if ! grep -qrw --include='*.h' -e "$name" "$SOURCE_DIR/include"; then
                    echo "$library exports $name, which no public header names"
                    failed=1
                fi
                ;;
            async_*) ;;
            *)
                echo "$library exports $name, which does not begin with async_"
                failed=1
                ;;
        esac
    done
    if readelf -lW "$library" | grep -q 'GNU_STACK.*RWE'; then
        echo "$library asks for an executable stack: a .S file lacks its .note.GNU-stack"
        failed=1
    fi
    echo "$library: $(wc -w <<<"$names") symbols"
}

check "$BUILD_DIR/libcasyncio.so"
for part in http tls cluster test; do
    [ ! -e "$BUILD_DIR/libcasyncio-$part.so" ] || check "$BUILD_DIR/libcasyncio-$part.so"
done

# The core needs libc alone.
if readelf -dW "$BUILD_DIR/libcasyncio.so" | grep NEEDED | grep -vE 'lib(c|m|pthread|uring)\.so|ld-linux|libgcc_s'; then
    echo "libcasyncio.so needs the libraries above"
    failed=1
fi

# The static libraries cannot hide their internal names, so these keep to the prefix too.
for library in "$BUILD_DIR"/libcasyncio*.a; do
    # Names with a leading underscore or a dot are the compiler's own (coverage, sanitizers).
    strange=$(nm -g --defined-only --format=posix "$library" 2>/dev/null |
        awk 'NF >= 3 && $2 ~ /^[A-Z]$/ && $1 !~ /^async_/ && $1 !~ /^[_.]/ && $1 !~ /^DW\.ref/ { print $1 }')
    if [ -n "$strange" ]; then
        echo "$library has global names that do not begin with async_:" $strange
        failed=1
    fi
done
exit $failed
