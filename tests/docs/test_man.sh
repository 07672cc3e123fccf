#!/usr/bin/env bash
# The manual pages: tools/man_pages.py makes one for every public function and macro, mandoc finds nothing to complain of in any of
# them, every reference leads to a page, and the same headers give the same pages. docs/man has section 7, whose programs run.
# ctest: labels=programs
set -euo pipefail
export LC_ALL=C
SOURCE_DIR=${SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v mandoc >/dev/null || { echo "skipped: mandoc is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
complain() { echo "FAILED: $1"; cat; touch "$work/failed"; }
# Fails with $1 and what comes in, if something comes in.
none() { ! grep . >"$work/found" || complain "$1" <"$work/found"; }

cd "$SOURCE_DIR"
for copy in first second; do
    python3 tools/man_pages.py --output "$work/$copy/man3" --date 2020-01-31 --version 1.2.3 include/casyncio/*.h
done
{ diff -r "$work/first" "$work/second" || true; } | none "two runs differ"
mkdir "$work/first/man7"
cp docs/man/*.7 "$work/first/man7"
cd "$work/first"

# ---- each name has a page, and each page says what a page says ----

grep -L '^\.so' man3/*.3 >"$work/pages"
grep -h '^\.so' man3/*.3 | sort -u | cut -c 5- | { grep -vxFf "$work/pages" || true; } | none "links that lead nowhere"
for section in NAME LIBRARY SYNOPSIS DESCRIPTION "SEE ALSO"; do
    xargs grep -L "^\.Sh $section\$" <"$work/pages" | sed "s/$/: no $section/"
done | none "pages that lack a section"
grep -v casyncio_ "$work/pages" | xargs grep -LE '^\.(Fo|Bd)' | none "pages with an empty SYNOPSIS"

# What a program can call, in the compiler's words and not in the script's: the functions that are declared once the headers have
# been preprocessed, and the macros. What the headers call deprecated has no page.
cd "$SOURCE_DIR"
headers=$(find include/casyncio -name '*.h' ! -name renamed.h ! -name guesses.h ! -name base.h)
for header in $headers; do echo "#include <${header#include/}>"; done >"$work/all.c"
{
    ${CC:-cc} -std=gnu11 -Iinclude -E -P "$work/all.c" | { grep -oE '\basync_[a-z0-9]\w*\(' || true; } | tr -d '('
    # shellcheck disable=SC2086
    sed -nE 's/^#define (async_[a-z0-9]\w*)\(.*/\1/p' $headers
} | sort -u >"$work/names"
# shellcheck disable=SC2086
grep -hA1 'deprecated(' $headers | { grep -oE '\basync_\w+\(' || true; } | tr -d '(' | sort -u >"$work/deprecated"
while read -r name; do
    [ -e "$work/first/man3/$name.3" ] || echo "$name"
done < <(grep -vxFf "$work/deprecated" "$work/names") | none "names without a page"
[ "$(wc -l <"$work/names")" -gt 300 ] || wc -l <"$work/names" | complain "too few names were found in the headers"

# ---- mandoc ----

cd "$work/first"
# shellcheck disable=SC2046
mandoc -Tlint -W warning $(cat "$work/pages") man7/*.7 "$OLDPWD"/docs/man/*.1 2>&1 | none "mandoc -Tlint"
# shellcheck disable=SC2046
grep -hE '^\.Xr' $(cat "$work/pages") man7/*.7 | awk '{ print $2 "." $3 }' | sort -u | while read -r page; do
    case $page in
        async_* | ASYNC_* | casyncio*) [ -e "man${page##*.}/$page" ] || echo "$page" ;;
    esac
done | none "references to pages that do not exist"

# Rendered, no page shows a macro, an escape or what the headers have for the compiler.
# shellcheck disable=SC2046
mandoc -Tascii $(cat "$work/pages") 2>/dev/null | sed 's/.\x08//g' |
    { grep -E '\\f|^ *\.(Sh|Pp|Xr|Fn|It)\b|ASYNC_API|ASYNC__|__attribute__' || true; } | none "pages show their markup"

# ---- the programs of section 7 ----

for page in man7/*.7; do
    program=$work/$(basename "$page" .7)
    awk '/^\.Bd/ { text = ""; inside = 1; next }
         /^\.Ed/ { inside = 0; if (text ~ /\nint main\(/) { printf "%s", text; exit } }
         inside { gsub(/\\e/, "\\"); text = text $0 "\n" }' "$page" >"$program.c"
    [ -s "$program.c" ] && [ -e "${BUILD_DIR:-build}/libcasyncio-test.a" ] || continue
    sanitize=$(sed -n 's/^CASYNCIO_SANITIZE:[A-Z]*=//p' "$BUILD_DIR/CMakeCache.txt")
    # shellcheck disable=SC2046
    ${CC:-cc} -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -I "$SOURCE_DIR/include" \
        $([ -z "$sanitize" ] || echo "-fsanitize=$sanitize") "$program.c" -o "$program" "$BUILD_DIR/libcasyncio-test.a" \
        $(sed -n 's/^Libs.private: //p' "$BUILD_DIR/casyncio.pc") -pthread &&
        timeout 60 "$program" >"$program.out" || echo "$page: its program fails"
done 2>&1 | none "programs of section 7"

echo "$(wc -l <"$work/pages") pages of section 3 for $(wc -l <"$work/names") names, $(ls man7 | wc -l) of section 7"
[ ! -e "$work/failed" ]
