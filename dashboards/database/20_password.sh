#!/bin/sh
# Gives the dashboards' role its password. The image of PostgreSQL runs it once, after 10_read_only_role.sql.
set -eu
: "${GRAFANA_RO_PASSWORD:?the password of the role grafana_ro}"
psql -v ON_ERROR_STOP=1 -v password="$GRAFANA_RO_PASSWORD" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
alter role grafana_ro password :'password';
SQL
