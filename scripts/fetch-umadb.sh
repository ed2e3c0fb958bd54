#!/usr/bin/env bash
# Installs UmaDB, which `make bench-peers` compares Annals with, and prints the path of its server program.
#
# The Python package umadb (MIT OR Apache-2.0) holds the server itself, compiled, and a small script that starts it. It
# is installed into a virtual environment of its own in the cache: nothing of it is linked or committed. It may be
# repeated; an installation of the right version is left as it is.
set -euo pipefail

VERSION=0.7.8

FOLDER=${ANNALS_CACHE:-$HOME/.cache/annals}/umadb-$VERSION
PROGRAM=$FOLDER/bin/umadb

say() { printf '%s\n' "$*" >&2; }

if [ "$("$PROGRAM" --version 2>/dev/null)" != "umadb $VERSION" ]; then
  say "umadb: installing version $VERSION"
  rm -rf "$FOLDER"
  mkdir -p "$(dirname "$FOLDER")"
  python3 -m venv "$FOLDER" >&2 || { say "umadb: python3 cannot make environments (Debian: python3-venv)"; exit 1; }
  "$FOLDER/bin/pip" install --quiet --disable-pip-version-check "umadb==$VERSION" >&2
  "$PROGRAM" --version >&2
fi
printf '%s\n' "$PROGRAM"
