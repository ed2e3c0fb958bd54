#!/usr/bin/env bash
# The real services that Annals is tested against and can be scaled out on, without containers: Kafka
# (KRaft, one node), a Confluent-compatible schema registry (Apicurio Registry) and PostgreSQL.
# Everything listens on 127.0.0.1 only, on free ports that are chosen at the first start and then
# kept in TARGET_DIR, so that two folders never collide. Every verb may be repeated.
#
#   services.sh install [TARGET_DIR] [SERVICE...]   fetch the programs (once, into the cache)
#   services.sh start   [TARGET_DIR] [SERVICE...]   start what is not running, wait until healthy
#   services.sh health  [TARGET_DIR] [SERVICE...]   ask a real question; exit 1 without an answer
#   services.sh env     [TARGET_DIR] [SERVICE...]   print the connection settings as shell exports
#   services.sh stop    [TARGET_DIR] [SERVICE...]   stop them
#   services.sh wipe    [TARGET_DIR]                stop all, then delete their data
#
# SERVICE is kafka, registry or postgres; all three where none is named. TARGET_DIR holds data, logs
# and ports; by default ${ANNALS_CACHE:-$HOME/.cache/annals}/services. The programs are shared by all
# TARGET_DIRs and lie in ${ANNALS_CACHE:-$HOME/.cache/annals}/programs.
#
# Needs: bash, curl, tar; a Java 17 (or newer) runtime and Maven for kafka and registry; the server
# programs for postgres (Debian: openjdk-17-jre-headless maven curl postgresql).
set -euo pipefail

KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
SCALA_VERSION=${SCALA_VERSION:-2.13}
LOG4J_VERSION=${LOG4J_VERSION:-2.25.4}
REGISTRY_VERSION=${REGISTRY_VERSION:-3.0.9}
# 2.10 copies the registry's archive alone; 3.x also insists on resolving its parent POM.
DEPENDENCY_PLUGIN=org.apache.maven.plugins:maven-dependency-plugin:2.10

KAFKA_JAVA_OPTS=${KAFKA_JAVA_OPTS:--Xmx512m -XX:+UseSerialGC}
REGISTRY_JAVA_OPTS=${REGISTRY_JAVA_OPTS:--Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}
PG_OPTS=${PG_OPTS:--c max_connections=200}
# A test credential; PostgreSQL is reachable from this machine only.
PG_USER=${PG_USER:-postgres}
PG_PASSWORD=${PG_PASSWORD:-postgres}

WAIT_SECONDS=${WAIT_SECONDS:-120}

say() { printf '%s\n' "$*" >&2; }
die() { say "services: $*"; exit 1; }
usage() { sed -n '2,21s/^# \{0,1\}//p' "$0" >&2; exit 2; }
need() { command -v "$1" >/dev/null 2>&1 || die "missing program: $1 (Debian package: $2)"; }

# ---------------------------------------------------------------- arguments and folders

[ $# -ge 1 ] || usage
COMMAND=$1; shift
case $COMMAND in install | start | health | env | stop | wipe | kafka-answer) ;; *) usage ;; esac
SELF=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/$(basename "${BASH_SOURCE[0]}")
CACHE=${ANNALS_CACHE:-${HOME:?set HOME or ANNALS_CACHE}/.cache/annals}
TARGET=
SERVICES=
for argument in "$@"; do
  case $argument in
    kafka | registry | postgres) SERVICES="$SERVICES $argument" ;;
    *) [ -z "$TARGET" ] || usage; TARGET=$argument ;;
  esac
done
TARGET=${TARGET:-$CACHE/services}
SERVICES=${SERVICES:- registry kafka postgres}
mkdir -p "$TARGET" "$CACHE/programs"
TARGET=$(cd "$TARGET" && pwd -P)
PROGRAMS=$(cd "$CACHE/programs" && pwd -P)
case $TARGET$PROGRAMS in *[[:space:]]*) die "folders must not contain spaces: $TARGET, $PROGRAMS" ;; esac

KAFKA_HOME=$PROGRAMS/kafka-$KAFKA_VERSION
REGISTRY_HOME=$PROGRAMS/registry-$REGISTRY_VERSION
DATA=$TARGET/data
LOGS=$TARGET/logs
RUN=$TARGET/run

wants() { case "$SERVICES " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# ---------------------------------------------------------------- ports

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Chosen below the range that the kernel gives to outgoing connections (32768 and up on Linux).
free_port() {
  local port tries=0
  while :; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || die "no free port found between 20000 and 31999"
    case " $* " in *" $port "*) continue ;; esac
    if ! port_open "$port"; then printf '%s\n' "$port"; return; fi
  done
}

choose_ports() {
  local kafka controller registry postgres
  kafka=$(free_port)
  controller=$(free_port "$kafka")
  registry=$(free_port "$kafka" "$controller")
  postgres=$(free_port "$kafka" "$controller" "$registry")
  cat >"$TARGET/ports.new" <<PORTS
KAFKA_PORT=${KAFKA_PORT:-$kafka}
KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-$controller}
REGISTRY_PORT=${REGISTRY_PORT:-$registry}
PG_PORT=${PG_PORT:-$postgres}
PORTS
  mv "$TARGET/ports.new" "$TARGET/ports"
}

load_ports() {
  [ -e "$TARGET/ports" ] || die "nothing was started in $TARGET yet"
  # shellcheck disable=SC1091
  . "$TARGET/ports"
  REGISTRY_BASE=http://127.0.0.1:$REGISTRY_PORT
  REGISTRY_URL=$REGISTRY_BASE/apis/ccompat/v7
}

require_free() {
  if port_open "$2"; then
    die "$1: port $2 is taken by another program; stop it, or delete $TARGET/ports to choose anew"
  fi
}

# ---------------------------------------------------------------- processes

pg_bin() {
  if [ -n "${PG_BIN:-}" ]; then printf '%s\n' "$PG_BIN"; return; fi
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1) || true
  if [ -z "$found" ] || [ ! -x "$found/postgres" ]; then
    die "no PostgreSQL server programs found; set PG_BIN (Debian package: postgresql)"
  fi
  printf '%s\n' "$found"
}

# PostgreSQL refuses to run as root: root runs it as `postgres` if that account exists, else as `nobody`.
pg_account() { if id -u postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi; }
as_pg() {
  if [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
  local account; account=$(pg_account)
  HOME=/ setpriv --reuid="$(id -u "$account")" --regid="$(id -g "$account")" --clear-groups -- "$@"
}

# A pid file counts only while that process is alive and was started from this TARGET_DIR.
running() {
  local pid
  pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && grep -aqF -- "$TARGET/" "/proc/$pid/cmdline" 2>/dev/null
}

# launch NAME COMMAND...: in its own session, output to logs/NAME.log, pid to run/NAME.pid
launch() {
  local name=$1; shift
  setsid "$@" >>"$LOGS/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$RUN/$name.pid"
}

# Whether the process that was just launched is there, also while it is not its own program yet.
launched() { kill -0 "$(cat "$RUN/$1.pid" 2>/dev/null)" 2>/dev/null; }

# wait_for NAME CHECK: until the check passes; gives up when the process is gone or time is up
wait_for() {
  local name=$1 check=$2 deadline=$((SECONDS + WAIT_SECONDS))
  until "$check"; do
    if ! launched "$name"; then
      tail -n 20 "$LOGS/$name.log" >&2 || true
      die "$name ended while starting"
    fi
    [ "$SECONDS" -lt "$deadline" ] || die "$name is not healthy after $WAIT_SECONDS s, see $LOGS/$name.log"
    sleep 0.1
  done
}

stop_pid() {
  local name=$1 pid n=0
  if ! running "$name"; then rm -f "$RUN/$name.pid"; return 0; fi
  pid=$(cat "$RUN/$name.pid")
  kill -TERM "$pid" 2>/dev/null || true
  while running "$name"; do
    n=$((n + 1)); [ "$n" -lt 300 ] || { kill -KILL "$pid" 2>/dev/null || true; }
    [ "$n" -lt 350 ] || die "$name (pid $pid) does not end"
    sleep 0.1
  done
  rm -f "$RUN/$name.pid"
}

kafka_tool() {
  java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    "-Dlog4j2.configurationFile=$KAFKA_HOME/log4j2.properties" -cp "$KAFKA_HOME/libs/*" "$@"
}

psql_as() {
  PGPASSWORD=$PG_PASSWORD PGCONNECT_TIMEOUT=5 "$(pg_bin)/psql" -X -q -A -t -h 127.0.0.1 \
    -p "$PG_PORT" -U "$PG_USER" -d postgres "$@"
}

# ---------------------------------------------------------------- checks

kafka_port_ok() { port_open "$KAFKA_PORT"; }
kafka_ok()      { timeout 60 bash "$SELF" kafka-answer "$TARGET" >/dev/null 2>&1; }
registry_ok() {
  curl -sf -m 10 -o /dev/null "$REGISTRY_BASE/health/ready" \
    && curl -sf -m 10 -o /dev/null "$REGISTRY_URL/subjects"
}
postgres_ok()   { [ "$(psql_as -c 'select 1' 2>/dev/null)" = 1 ]; }

# ---------------------------------------------------------------- install

write_kafka_pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local.services</groupId><artifactId>kafka</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_$SCALA_VERSION</artifactId>
      <version>$KAFKA_VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>$KAFKA_VERSION</version>
      <exclusions>
        <exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>$LOG4J_VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
}

install_kafka() {
  [ -e "$KAFKA_HOME/.complete" ] && return 0
  say "fetching Kafka $KAFKA_VERSION (44 MB)"
  rm -rf "$KAFKA_HOME"; mkdir -p "$KAFKA_HOME"
  write_kafka_pom >"$KAFKA_HOME/pom.xml"
  mvn -q -B -Dstyle.color=never -f "$KAFKA_HOME/pom.xml" "$DEPENDENCY_PLUGIN:copy-dependencies" \
    -DincludeScope=runtime "-DoutputDirectory=$KAFKA_HOME/libs" >&2 || die "Kafka could not be fetched"
  cat >"$KAFKA_HOME/log4j2.properties" <<'LOG'
rootLogger.level = warn
rootLogger.appenderRef.err.ref = ERR
appender.err.type = Console
appender.err.name = ERR
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %d %p %c - %m%n
LOG
  : >"$KAFKA_HOME/.complete"
}

install_registry() {
  [ -e "$REGISTRY_HOME/.complete" ] && return 0
  say "fetching Apicurio Registry $REGISTRY_VERSION (109 MB)"
  rm -rf "$REGISTRY_HOME"; mkdir -p "$REGISTRY_HOME/app"
  (cd "$REGISTRY_HOME" && mvn -q -B -Dstyle.color=never "$DEPENDENCY_PLUGIN:copy" \
    "-Dartifact=io.apicurio:apicurio-registry-app:$REGISTRY_VERSION:tar.gz:all" \
    "-DoutputDirectory=$REGISTRY_HOME" >&2) || die "Apicurio Registry could not be fetched"
  tar -xzf "$REGISTRY_HOME/apicurio-registry-app-$REGISTRY_VERSION-all.tar.gz" \
    -C "$REGISTRY_HOME/app" --no-same-owner
  rm -f "$REGISTRY_HOME/apicurio-registry-app-$REGISTRY_VERSION-all.tar.gz"
  : >"$REGISTRY_HOME/.complete"
}

require_java() {
  local major
  need java openjdk-17-jre-headless; need mvn maven; need tar tar
  major=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.specification\.version = //p')
  [ "${major%%.*}" -ge 17 ] || die "Java 17 or newer is needed, found $major"
}

cmd_install() {
  need curl curl; need setsid util-linux
  if [ "$(id -u)" -eq 0 ]; then need setpriv util-linux; fi
  # One installation at a time, whatever TARGET_DIR it is for.
  exec 8>"$PROGRAMS/.lock"
  flock 8
  if wants kafka; then require_java; install_kafka; fi
  if wants registry; then require_java; install_registry; fi
  if wants postgres; then pg_bin >/dev/null; fi
  exec 8>&-
}

# ---------------------------------------------------------------- start

start_kafka() {
  if running kafka; then return 0; fi
  require_free kafka "$KAFKA_PORT"; require_free kafka "$KAFKA_CONTROLLER_PORT"
  cat >"$RUN/kafka.properties" <<PROPS
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$KAFKA_CONTROLLER_PORT
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$DATA/kafka
num.partitions=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPS
  if [ ! -e "$DATA/kafka/meta.properties" ]; then
    local id; id=$(kafka_tool kafka.tools.StorageTool random-uuid)
    kafka_tool kafka.tools.StorageTool format -t "$id" -c "$RUN/kafka.properties" \
      >"$LOGS/kafka-format.log" 2>&1 \
      || { tail -n 20 "$LOGS/kafka-format.log" >&2; die "kafka storage format failed"; }
  fi
  # shellcheck disable=SC2086
  launch kafka java $KAFKA_JAVA_OPTS "-Dlog4j2.configurationFile=$KAFKA_HOME/log4j2.properties" \
    -cp "$KAFKA_HOME/libs/*" kafka.Kafka "$RUN/kafka.properties"
}

# Two settings bring Apicurio closer to the Confluent registry: the canonical hash (the same
# schema with other white space is the same version) and BACKWARD as the global rule, which
# is set once, after the first start; its own default is NONE.
start_registry() {
  if running registry; then return 0; fi
  require_free registry "$REGISTRY_PORT"
  mkdir -p "$DATA/registry"
  # shellcheck disable=SC2086
  launch registry java $REGISTRY_JAVA_OPTS -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$REGISTRY_PORT" \
    -Dquarkus.http.access-log.enabled=false -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
    "-Dapicurio.datasource.url=jdbc:h2:file:$DATA/registry/db" -Dapicurio.datasource.jdbc.initial-size=2 \
    -Dapicurio.datasource.jdbc.min-size=2 -Dapicurio.datasource.jdbc.max-size=20 \
    -Dapicurio.ccompat.use-canonical-hash=true -Dapicurio.ccompat.max-subjects=100000 \
    -jar "$REGISTRY_HOME/app/apicurio-registry-app-$REGISTRY_VERSION-runner.jar"
}

ready_registry() {
  wait_for registry registry_ok
  [ -e "$DATA/registry/defaults-set" ] && return 0
  curl -sf -m 30 -o /dev/null -X PUT -H 'Content-Type: application/json' \
    -d '{"compatibility":"BACKWARD"}' "$REGISTRY_URL/config" \
    || die "the registry's global compatibility could not be set"
  : >"$DATA/registry/defaults-set"
}

start_postgres() {
  local bin; bin=$(pg_bin)
  if [ "$(id -u)" -eq 0 ]; then
    mkdir -p "$DATA/postgres"; chown -R "$(pg_account):" "$DATA/postgres"
    : >>"$LOGS/postgres.log"; chown "$(pg_account):" "$LOGS/postgres.log"
    as_pg test -x "$DATA/postgres" \
      || die "the account $(pg_account) cannot enter $DATA/postgres; choose a TARGET_DIR that it can enter"
  else
    mkdir -p "$DATA/postgres"
  fi
  cd "$DATA/postgres"
  if [ ! -e "$DATA/postgres/db/PG_VERSION" ]; then
    as_pg rm -rf "$DATA/postgres/db"
    printf '%s\n' "$PG_PASSWORD" | as_pg tee "$DATA/postgres/password" >/dev/null
    as_pg "$bin/initdb" -D "$DATA/postgres/db" -U "$PG_USER" -E UTF8 --locale=C.UTF-8 -A scram-sha-256 \
      --pwfile="$DATA/postgres/password" >"$LOGS/postgres-initdb.log" 2>&1 \
      || { tail -n 20 "$LOGS/postgres-initdb.log" >&2; die "initdb failed"; }
  fi
  local deadline=$((SECONDS + WAIT_SECONDS))
  while as_pg "$bin/pg_ctl" -D "$DATA/postgres/db" status >/dev/null 2>&1; do
    if postgres_ok; then return 0; fi
    [ "$SECONDS" -lt "$deadline" ] || die "PostgreSQL runs but does not answer on port $PG_PORT"
    sleep 0.2
  done
  require_free postgres "$PG_PORT"
  as_pg "$bin/pg_ctl" -D "$DATA/postgres/db" -l "$LOGS/postgres.log" -w -t "$WAIT_SECONDS" \
    -o "-c listen_addresses=127.0.0.1 -p $PG_PORT -c unix_socket_directories='' $PG_OPTS" start >/dev/null 9>&- \
    || { tail -n 20 "$LOGS/postgres.log" >&2; die "PostgreSQL did not start"; }
}

cmd_start() {
  cmd_install
  mkdir -p "$DATA" "$LOGS" "$RUN"
  [ -e "$TARGET/ports" ] || choose_ports
  load_ports
  if wants registry; then start_registry; fi
  if wants kafka; then start_kafka; fi
  if wants postgres; then start_postgres; fi
  if wants kafka; then wait_for kafka kafka_port_ok; fi
  if wants registry; then ready_registry; fi
  cmd_health
}

# ---------------------------------------------------------------- health, env, stop

cmd_health() {
  local bad=0 name
  for name in $SERVICES; do
    if "${name}_ok"; then say "$name: healthy"; else say "$name: NOT healthy"; bad=1; fi
  done
  return "$bad"
}

cmd_env() {
  if wants kafka; then echo "export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT"; fi
  if wants registry; then echo "export SCHEMA_REGISTRY_URL=$REGISTRY_URL"; fi
  if wants postgres; then
    echo "export DATABASE_URL=postgres://$PG_USER:$PG_PASSWORD@127.0.0.1:$PG_PORT/postgres"
  fi
}

stop_postgres() {
  [ -e "$DATA/postgres/db/postmaster.pid" ] || return 0
  cd "$DATA/postgres"
  as_pg "$(pg_bin)/pg_ctl" -D "$DATA/postgres/db" -m fast -w -t 60 stop >/dev/null 2>&1 || true
  if as_pg "$(pg_bin)/pg_ctl" -D "$DATA/postgres/db" status >/dev/null 2>&1; then
    die "PostgreSQL does not end"
  fi
}

cmd_stop() {
  if wants registry; then stop_pid registry; fi
  if wants kafka; then stop_pid kafka; fi
  if wants postgres; then stop_postgres; fi
}

case $COMMAND in
  install | start | stop | wipe)
    need flock util-linux
    exec 9>"$TARGET/.lock"
    flock 9
    ;;
esac
case $COMMAND in
  install) cmd_install; say "installed:$SERVICES" ;;
  start) cmd_start ;;
  health) load_ports; cmd_health ;;
  env) load_ports; cmd_env ;;
  stop) cmd_stop; say "stopped:$SERVICES" ;;
  wipe)
    SERVICES=" registry kafka postgres"
    cmd_stop
    cd "$TARGET"
    rm -rf "${DATA:?}" "${LOGS:?}" "${RUN:?}" "${TARGET:?}/ports"
    say "wiped: $TARGET"
    ;;
  kafka-answer)
    load_ports
    kafka_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$KAFKA_PORT" --list
    ;;
esac
