#!/usr/bin/env bash
# Runs the tests of the modules with unsafe code, and what is built on them, under valgrind (memcheck): the reader lock,
# the store of the in-memory engine, values without their type, small boxes, eight threads on a whole cache.
set -euo pipefail
cd "$(dirname "$0")/.."
export PROPTEST_CASES="${PROPTEST_CASES:-4}"
binary=$(cargo test -p cacheme-storage --lib --no-run --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d '"' -f 4)
[ $# -gt 0 ] || set -- memory local_value small_box
exec valgrind --quiet --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite --fair-sched=yes \
    "$binary" --test-threads=1 "$@"
