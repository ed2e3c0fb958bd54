#!/usr/bin/env bash
# The torture tests of the log at length, for about so many minutes, each run with a seed of its own. What every run
# came to is added to bench/torture.tsv with its seed and commit; the script fails where one of them did.
#
#   scripts/torture.sh [MINUTES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MINUTES=${1:-10}
LEDGER=bench/torture.tsv

say() { printf '%s\n' "$*" >&2; }
[ -e "$LEDGER" ] || printf 'day\tcommit\tcheck\tseed\tamount\toutcome\n' >"$LEDGER"
commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain -- core store client src tests)" ] || commit=$commit+

cargo test --release --locked --package annals-store --no-run >&2
cargo test --release --locked --package annals --test linearizable --no-run >&2
failed=0
# run CHECK SEED AMOUNT-PATTERN COMMAND...: the last line of the output that has the pattern is the amount
run() {
  local check=$1 seed=$2 pattern=$3 output outcome=passed amount
  shift 3
  say "torture: $check, seed $seed"
  output=$("$@" 2>&1) || { outcome=FAILED; failed=1; printf '%s\n' "$output" | tail -n 40 >&2; }
  amount=$(printf '%s\n' "$output" | grep -E "$pattern" | tail -n 1 | tr '\t' ' ' || true)
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%F)" "$commit" "$check" "$seed" "$amount" "$outcome" >>"$LEDGER"
}

# Nothing in these is left to chance, so once is enough; their time is not counted.
run every-bit 0 '^flipped bits:' env ANNALS_EXHAUSTIVE=1 \
  cargo test -q --release --locked --package annals-store --lib -- --nocapture every_flipped_bit_is
run every-byte 0 '^torn writes:' env ANNALS_EXHAUSTIVE=1 \
  cargo test -q --release --locked --package annals-store --lib -- --nocapture a_write_torn_at_any_byte
SECONDS=0
until [ "$SECONDS" -ge $((MINUTES * 60)) ] || [ "$failed" -ne 0 ]; do
  seed=$((RANDOM * 32768 + RANDOM))
  run kill "$seed" '^kill: .* lost' env "ANNALS_SEED=$seed" ANNALS_KILLS=400 \
    cargo test -q --release --locked --package annals-store --test kill
  run power-cut "$seed" '^power cuts:' env "ANNALS_SEED=$seed" ANNALS_LIVES=4000 \
    cargo test -q --release --locked --package annals-store --lib -- --nocapture every_power_cut
  run model "$seed" 'test result' env "PROPTEST_RNG_SEED=$seed" PROPTEST_CASES=4000 \
    cargo test -q --release --locked --package annals-store --lib -- the_log_does_as_the_store
  run mangled "$seed" 'test result' env "PROPTEST_RNG_SEED=$seed" PROPTEST_CASES=4000 \
    cargo test -q --release --locked --package annals-store --lib -- mangled_files
  run linearizable "$seed" '^linearizable:' env "ANNALS_SEED=$seed" ANNALS_SECONDS=120 \
    cargo test -q --release --locked --package annals --test linearizable -- --nocapture what_clients_saw
done
awk -F'\t' 'NR > 1 && $6 == "passed" { n[$3]++ } END { for (check in n) print check ": " n[check] " runs passed" }' "$LEDGER"
exit "$failed"
