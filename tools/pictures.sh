#!/usr/bin/env bash
# The pictures in docs/pictures, made by the tools that they are of: `make docs-pictures`. Each part makes one.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD_DIR:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p docs/pictures

# timeline.svg: what examples/07_lock does.
CASYNCIO_TRACE=$work/trace.json "$build/examples/07_lock" >/dev/null
"$build/bin/casyncio" trace --svg "$work/trace.json" -o docs/pictures/timeline.svg

# pstree.svg: the tree of the bank in the guide.
BUILD_DIR=$build tools/picture_pstree.sh
