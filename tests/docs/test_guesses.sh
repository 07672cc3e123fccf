#!/usr/bin/env bash
# The names that one might try (casyncio/guesses.h): the compiler refuses each of them, and says what it is called here; what it
# says there is, there is. By gcc and clang, whichever are there, in C and in C++.
# ctest: labels=programs
set -uo pipefail
export LC_ALL=C
SOURCE_DIR=${SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$SOURCE_DIR/tests/scratch.sh"
include=$SOURCE_DIR/include

# ---- what the header says: a line each, "name<TAB>text" ----

table() { # MACRO HEADER-TEXT
    printf '%s\n#undef ASYNC__ROW\n#define ASYNC__ROW(name, text) @#name@text@\n%s(ASYNC__ROW)\n' "#include <casyncio.h>" "$1" |
        sed 's/@#name@text@/"@" #name text/' | "${CC:-cc}" -I"$include" -E -P -xc - | tail -n 1 |
        sed 's/"@" "/\n/g' | sed -n 's/^\([A-Za-z_0-9]*\)" "\(.*\)" *$/\1\t\2/p'
}
table ASYNC__GUESSES >"$work/values"
table ASYNC__GUESSED_TYPES >"$work/types"
[ "$(wc -l <"$work/values")" -gt 300 ] || fault "only $(wc -l <"$work/values") guesses were found"
[ "$(wc -l <"$work/types")" -gt 20 ] || fault "only $(wc -l <"$work/types") guesses of types were found"

# ---- each name that is recommended is in a header ----

find "$include" -name '*.h' ! -name guesses.h -exec cat {} + | grep -oE '\b(async|ASYNC)_[A-Za-z0-9_]+' | sort -u >"$work/names"
cut -f 2 "$work/values" "$work/types" | grep -oE '\b(async|ASYNC)_[A-Za-z0-9_]+' | sort -u | comm -23 - "$work/names" >"$work/missing"
[ ! -s "$work/missing" ] || fault "recommended, and in no header: $(cat "$work/missing")"

# ---- each name of asyncio's, as one would write it in C, is one of ours or a guess ----

if command -v python3 >/dev/null; then
    python3 - >"$work/asyncio" <<'END' || fault "asyncio's names could not be had"
import asyncio, re

for name in asyncio.__all__:
    if re.search("^_|Policy|Watcher|Windows", name):
        continue
    snake = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    value = getattr(asyncio, name)
    is_error = isinstance(value, type) and issubclass(value, BaseException)
    print("ASYNC_" + snake.upper() if is_error or name.isupper() else "async_" + snake)
END
    cut -f 1 "$work/values" "$work/types" | sort -u - "$work/names" >"$work/known"
    sort -u "$work/asyncio" | comm -23 - "$work/known" >"$work/missing"
    [ ! -s "$work/missing" ] || fault "names of asyncio's that neither are there nor are guesses: $(tr '\n' ' ' <"$work/missing")"
fi

# ---- each name is refused, with its text: line N of the program uses name N ----

awk -F'\t' '{ printf "int value_%d(void) { return (int)sizeof(%s(1, 2)); }\n", NR, $1 }' "$work/values" >"$work/uses"
awk -F'\t' '{ printf "void type_%d(%s *pointer);\n", NR, $1 }' "$work/types" >>"$work/uses"
{
    echo '#include <casyncio.h>'
    echo '#line 1 "uses"'
    cat "$work/uses"
} >"$work/program.c"
cat "$work/values" "$work/types" >"$work/all"

tried=0
for compiler in "gcc -std=c11 -xc" "g++ -xc++" "clang -std=c11 -xc" "clang++ -xc++"; do
    command -v "${compiler%% *}" >/dev/null || continue
    tried=$((tried + 1))
    case $compiler in g*) all=-fmax-errors=0 ;; *) all=-ferror-limit=0 ;; esac
    # shellcheck disable=SC2086
    if $compiler $all -I"$include" -fsyntax-only "$work/program.c" >"$work/log" 2>&1; then
        fault "$compiler compiles guesses"
    fi
    grep -E '^uses:[0-9]+(:[0-9]+)?: (error|warning): ' "$work/log" | sed -E 's/^uses:([0-9]+)[^ ]* [a-z]+: /\1\t/' >"$work/said"
    awk -F'\t' -v compiler="$compiler" '
        FILENAME ~ /said$/ { said[$1] = said[$1] "\n" $2; next }
        { line++; if (!index(said[line], $2)) { print compiler ": " $1 ": not \"" $2 "\" but " said[line]; bad++ } }
        END { exit bad > 0 }' "$work/said" "$work/all" >"$work/unsaid" || fault "$(head -n 5 "$work/unsaid")"
    # In a program that has none of them the header says nothing.
    echo '#include <casyncio.h>' >"$work/none.c"
    # shellcheck disable=SC2086
    $compiler -Wall -Wextra -Wshadow -Wpedantic -Werror -I"$include" -fsyntax-only "$work/none.c" >"$work/log" 2>&1 ||
        fault "$compiler: $(cat "$work/log")"
done
[ $tried -gt 0 ] || { echo "skipped: neither gcc nor clang is there"; exit 77; }
echo "$(wc -l <"$work/all") guesses, $tried compilers"
[ $faults = 0 ]
