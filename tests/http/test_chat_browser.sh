#!/usr/bin/env bash
# The chat of examples/20_chat_web in a real browser: Debian's chromium, driven by its DevTools protocol.
# CASYNCIO_SCREENSHOTS=DIRECTORY has it leave pictures there. `make check-web` installs what it needs.
# ctest: labels=slow timeout=300 serial
set -euo pipefail
skip() { echo "skipped: $1"; exit 77; }
program=$BUILD_DIR/examples/20_chat_web
[ -x "$program" ] || skip "examples/20_chat_web is not built"
python=/usr/bin/python3
chromium=$(command -v chromium) || skip "there is no chromium (make check-web installs it)"
"$python" -c 'import websockets' 2>/dev/null || skip "there is no python3-websockets"
exec "$python" "$SOURCE_DIR/tests/http/chat_browser.py" "$program" "$SOURCE_DIR/examples/chat_web" "$chromium" \
    ${CASYNCIO_SCREENSHOTS:+"$CASYNCIO_SCREENSHOTS"}
