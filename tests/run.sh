#!/usr/bin/env bash
# Installs what the tests need on a Debian-like machine, then runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy "${missing[@]}"
fi
# One set of features, so that nothing is built twice.
cargo test -p cacheme-macros -p cacheme -p cacheme-storage -p tests -p macro-tests --lib --tests --all-features
tests/outside.sh
