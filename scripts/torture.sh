#!/usr/bin/env bash
# The torture tests of the log at length, for about so many minutes, each run with a seed of its own. What every run
# came to is added to bench/torture.tsv with its seed and commit; the script fails where one of them did.
#
#   scripts/torture.sh [MINUTES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MINUTES=${1:-10}
. scripts/ledger.sh

cargo test --release --locked --package annals-store --package annals-schedules --package annals-torture --no-run >&2
cargo test --release --locked --package annals --test linearizable --no-run >&2

# Nothing in these is left to chance, so once is enough; their time is not counted.
run every-bit 0 '^flipped bits:' env ANNALS_EXHAUSTIVE=1 \
  cargo test -q --release --locked --package annals-store --lib -- --nocapture every_flipped_bit_is
run every-byte 0 '^torn writes:' env ANNALS_EXHAUSTIVE=1 \
  cargo test -q --release --locked --package annals-store --lib -- --nocapture a_write_torn_at_any_byte
SECONDS=0
until [ "$SECONDS" -ge $((MINUTES * 60)) ] || [ "$failed" -ne 0 ]; do
  seed=$((RANDOM * 32768 + RANDOM))
  run kill "$seed" '^kill: .* lost' env "ANNALS_SEED=$seed" ANNALS_KILLS=400 \
    cargo test -q --release --locked --package annals-torture --test kill
  run power-cut "$seed" '^power cuts:' env "ANNALS_SEED=$seed" ANNALS_LIVES=4000 \
    cargo test -q --release --locked --package annals-store --lib -- --nocapture every_power_cut
  run schedules "$seed" '^schedules: .* in all' env "ANNALS_SEED=$seed" ANNALS_SCHEDULES=20000 \
    cargo test -q --release --locked --package annals-schedules -- --nocapture
  run model "$seed" 'test result' env "PROPTEST_RNG_SEED=$seed" PROPTEST_CASES=4000 \
    cargo test -q --release --locked --package annals-store --lib -- the_log_does_as_the_store
  run mangled "$seed" 'test result' env "PROPTEST_RNG_SEED=$seed" PROPTEST_CASES=4000 \
    cargo test -q --release --locked --package annals-store --lib -- mangled_files
  run linearizable "$seed" '^linearizable:' env "ANNALS_SEED=$seed" ANNALS_SECONDS=120 \
    cargo test -q --release --locked --package annals --test linearizable -- --nocapture what_clients_saw
done
sums
exit "$failed"
