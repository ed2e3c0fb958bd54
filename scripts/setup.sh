#!/usr/bin/env bash
# Makes sure that everything a build, the demo or the tests need is on this machine.
#
#   setup.sh build   what compiling needs: compilers, make, cmake, pkg-config, zlib, OpenSSL, Rust
#   setup.sh demo    and what the demo runs: PostgreSQL's programs, libchdb, the trades file
#   setup.sh test    and what the tests run besides: Kafka and the schema registry (Java, Maven),
#                    KurrentDB's clients for Python, Node, Java and Go
#
# It asks for what is missing by looking for the thing itself, not for a package, so it accepts
# any distribution. On Debian, as root, it installs what is missing through apt-get; otherwise it
# names the packages and stops. It may be repeated, and then does nothing. It never starts,
# stops or creates a PostgreSQL cluster of the system.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
LEVEL=${1:-test}
case $LEVEL in build | demo | test) ;; *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac

say() { printf '%s\n' "$*" >&2; }
die() { say "setup: $*"; exit 1; }

# ---------------------------------------------------------------- what is needed

has() { command -v "$1" >/dev/null 2>&1; }
has_library() { has pkg-config && pkg-config --exists "$1"; }
has_certificates() { [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -d /etc/pki ]; }

has_postgresql() {
  [ -n "${PG_BIN:-}" ] && [ -x "$PG_BIN/postgres" ] && return 0
  local program
  for program in /usr/lib/postgresql/*/bin/postgres; do [ -x "$program" ] && return 0; done
  has postgres
}

has_java_17() {
  has java || return 1
  local version
  version=$(java -XshowSettings:properties -version 2>&1 |
    sed -n 's/^ *java\.specification\.version = //p')
  [ "${version%%.*}" -ge 17 ] 2>/dev/null
}

makes_python_environments() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

# The Debian packages for what is missing, one a line.
missing_packages() {
  has gcc || echo gcc
  has g++ || echo g++
  has make || echo make
  has cmake || echo cmake
  has pkg-config || echo pkg-config
  has_library zlib || echo zlib1g-dev
  has_library openssl || echo libssl-dev
  has curl || echo curl
  has zstd || echo zstd
  has python3 || echo python3
  has_certificates || echo ca-certificates
  [ "$LEVEL" = build ] && return 0
  has_postgresql || echo postgresql
  has npm || echo npm
  [ "$LEVEL" = demo ] && return 0
  has_java_17 && has javac || echo openjdk-17-jdk-headless
  has mvn || echo maven
  makes_python_environments || echo python3-venv
  # Where it is too old for the client, it is what fetches a newer one.
  has go || echo golang-go
}

# ---------------------------------------------------------------- installing it

# Debian's postgresql package creates a cluster and starts it. Annals runs its own server, so
# while the package is installed a drop-in says not to; it is taken away again.
with_no_system_cluster() {
  local folder=/etc/postgresql-common/createcluster.d status=0
  mkdir -p "$folder"
  echo 'create_main_cluster = false' >"$folder/annals-setup.conf"
  "$@" || status=$?
  rm -f "$folder/annals-setup.conf"
  return "$status"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  local options=(-y -q --no-install-recommends -o Dpkg::Options::=--force-confold)
  apt-get -q update >&2
  case " $* " in
    *" postgresql "*) with_no_system_cluster apt-get "${options[@]}" install "$@" >&2 ;;
    *) apt-get "${options[@]}" install "$@" >&2 ;;
  esac
}

packages=()
while IFS= read -r package; do packages+=("$package"); done < <(missing_packages)
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" -eq 0 ] && has apt-get; then
    say "setup: installing ${packages[*]}"
    install_packages "${packages[@]}"
    still=$(missing_packages | tr '\n' ' ')
    [ -z "$still" ] || die "still missing after the installation: $still"
  else
    say "setup: this machine lacks the following; install it and run this again:"
    say "  sudo apt-get install --no-install-recommends ${packages[*]}"
    say "  (Debian's names; other systems call them otherwise)"
    exit 1
  fi
fi

# rustup reads rust-toolchain.toml and fetches that toolchain when it is first used.
has cargo || [ ! -e "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH
has cargo || die "cargo is missing: install Rust with rustup, then run this again"
cd "$ROOT"
wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
found=$(rustc --version | cut -d' ' -f2)
[ "$found" = "$wanted" ] ||
  die "rustc is $found, but Annals is built with $wanted: use rustup, which reads rust-toolchain.toml"

# ---------------------------------------------------------------- what is run

[ "$LEVEL" = build ] && exit 0
say "setup: the analytics engine (libchdb)"
"$ROOT/scripts/fetch-libchdb.sh" >/dev/null
say "setup: the trades file"
"$ROOT/scripts/fetch-trades.sh" >/dev/null
if [ "$LEVEL" = test ]; then
  say "setup: Kafka and the schema registry"
  "$ROOT/scripts/services.sh" install
  say "setup: KurrentDB's clients for Python, Node, Java and Go"
  "$ROOT/scripts/clients.sh" install
fi
say "setup: ready"
