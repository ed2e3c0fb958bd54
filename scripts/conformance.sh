#!/usr/bin/env bash
# The tests that KurrentDB's Rust clients bring along, against a fresh `annals serve`: they know nothing of Annals. The
# clients' packages hold their tests; they are copied beside a `main` of ours, since their own starts a container.
#
#   scripts/conformance.sh [SUITE...]    suites: streams, persistent_subscriptions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(streams persistent_subscriptions)
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/conformance
annals=${ANNALS_BINARY:-}

say() { printf 'conformance: %s\n' "$1" >&2; }

if [ -z "$annals" ]; then
  cargo build --locked --package annals >&2
  annals=$target/debug/annals
fi

rm -rf "$work"
mkdir -p "$work/suite/src"
: >"$work/suite/src/lib.rs"
cat >"$work/suite/Cargo.toml" <<'MANIFEST'
[package]
name = "conformance"
version = "0.0.0"
edition = "2021"
publish = false

[workspace]

[dev-dependencies]
chrono = { version = "0.4", default-features = false, features = ["std", "serde", "now"] }
eventstore = "4"
eyre = "0.6"
futures = "0.3"
kurrentdb = "1.2"
names = "0.14"
serde = { version = "1", features = ["derive"] }
serde_json = "1"
tokio = { version = "1", features = ["full"] }
tracing = "0.1"
tracing-subscriber = { version = "0.3", features = ["env-filter"] }
uuid = { version = "1", features = ["v4", "serde"] }
MANIFEST

packages=$(cargo metadata --format-version 1 --manifest-path "$work/suite/Cargo.toml" |
  python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] in ("eventstore", "kurrentdb"):
        print(package["name"], package["version"], os.path.dirname(package["manifest_path"]))')
[ "$(printf '%s\n' "$packages" | wc -l)" -eq 2 ] || { say "the clients' packages are not here"; exit 3; }

while read -r client version source; do
  tests=$work/suite/tests/$client
  mkdir -p "$tests/api"
  cp "$source/tests/common.rs" "$tests/"
  {
    printf 'mod api;\nmod common;\n'
    for suite in "${suites[@]}"; do
      cp "$source/tests/api/$suite.rs" "$tests/api/"
      printf 'pub mod %s;\n' "$suite" >>"$tests/api/mod.rs"
      cat <<MAIN
#[tokio::test(flavor = "multi_thread")]
async fn $suite() {
    let address = std::env::var("ANNALS_ADDRESS_UNDER_TEST").expect("the server's address");
    let settings = format!("esdb://{address}?tls=false&defaultDeadline=60000");
    let settings = settings.parse().expect("settings");
    let client = $client::Client::new(settings).expect("a client");
    api::$suite::tests(client).await.expect("the suite passes");
}
MAIN
    done
  } >"$tests/main.rs"
  say "$client $version: ${suites[*]}"
done <<<"$packages"

CARGO_TARGET_DIR=$target cargo test --manifest-path "$work/suite/Cargo.toml" --no-run >&2

mkdir "$work/data"
exec 3< <(exec "$annals" serve --role store --insecure --data "$work/data" --address 127.0.0.1:0 2>"$work/server.log")
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r -t 60 ready address <&3 || true
[ "${ready:-}" = ready ] || { say "the server did not start"; cat "$work/server.log" >&2; exit 1; }
CARGO_TARGET_DIR=$target ANNALS_ADDRESS_UNDER_TEST=$address \
  cargo test --manifest-path "$work/suite/Cargo.toml" --tests
say "passed"
