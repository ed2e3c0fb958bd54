#!/usr/bin/env bash
# Fetches a million real BitMEX XBTUSD trades and prints the path of the CSV file.
#
# The file is data that the Cargo package trade_aggregation carries. A throw-away project names
# the package, `cargo fetch` unpacks it, the one file is copied to the cache, and the project is
# deleted: nothing of the package is compiled, linked or committed (its code is AGPL-3.0).
# Columns: timestamp (milliseconds since 1970, UTC), price (USD), size (USD; negative where the
# seller was the taker). It may be repeated; a file with the right checksum is left as it is.
set -euo pipefail

VERSION=13.1.0
FILE=data/Bitmex_XBTUSD_1M.csv
SHA256=b3e4dda28a453d2547b47086eac6240a508dbd5eb60e64e51bf943b69eb49e40

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
FOLDER=${ANNALS_CACHE:-$HOME/.cache/annals}/trades
TARGET=$FOLDER/bitmex_xbtusd_1m.csv

say() { printf '%s\n' "$*" >&2; }
sum_of() { sha256sum "$1" | cut -d' ' -f1; }

if [ -f "$TARGET" ] && [ "$(sum_of "$TARGET")" = "$SHA256" ]; then
  printf '%s\n' "$TARGET"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src" "$FOLDER"
: >"$work/src/lib.rs"
cat >"$work/Cargo.toml" <<MANIFEST
[package]
name = "fetch-trades"
version = "0.0.0"
edition = "2024"

[dependencies]
trade_aggregation = "=$VERSION"
MANIFEST

say "trades: fetching the data file of trade_aggregation $VERSION (5 MB)"
cd "$ROOT" # where rust-toolchain.toml chooses the toolchain
cargo fetch --quiet --manifest-path "$work/Cargo.toml" >&2
manifest=$(cargo metadata --quiet --offline --format-version 1 --manifest-path "$work/Cargo.toml" |
  python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "trade_aggregation":
        print(package["manifest_path"])')
source=$(dirname "$manifest")/$FILE
[ -f "$source" ] || { say "trades: the package holds no $FILE"; exit 1; }
found=$(sum_of "$source")
if [ "$found" != "$SHA256" ]; then
  say "trades: $FILE has SHA-256 $found, expected was $SHA256"
  exit 1
fi
cp "$source" "$TARGET.part"
mv "$TARGET.part" "$TARGET"
say "trades: $(($(wc -l <"$TARGET") - 1)) trades, SHA-256 $SHA256"
printf '%s\n' "$TARGET"
