#!/usr/bin/env bash
# Everything `make demo` does: set-up, release build, the trades, and `annals demo` on them.
#
#   demo.sh [FURTHER ARGUMENTS OF annals demo]
#
# DATA names the data folder; without it, .annals/demo in the repository, or a folder
# under /var/tmp where PostgreSQL's account cannot enter the repository (root's home, say).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"
say() { printf '%s\n' "$*" >&2; }

# Whether the account that the PostgreSQL server runs under can enter this folder.
enterable() {
  [ "$(id -u)" -eq 0 ] || return 0
  local account=nobody
  id -u postgres >/dev/null 2>&1 && account=postgres
  setpriv --reuid="$(id -u "$account")" --regid="$(id -g "$account")" --clear-groups \
    test -x "$1" 2>/dev/null
}

data_folder() {
  if [ -n "${DATA:-}" ]; then printf '%s\n' "$DATA"; return; fi
  if enterable "$ROOT"; then printf '%s\n' "$ROOT/.annals/demo"; return; fi
  printf '%s\n' "/var/tmp/annals-demo-$(id -u)"
}

scripts/setup.sh demo
say "demo: building (the first time takes some minutes)"
cargo build --release --locked --package annals
trades=$(scripts/fetch-trades.sh)
data=$(data_folder)
mkdir -p "$data"
say "demo: data in $data"
exec "${CARGO_TARGET_DIR:-target}/release/annals" demo --data "$data" --trades "$trades" "$@"
