#!/usr/bin/env bash
# Power cuts under the log on a real ext4, for about so many minutes or, where CUTS is set, for so many cuts. What every
# run came to is added to bench/torture.tsv; the script fails where one of them did. Before that, a device that answers
# flushes and does not do them must be noticed. Where there is no root, FUSE or loop device, nothing is run, and the exit
# code is 77.
#
#   scripts/torture-power.sh [MINUTES]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MINUTES=${1:-10}
CUTS=${CUTS:-}
CUTS_PER_RUN=400

cargo build --release --locked --package annals-torture >&2
power=${CARGO_TARGET_DIR:-target}/release/annals-torture
new_seed() { seed=$((RANDOM * 32768 + RANDOM)); }

new_seed
status=0
lie=$("$power" power --lie --cuts 200 --seed "$seed" 2>&1) || status=$?
printf '%s\n' "$lie" >&2
case $status in
  1) printf 'torture: a device that lies is noticed\n' >&2 ;;
  77) exit 77 ;;
  *) printf 'torture: a device that lies should be noticed with exit code 1, not %s\n' "$status" >&2; exit 1 ;;
esac

. scripts/ledger.sh
done_cuts=0
next_run() {
  if [ -z "$CUTS" ]; then
    cuts=$CUTS_PER_RUN
    [ "$SECONDS" -lt $((MINUTES * 60)) ]
  else
    cuts=$((CUTS - done_cuts < CUTS_PER_RUN ? CUTS - done_cuts : CUTS_PER_RUN))
    [ "$cuts" -gt 0 ]
  fi
}
while [ "$failed" -eq 0 ] && next_run; do
  new_seed
  run power "$seed" '^power: .* on ext4|^annals-torture:' "$power" power --cuts "$cuts" --seed "$seed"
  done_cuts=$((done_cuts + cuts))
done
sums
exit "$failed"
