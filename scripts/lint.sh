#!/usr/bin/env bash
# Lints: clippy with warnings as errors, the scripts' syntax, and, where it is installed, cargo-deny.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo clippy --release --locked --workspace --all-targets -- -D warnings
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
if command -v shellcheck >/dev/null 2>&1; then
  shellcheck --severity=warning scripts/*.sh .ci/run
else
  echo "lint: shellcheck is not installed; the scripts were only parsed" >&2
fi
if cargo deny --version >/dev/null 2>&1; then
  cargo deny check
else
  echo "lint: cargo-deny is not installed; licences and sources were not checked" >&2
fi
