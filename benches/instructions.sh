#!/usr/bin/env bash
# Counts instructions of an operation under callgrind, which neither the machine nor its load changes much.
#
#   benches/instructions.sh [FILE]     writes the table to FILE as well (default: benches/results/instructions.tsv)
#
# Needs valgrind and a redis-server (both in Debian's packages).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-benches/results/instructions.tsv}
cargo build -q --release -p benches --no-default-features --features servers --bin instructions
program="${CARGO_TARGET_DIR:-target}/release/instructions"
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT

printf 'job\tcache\tcapacity\tinstructions\n' | tee "$out"
count() { # job, cache, capacity
  local operations total
  operations=$(valgrind --quiet --tool=callgrind --callgrind-out-file="$counts" --collect-atstart=no \
    --toggle-collect='instructions::measured*' "$program" --job "$1" --cache "$2" --capacity "$3" | tail -n 1)
  total=$(sed -n 's/^\(summary\|totals\): //p' "$counts" | head -n 1)
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" $((total / operations)) | tee -a "$out"
}
for capacity in 1000 100000; do
  for job in engine_hits engine_mix engine_misses; do
    for cache in cacheme quick_cache; do count "$job" "$cache" "$capacity"; done
  done
done
for job in get memoize get_with get_all fill redis_get redis_get_all redis_fill; do count "$job" cacheme 100000; done
