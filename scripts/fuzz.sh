#!/usr/bin/env bash
# Every fuzz target for so many seconds, from the committed seeds and what earlier runs found (fuzz/corpus). Each adds a
# line to bench/torture.tsv; the script fails where a target found something, and where it cannot run at all.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TIME=${1:-30}
shift || true
# What an input may take: far more than the slowest needs, since a busy machine may hold a process up.
LIMITS=(-timeout=60 -rss_limit_mb=512 -max_len=32768)

missing() {
  printf 'fuzz: not run: %s\n' "$1" >&2
  exit 3
}
cargo +nightly --version >/dev/null 2>&1 ||
  missing "the nightly compiler is not here; install it with: rustup toolchain install nightly --profile minimal"
cargo +nightly fuzz --version >/dev/null 2>&1 ||
  missing "cargo-fuzz is not here; install it with: cargo install cargo-fuzz --locked"

. scripts/ledger.sh

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
# Safe code needs no sanitizer, and runs several times faster without.
cargo +nightly fuzz build --sanitizer none >&2
for target in "${targets[@]}"; do
  seed=$((RANDOM * 32768 + RANDOM + 1))
  say "fuzz: $target, seed $seed, $TIME s"
  mkdir -p "fuzz/corpus/$target"
  outcome=passed
  output=$(cargo +nightly fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -seed="$seed" -max_total_time="$TIME" -print_final_stats=1 "${LIMITS[@]}" 2>&1) || {
    outcome=FAILED
    failed=1
    printf '%s\n' "$output" | tail -n 60 >&2
  }
  executions=$(printf '%s\n' "$output" | sed -n 's/^stat::number_of_executed_units: *//p' | tail -n 1)
  amount="${executions:-0} executions in $TIME s"
  # A target that ran nothing shows nothing.
  [ "${executions:-0}" -gt 0 ] || { outcome=FAILED; failed=1; }
  note "fuzz-$target" "$seed" "$amount" "$outcome"
  say "fuzz: $target: $amount, $outcome"
done
exit "$failed"
