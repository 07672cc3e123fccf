#!/usr/bin/env bash
# Formats every C file (tools/format.sh), or tells which ones are not formatted and fails (tools/format.sh --check).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format >/dev/null || { echo "format.sh: clang-format is not installed" >&2; exit 1; }
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
        bad=0
        for file in "${existing[@]}"; do
            clang-format --dry-run --Werror "$file" 2>/dev/null || { echo "not formatted: $file" && bad=1; }
        done
        [ $bad = 0 ] || { echo "error: run 'make format'" && exit 1; }
        ;;
    "") clang-format -i "${existing[@]}" ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac
