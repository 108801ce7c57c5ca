#!/bin/sh
# Brings Temporal's two databases to the schema of the server's version. Run
# before each start of the server; it does nothing where nothing is to be done.
# temporal-sql-tool takes its password from SQL_PASSWORD.
set -eu

schema=/etc/temporal/schema/postgresql/v12

bring() { # database, directory of its schema
  tool="temporal-sql-tool --plugin postgres12 --ep $SQL_HOST -p 5432 -u $SQL_USER --db $1"
  # Leaves the version of a database that has one.
  $tool setup-schema -v 0.0
  $tool update-schema -d "$schema/$2/versioned"
}

bring temporal temporal
bring temporal_visibility visibility
