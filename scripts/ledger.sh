# shellcheck shell=bash
# The ledger of long runs, bench/torture.tsv: one line a run, with the day, the commit, the seed and what it came to.
# Sourced by the scripts that torture, from the root of the repository.
LEDGER=bench/torture.tsv

say() { printf '%s\n' "$*" >&2; }
[ -e "$LEDGER" ] || printf 'day\tcommit\tcheck\tseed\tamount\toutcome\n' >"$LEDGER"
commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain -- core oracle store torture client src tests fuzz)" ] || commit=$commit+

failed=0
# note CHECK SEED AMOUNT OUTCOME: one line of the ledger
note() {
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%F)" "$commit" "$@" >>"$LEDGER"
}

# run CHECK SEED AMOUNT-PATTERN COMMAND...: the last line of the output that has the pattern is the amount
run() {
  local check=$1 seed=$2 pattern=$3 output outcome=passed amount
  shift 3
  say "torture: $check, seed $seed"
  output=$("$@" 2>&1) || { outcome=FAILED; failed=1; printf '%s\n' "$output" | tail -n 40 >&2; }
  amount=$(printf '%s\n' "$output" | grep -E "$pattern" | tail -n 1 | tr '\t' ' ' || true)
  note "$check" "$seed" "$amount" "$outcome"
}

# How many runs of each check have passed since the ledger was begun.
sums() {
  awk -F'\t' 'NR > 1 && $6 == "passed" { n[$3]++ } END { for (check in n) print check ": " n[check] " runs passed" }' "$LEDGER"
}
