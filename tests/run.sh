#!/usr/bin/env bash
# Installs what the tests need on a Debian-like machine, then runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server)
command -v faketime >/dev/null || missing+=(faketime)
# A MongoDB, or what speaks its protocol: an emulator in Python, in an environment of its own.
secantusd=$PWD/target/secantusdb/bin/secantusd-py
needs_secantusdb=
if [ -z "${CACHEME_SECANTUSD:-}" ] && ! command -v mongod >/dev/null && ! command -v secantusd-py >/dev/null; then
  needs_secantusdb=1
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
fi
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy "${missing[@]}"
fi
if [ -n "$needs_secantusdb" ]; then
  [ -x "$secantusd" ] || {
    python3 -m venv target/secantusdb
    target/secantusdb/bin/pip install -q secantusdb==0.7.0b3
  }
  export CACHEME_SECANTUSD=$secantusd
fi
# One set of features, so that nothing is built twice. A test that hangs would hang the whole run, so that has an end, far above what it takes.
limit=()
if command -v timeout >/dev/null; then limit=(timeout --kill-after=60s 60m); fi
status=0
"${limit[@]}" cargo test -p cacheme-macros -p cacheme -p cacheme-storage -p tests -p macro-tests -p examples -p service --lib --tests --all-features || status=$?
if [ $status = 124 ] || [ $status = 137 ]; then echo "the tests take over an hour: one of them hangs, see above which has been running for over 60 seconds" >&2; fi
[ $status = 0 ] || exit $status
tests/outside.sh
