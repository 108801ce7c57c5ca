#!/bin/sh
# Run by the Postgres image when it makes a new data directory: one role for
# Ambient and one for Temporal, each the owner of its databases and of nothing else.
set -eu

psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set ambient="$AMBIENT_DATABASE_PASSWORD" --set temporal="$TEMPORAL_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE ambient LOGIN PASSWORD :'ambient';
CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE ambient OWNER ambient;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE ambient, temporal, temporal_visibility FROM PUBLIC;
SQL
