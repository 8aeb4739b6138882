#!/bin/bash
# The entry of a member's container: initialises the volume of a member that is provisioned for the first time, then
# runs mysqld as a supervised child. It holds no opinion on roles: every mysqld boots read-only and offline, and the
# operator gives it its role.
#
# - The data directory appears by one rename, when it is whole: a kill in the middle leaves nothing that looks finished.
# - An empty volume of a member that is not new is an error, never a reason to initialise.
# - SIGTERM ends mysqld by SIGKILL. Passed on, it would answer commits that nobody acknowledged with OK.
# - A mysqld that dies is started again at once, a few times; then the container ends, and kubelet's back-off takes over.
set -u

VOLUME=/var/lib/mysql
DATA=$VOLUME/data
UNFINISHED=$VOLUME/initialising
RUN=/run/mysqld
MEMORY=/run/shardpair   # an emptyDir in memory, for passwords
[ -d "$MEMORY" ] || MEMORY=$RUN
CNF=/etc/shardpair/my.cnf
ACCOUNTS=/etc/shardpair/accounts
STATE=$RUN/state
MEMBER=${SHARDPAIR_MEMBER:-member}

# More deaths than this within so many seconds, and supervision gives up.
MAX_DEATHS=5
WITHIN=30
# How long a mysqld that was asked to shut down stays down, in seconds.
REST=120

CONFIG_ERROR=78   # EX_CONFIG: no restart helps
RESTART_CODE=16   # mysqld's exit code for RESTART and after CLONE

child=

say() { printf '%(%Y-%m-%dT%H:%M:%SZ)T shardpair %s: %s\n' -1 "$MEMBER" "$*" >&2; }

# Ends the container with a reason that `kubectl describe pod` shows.
give_up() {
  local code=$1
  shift
  say "error: $*"
  { printf '%s\n' "$*" >/dev/termination-log; } 2>/dev/null
  exit "$code"
}

# Each mysqld takes about 2,700 of the node's slots for asynchronous I/O (seen: 24 of 40 members fit into the default of 65,536).
aio_hint() {
  local used most
  { read -r used </proc/sys/fs/aio-nr && read -r most </proc/sys/fs/aio-max-nr; } 2>/dev/null || return 0
  ((most - used >= 3000)) || printf '; the node has only %s of %s slots for asynchronous I/O left: raise its sysctl fs.aio-max-nr, or set innodb_use_native_aio: "OFF" in spec.mysql.config' "$((most - used))" "$most"
}

# STATE is what `alive` reads: the supervisor's pid, a word, and the child's pid where there is one.
state() { printf '%s\n' "$$ $*" >"$STATE.new" && mv -f "$STATE.new" "$STATE"; }

kill_children() {
  [ -z "$child" ] || kill -KILL "$child" 2>/dev/null
  # Also one that was forked a moment ago, before its pid was noted.
  # shellcheck disable=SC2046
  kill -KILL $(jobs -p) 2>/dev/null
}

stop() {
  kill_children
  say "told to stop: mysqld was killed"
  exit 0
}

# Runs a command as the one child and waits for it; its exit code is left in `code`.
run() {
  "$@" &
  child=$!
  wait "$child"
  code=$?
  child=
}

# A random word of 12 hexadecimal digits.
random() {
  local uuid
  read -r uuid </proc/sys/kernel/random/uuid
  printf '%s' "${uuid:24:12}"
}

# The beginning of my.cnf's hash: which settings a process was started with.
config_hash() {
  local hash
  hash=$(sha256sum <"$CNF")
  printf '%s' "${hash:0:16}"
}

secret() {
  local value
  value=$(<"$ACCOUNTS/$1") || give_up $CONFIG_ERROR "the Secret has no $1"
  [ -n "$value" ] || give_up $CONFIG_ERROR "the Secret's $1 is empty"
  # As the inside of an SQL string.
  value=${value//\\/\\\\}
  printf '%s' "${value//\'/\'\'}"
}

# What the operator's verbs need, and no more: no SUPER, no FILE, no ALL. The database rights are WITH GRANT OPTION because
# it hands exactly these to the application; SELECT is global because per-database rights are looked up under a lock that a
# waiting account statement holds. SYSTEM_USER keeps an application's administrator from ending or changing it.
OPERATOR_DATABASE_RIGHTS='SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER'
OPERATOR_SERVER_RIGHTS='RELOAD, SHUTDOWN, PROCESS, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT, CREATE USER'
OPERATOR_ADMIN_RIGHTS='CONNECTION_ADMIN, SERVICE_CONNECTION_ADMIN, SYSTEM_VARIABLES_ADMIN, SESSION_VARIABLES_ADMIN, REPLICATION_SLAVE_ADMIN, REPLICATION_APPLIER, BINLOG_ADMIN, BACKUP_ADMIN, CLONE_ADMIN, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, TRANSACTION_GTID_TAG, XA_RECOVER_ADMIN, SYSTEM_USER'

# The accounts, as statements that no binlog sees. Passwords go through a file in memory, never a command line.
accounts_sql() {
  local operator operator_password replication replication_password
  operator=$(secret operator-username) || exit $CONFIG_ERROR
  operator_password=$(secret operator-password) || exit $CONFIG_ERROR
  replication=$(secret replication-username) || exit $CONFIG_ERROR
  replication_password=$(secret replication-password) || exit $CONFIG_ERROR
  cat <<SQL
SET sql_log_bin=0;
CREATE USER '$operator'@'%' IDENTIFIED BY '$operator_password';
GRANT $OPERATOR_DATABASE_RIGHTS ON *.* TO '$operator'@'%' WITH GRANT OPTION;
GRANT $OPERATOR_SERVER_RIGHTS ON *.* TO '$operator'@'%';
GRANT $OPERATOR_ADMIN_RIGHTS ON *.* TO '$operator'@'%';
CREATE USER '$replication'@'%' IDENTIFIED BY '$replication_password';
GRANT REPLICATION SLAVE ON *.* TO '$replication'@'%';
GRANT CONNECTION_ADMIN, BACKUP_ADMIN, SYSTEM_USER ON *.* TO '$replication'@'%';
ALTER USER 'root'@'localhost' ACCOUNT LOCK;
SHUTDOWN;
SQL
}

initialise() {
  local sql=$MEMORY/accounts.sql writable=(--super-read-only=OFF --read-only=OFF --offline-mode=OFF)
  state initialising
  rm -rf "$UNFINISHED"
  say "initialising the volume"
  run mysqld --defaults-file="$CNF" "${writable[@]}" --datadir="$UNFINISHED" --initialize-insecure
  ((code == 0)) || give_up 1 "mysqld --initialize-insecure failed with $code; its messages are above$(aio_hint)"
  (umask 077 && accounts_sql >"$sql") || { rm -f "$sql"; exit $CONFIG_ERROR; }
  run mysqld --defaults-file="$CNF" "${writable[@]}" --datadir="$UNFINISHED" --skip-networking --init-file="$sql"
  rm -f "$sql"
  ((code == 0)) || give_up 1 "creating the accounts failed with $code; mysqld's messages are above"
  # Its GTID history begins empty, or it could not follow another member.
  rm -f "$UNFINISHED"/binlog.* "$UNFINISHED/auto.cnf"
  sync
  mv "$UNFINISHED" "$DATA"
  sync
  say "the volume is initialised"
}

prepare_volume() {
  rm -f "$MEMORY/accounts.sql"
  if [ -d "$DATA" ]; then
    rm -rf "$UNFINISHED"
  elif [ "${SHARDPAIR_FIRST:-}" = 1 ]; then
    initialise
  else
    give_up $CONFIG_ERROR "the volume holds no data, and this member is not new: it is not initialised." \
      "Is it the right volume? To replace the member, annotate the ShardPair with shardpair.io/replace=$MEMBER."
  fi
}

supervise() {
  local boot deaths=() admin=() now first
  # The administrative interface listens on one address alone, which is known here first.
  [ -z "${SHARDPAIR_ADDRESS:-}" ] || admin=(--admin-address="$SHARDPAIR_ADDRESS")
  read -r boot </proc/sys/kernel/random/boot_id
  # mysqld compares it with its parent's pid: RESTART and CLONE then end with code 16 instead of refusing.
  export MYSQLD_PARENT_PID=$$
  while :; do
    state starting
    # The name of this very process, told to the operator as @@report_user.
    mysqld --defaults-file="$CNF" "${admin[@]}" --report-user="${boot:0:8}-$(random)-$(config_hash)" &
    child=$!
    state running "$child"
    wait "$child"
    code=$?
    child=
    if ((code == RESTART_CODE)); then
      say "mysqld restarts"
      continue
    elif ((code == 0)); then
      say "mysqld was shut down on request; it is started again in $REST s"
      state resting
      run sleep "$REST"
      continue
    fi
    printf -v now '%(%s)T' -1
    deaths+=("$now")
    say "mysqld died with $code"
    first=${deaths[0]}
    if ((${#deaths[@]} > MAX_DEATHS)); then
      ((now - first > WITHIN)) || give_up 1 "mysqld died ${#deaths[@]} times within $((now - first)) s; its messages are above$(aio_hint)"
      deaths=("${deaths[@]:1}")
    fi
  done
}

# The liveness probe: no SQL, because a hung mysqld is the operator's business, and a restart would release nothing.
alive() {
  local supervisor word pid
  read -r supervisor word pid <"$STATE" || exit 1
  kill -0 "$supervisor" || exit 1
  case $word in
    running) kill -0 "$pid" 2>/dev/null || { sleep 1; read -r supervisor word pid <"$STATE"; [ "$word" != running ] || kill -0 "$pid"; } ;;
    *) true ;;
  esac
}

case ${1:-run} in
  alive) alive ;;
  run)
    trap stop TERM INT
    prepare_volume
    supervise
    ;;
  *)
    printf 'usage: entry.sh [run|alive]\n' >&2
    exit 2
    ;;
esac
