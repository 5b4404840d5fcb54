#!/usr/bin/env bash
# Tries every interleaving of the singleflight and of the reader lock with loom. A build of its own, since all is compiled for the model.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS='--cfg cacheme_loom' CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/models"
cargo test -p cacheme-storage --lib "$@" reader_lock::model
exec cargo test -p cacheme --lib "$@" flight::model
