#!/usr/bin/env bash
# docs/asyncio-map.md is true: map.py says what that means. `tests/docs/map.py --fill` helps with rows that are new.
# ctest: labels=programs
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/map.py"
