-- Runs once, when docker-compose.yml's Postgres makes its data folder: the roles, each with what it needs and no more,
-- and the load's database. The load makes its tables itself.

\set capsim_password `cat /run/secrets/capsim_password`
\set leverd_password `cat /run/secrets/leverd_db_password`
\set exporter_password `cat /run/secrets/exporter_password`

CREATE ROLE capsim LOGIN PASSWORD :'capsim_password';
-- No superuser: leverd writes the file and restarts the container, so it needs no ALTER SYSTEM.
CREATE ROLE leverd LOGIN PASSWORD :'leverd_password' IN ROLE pg_monitor;
CREATE ROLE exporter LOGIN PASSWORD :'exporter_password' IN ROLE pg_monitor;

CREATE DATABASE capsim OWNER capsim;
\connect capsim

-- To have a change taken up, and to see what the server thinks of its files.
GRANT EXECUTE ON FUNCTION pg_reload_conf(), pg_show_all_file_settings() TO leverd;
GRANT SELECT ON pg_file_settings TO leverd;
-- For the schema of its write probe.
GRANT CREATE ON DATABASE capsim TO leverd;
