#!/bin/sh
# Refreshes .sqlx/: the checked queries of src/store, described by a private PostgreSQL that lives only as long as this script.
# Run it after adding or changing a query or a migration, and commit what changed.
set -eu
cd "$(dirname "$0")/.."

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)") || { echo "no PostgreSQL server: apt-get install postgresql" >&2; exit 3; }

place=$(mktemp -d /tmp/debunk-sqlx.XXXXXX)
as=""
if [ "$(id -u)" = 0 ]; then
    chown postgres "$place"
    as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
end() {
    $as "$bin/pg_ctl" --pgdata="$place/db" --mode=immediate stop >/dev/null 2>&1 || true
    rm -rf "$place"
}
trap end EXIT INT TERM

(cd "$place" && $as "$bin/initdb" --pgdata="$place/db" --auth=trust --username=debunk --encoding=UTF8 --no-sync >/dev/null)
(cd "$place" && $as "$bin/pg_ctl" --pgdata="$place/db" --log="$place/log" --wait \
    --options="-c listen_addresses='' -c unix_socket_directories='$place' -c fsync=off" start >/dev/null)
"$bin/createdb" -h "$place" -U debunk debunk
for file in migrations/*.sql; do
    "$bin/psql" -h "$place" -U debunk -d debunk -q -v ON_ERROR_STOP=1 -1 -f "$file"
done

fresh=$(mktemp -d "$place/fresh.XXXXXX")
touch src/lib.rs tests/it/main.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" \
    DATABASE_URL="postgres://debunk@localhost/debunk?host=$place" cargo check --quiet --all-targets
mkdir -p .sqlx
# Only what the sources still ask stays.
for file in .sqlx/query-*.json; do
    if [ -e "$file" ] && [ ! -e "$fresh/$(basename "$file")" ]; then rm "$file"; fi
done
for file in "$fresh"/query-*.json; do
    [ -e "$file" ] && cp "$file" .sqlx/
done
echo "$(ls .sqlx | wc -l) queries in .sqlx"
