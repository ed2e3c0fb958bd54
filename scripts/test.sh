#!/usr/bin/env bash
# Everything `make test` does, from nothing: set-up, format, scripts, lints, and every test
# against the real Kafka, schema registry, PostgreSQL and libchdb. Its exit code is that of the
# first phase that fails, and it ends with the time of each phase.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"
say() { printf '%s\n' "$*" >&2; }

TIMES=()
FINISHED=no
phase() {
  local name=$1 start=$SECONDS
  shift
  say "==== $name"
  "$@"
  TIMES+=("$(printf '%6d s  %s' $((SECONDS - start)) "$name")")
}

report() {
  local status=$? line
  say "==== time by phase"
  for line in "${TIMES[@]}"; do say "$line"; done
  say "$(printf '%6d s  in all' "$SECONDS")"
  # A signal may end the script with status 0.
  if [ "$FINISHED" = yes ]; then say "all green"; else say "FAILED with exit code $status"; fi
}
trap report EXIT

check_scripts() {
  local script
  for script in scripts/*.sh .ci/run; do bash -n "$script"; done
  if command -v shellcheck >/dev/null 2>&1; then
    shellcheck --severity=warning scripts/*.sh .ci/run
  fi
  python3 -c 'import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name).read(), name)' tests/*.py tests/clients/python/*.py
  for script in tests/clients/node/*.js; do node --check "$script"; done
  check_go
}

check_go() {
  local go unformatted
  go=$(scripts/clients.sh go)/go
  unformatted=$("$("$go" env GOROOT)/bin/gofmt" -l tests/clients/go)
  [ -z "$unformatted" ] || { say "not as gofmt formats it: $unformatted"; return 1; }
  (cd tests/clients/go && "$go" vet .)
}

phase "set-up" scripts/setup.sh test
phase "format" cargo fmt --all --check
phase "scripts" check_scripts
# The same profile throughout, so that the C libraries and macros are built once.
phase "lints" cargo clippy --release --locked --workspace --all-targets -- -D warnings
phase "build" cargo test --release --locked --workspace --no-run
phase "tests" cargo test --release --locked --workspace --no-fail-fast
FINISHED=yes
