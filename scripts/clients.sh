#!/usr/bin/env bash
# KurrentDB's official clients of other languages, which tests/official_clients.rs drives against `annals serve`.
#
#   scripts/clients.sh install                      fetch what is missing
#   scripts/clients.sh python | node | java | go    print the folder of one that was installed
#
# Each lies in a folder of its own in ${ANNALS_CACHE:-$HOME/.cache/annals}/clients, named by the file that pins its versions
# and by the program it was installed for, so another version never stands in for it: a virtual environment, a folder
# node_modules, a folder of jars, modules with a script `go` that builds on them and on nothing else. An installation that
# was interrupted leaves nothing that could be taken for one. Nothing is written elsewhere, and nothing of the clients is
# linked or committed.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CLIENTS=${ANNALS_CACHE:-${HOME:?set HOME or ANNALS_CACHE}/.cache/annals}/clients
# The one that scripts/services.sh uses, too.
DEPENDENCY_PLUGIN=org.apache.maven.plugins:maven-dependency-plugin:2.10
# The Go that is fetched where the one on the PATH is older than the client asks for. It is a module like any other.
GO_TOOLCHAIN=golang.org/toolchain@v0.0.1-go1.24.13
# A Go is to tell of itself, not to fetch a newer one.
export GOTOOLCHAIN=local

say() { printf '%s\n' "clients: $*" >&2; }
die() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "the program $1 is missing (Debian: $2)"; }

# The file that pins one client's versions, and what else its installation depends on.
pins() {
  case $1 in
    python) echo "$ROOT/tests/clients/python/requirements.txt" ;;
    node) echo "$ROOT/tests/clients/node/package-lock.json" ;;
    java) echo "$ROOT/tests/clients/java/pom.xml" ;;
    go) echo "$ROOT/tests/clients/go/go.mod" ;;
  esac
}

made_for() {
  case $1 in
    python) python3 -c 'import sys; print(sys.executable, sys.version)' ;;
    node | java) uname -m ;;
    go) echo "$GO_TOOLCHAIN"; command -v go || :; go_version ;;
  esac
}

# The version of the Go on the PATH, without the word go; nothing where there is none.
go_version() { go env GOVERSION 2>/dev/null | sed 's/^go//' || :; }

# Whether it is as new as the client asks for.
go_is_new() {
  local wanted
  wanted=$(sed -n 's/^go //p' "$(pins go)")
  [ "$(printf '%s\n' "$wanted" "$(go_version)" | sort -V | head -n 1)" = "$wanted" ]
}

folder() {
  local name
  name=$({ cat "$(pins "$1")"; made_for "$1"; } | sha256sum | cut -c1-12)
  printf '%s\n' "$CLIENTS/$1-$name"
}

# ---------------------------------------------------------------- one function for each, which fills a folder

fill_python() {
  need python3 python3
  # A virtual environment knows its own path, so it is made in its place.
  python3 -m venv "$1" || die "python3 cannot make environments (Debian: python3-venv)"
  "$1/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-input \
    --requirement "$(pins python)" || return 1
  "$1/bin/python" -B -c 'import kurrentdbclient' || die "the Python client does not load"
}

fill_node() {
  need npm npm
  cp "$ROOT/tests/clients/node/package.json" "$ROOT/tests/clients/node/package-lock.json" "$1/"
  npm ci --prefix "$1" --cache "$1/cache" --ignore-scripts --no-audit --no-fund --loglevel=error || return 1
  rm -rf "$1/cache"
  NODE_PATH=$1/node_modules node -e 'require("@kurrent/kurrentdb-client")' || die "the Node client does not load"
}

fill_java() {
  need mvn maven
  need javac openjdk-17-jdk-headless
  mvn -q -B -Dstyle.color=never -f "$(pins java)" "-Dmaven.repo.local=$1/repository" \
    "$DEPENDENCY_PLUGIN:copy-dependencies" -DincludeScope=runtime "-DoutputDirectory=$1/jars" || return 1
  rm -rf "$1/repository"
}

fill_go() {
  need go golang-go
  set -- "$(cd "$1" && pwd -P)"
  local go toolchain settings
  go=$(command -v go)
  # Go keeps its own counters beside its settings, which may say where modules come from.
  settings=(GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 "GOENV=$(go env GOENV)" "XDG_CONFIG_HOME=$1/config" "GOPATH=$1/path"
    "GOMODCACHE=$1/modules" "GOCACHE=$1/cache")
  if ! go_is_new; then
    toolchain=$GO_TOOLCHAIN.$(go env GOHOSTOS)-$(go env GOHOSTARCH)
    (cd "$1" && env "${settings[@]}" GOFLAGS=-modcacherw "$go" mod download "$toolchain") || return 1
    # A module's files are no programs.
    chmod +x "$1/modules/$toolchain"/bin/* "$1/modules/$toolchain"/pkg/tool/*/* || return 1
    rm -rf "$1/modules/cache/download/${toolchain%@*}"
    go=$1/modules/$toolchain/bin/go
  fi
  settings+=("GOFLAGS=-mod=readonly -modcacherw -buildvcs=false")
  # What the program imports is compiled once, here.
  (
    cd "$(dirname "$(pins go)")" &&
      env "${settings[@]}" "$go" list -f '{{join .Imports "\n"}}' . | xargs env "${settings[@]}" "$go" build
  ) || return 1
  {
    printf '#!/usr/bin/env bash\nexec env'
    printf ' %q' "${settings[@]}" GOPROXY=off "$go"
    printf ' "$@"\n'
  } >"$1/go"
  chmod +x "$1/go"
}

# ----------------------------------------------------------------

install() {
  local target attempt
  target=$(folder "$1")
  [ ! -e "$target/.complete" ] || return 0
  say "fetching the client for $1"
  for attempt in 1 2 3; do
    rm -rf "$target"
    mkdir -p "$target"
    if "fill_$1" "$target" >&2; then
      : >"$target/.complete"
      return 0
    fi
    say "attempt $attempt of 3 failed"
    sleep "$attempt"
  done
  rm -rf "$target"
  die "the client for $1 could not be fetched: its package registry does not answer, or has no such version; run this again later"
}

case ${1:-} in
  install)
    need sha256sum coreutils
    mkdir -p "$CLIENTS"
    # One installation at a time: parallel runs must not both fetch.
    exec 9>"$CLIENTS/.lock"
    flock 9
    for name in python node java go; do install "$name"; done
    ;;
  python | node | java | go)
    target=$(folder "$1")
    [ -e "$target/.complete" ] || die "the client for $1 is not installed: run \`make setup\`"
    printf '%s\n' "$target"
    ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
