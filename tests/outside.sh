#!/usr/bin/env bash
# A program outside of the workspace that depends on Cacheme by its path, uses every public name and checks what comes of it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cp -r "$root/tests/outside/src" "$project"
sed "s|@root@|$root|" "$root/tests/outside/Cargo.toml.in" >"$project/Cargo.toml"
# The workspace's versions, so that nothing is looked up; and its builds.
cp "$root/Cargo.lock" "$project"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
cd "$project"
cargo run -q --offline --bin outside "$project"
cargo run -q --offline --bin same_keys
