#!/bin/sh
# Runs one test program, behind $CASYNCIO_TEST_WRAPPER if there is one.
# shellcheck disable=SC2086
exec ${CASYNCIO_TEST_WRAPPER:-} "$@"
