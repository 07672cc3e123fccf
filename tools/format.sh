#!/usr/bin/env bash
# Formats every C file (tools/format.sh), or tells which ones are not formatted and fails (tools/format.sh --check). With
# --is-there it only tells whether there is the clang-format that counts: 14, for other versions lay some things out differently.
set -euo pipefail
cd "$(dirname "$0")/.."
major=14
clang_format=''
for command in clang-format-$major clang-format; do
    if "$command" --version 2>/dev/null | grep -q "version $major\."; then clang_format=$command && break; fi
done
[ "${1:-}" != --is-there ] || { [ -n "$clang_format" ]; exit; }
[ -n "$clang_format" ] || { echo "format.sh: clang-format $major is not installed" >&2; exit 1; }
if git rev-parse --git-dir >/dev/null 2>&1; then
    files() { git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' '*.cpp'; }
else
    files() { find . -path ./build -prune -o \( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) -print0; }
fi
existing=()
while IFS= read -r -d '' file; do [ ! -f "$file" ] || existing+=("$file"); done < <(files)
[ ${#existing[@]} -gt 0 ] || exit 0
case ${1:-} in
    --check)
        # Several at a time; a run over several files does not say which of them it is, but in its messages.
        bad=$(printf '%s\0' "${existing[@]}" | xargs -0 -n 16 -P "$(nproc)" "$clang_format" --dry-run 2>&1 |
            sed -n 's/^\(.*\):[0-9]*:[0-9]*: warning: .*/not formatted: \1/p' | sort -u)
        [ -z "$bad" ] || { echo "$bad" && echo "error: run 'make format'" && exit 1; }
        ;;
    "") "$clang_format" -i "${existing[@]}" ;;
    *) echo "usage: $0 [--check | --is-there]" >&2; exit 2 ;;
esac
