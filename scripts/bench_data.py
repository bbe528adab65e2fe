"""What the migration's benches move: tables whose rows are made by SQL from their number alone, so that every run has
the same ones, and the question whether a target holds exactly them.

Rows are compared by their count and by the sum of a hash of each, which is the same in any order. Between two
PostgreSQLs that is the hash of the row's own text; from MariaDB it is the MD5 of a text that both can write.
"""

import os
import typing

from bench_servers import DATABASE, SqlError

SHORT = os.environ.get("SHORT", "") not in ("", "0", "no")
MB = 1_000_000
# Rows that a table's size is estimated from.
SAMPLE_ROWS = 20_000
# Tables whose sums are asked for in one statement.
TABLES_AT_ONCE = 100
# Schemas that are no contender's: the system's, and where leverd keeps a run's state.
OTHER_SCHEMAS = "('pg_catalog', 'information_schema', 'pg_toast', 'leverd_migration')"
ROW_HASH = "hashtextextended(t::text, 0)"


class Table(typing.NamedTuple):
    name: str
    columns: str
    # A SELECT of the rows from {first} to {last}.
    rows: str
    # The primary key first, then indexes; each a whole statement.
    keys: typing.Tuple[str, ...]
    # A row's hash in the target, where its alias is t; and in the source, if that says it otherwise.
    hash: str = ROW_HASH
    source_hash: str = ""


class DataSet(typing.NamedTuple):
    name: str
    title: str
    tables: typing.Tuple[Table, ...]
    # Of each table: either about so many bytes of rows, or so many rows.
    bytes: int = 0
    rows: int = 0
    engine: str = "postgres"
    # One table that is worth splitting.
    is_one_huge_table: bool = False

    def bytes_at_most(self):
        """About what it takes on a disk, indexes aside."""
        return self.bytes * len(self.tables) or self.rows * len(self.tables) * 300


class Sums(typing.NamedTuple):
    rows: int
    # As text: it has more digits than a float.
    checksum: str


# --- The tables ----------------------------------------------------------------------------------------------------

WIDE = Table(
    "wide",
    "id bigint NOT NULL, tenant_id integer NOT NULL, kind smallint NOT NULL, is_active boolean NOT NULL,"
    " amount numeric(12,2) NOT NULL, rate double precision, score real, quantity integer,"
    " created_at timestamp with time zone NOT NULL, updated_at timestamp without time zone, born date,"
    " reference uuid NOT NULL, code character varying(20) NOT NULL, name text NOT NULL, email text, street text,"
    " city character varying(60), country character varying(2), note text, payload jsonb, digest bytea,"
    " source_ip inet, visits bigint, is_checked boolean",
    """
    SELECT g, (g % 5000)::integer, (g % 7)::smallint, g % 3 = 0,
        (g % 1000000) / 100.0,
        CASE WHEN g % 11 = 0 THEN NULL ELSE g::double precision / 7 END,
        ((g % 977)::double precision / 3)::real,
        CASE WHEN g % 5 = 0 THEN NULL ELSE (g % 100)::integer END,
        timestamp with time zone '2020-01-01 00:00:00+00' + g::double precision * interval '1 second',
        timestamp without time zone '2021-01-01 00:00:00' + (g % 1000000)::double precision * interval '1 millisecond',
        date '1950-01-01' + (g % 20000)::integer,
        md5('reference' || g::text)::uuid,
        'C' || lpad((g % 1000000)::text, 9, '0'),
        'Zoë ' || md5(g::text),
        CASE WHEN g % 4 = 0 THEN NULL ELSE 'user' || g::text || '@example.com' END,
        (g % 999)::text || ' ' || substr(md5('street' || g::text), 1, 14) || ' Street',
        'City ' || (g % 900)::text,
        (ARRAY['DE', 'FR', 'US', 'JP', 'BR'])[(1 + g % 5)::integer],
        CASE WHEN g % 3 = 0 THEN NULL
            ELSE 'a note, with "quotes", \\ and' || chr(9) || 'a tab' || chr(10) || md5('note' || g::text) END,
        jsonb_build_object('id', g, 'tags', jsonb_build_array('a', g % 10), 'ok', g % 2 = 0),
        decode(md5('digest' || g::text), 'hex'),
        ('10.' || (g % 256)::text || '.' || (g / 256 % 256)::text || '.7')::inet,
        g * 1000003,
        CASE WHEN g % 2 = 0 THEN NULL ELSE g % 10 = 1 END
    FROM generate_series({first}::bigint, {last}::bigint) AS g
    """,
    (
        "ALTER TABLE wide ADD PRIMARY KEY (id)",
        "CREATE INDEX wide_tenant_created ON wide (tenant_id, created_at)",
        "CREATE INDEX wide_code ON wide (code)",
    ),
)

NARROW = Table(
    "narrow",
    "id bigint NOT NULL, account_id integer NOT NULL, amount integer",
    """
    SELECT g, (g * 7919 % 100003)::integer, CASE WHEN g % 13 = 0 THEN NULL ELSE (g % 1000)::integer END
    FROM generate_series({first}::bigint, {last}::bigint) AS g
    """,
    ("ALTER TABLE narrow ADD PRIMARY KEY (id)", "CREATE INDEX narrow_account ON narrow (account_id)"),
)


def log_table(name, has_index=True):
    """Rows of some 250 bytes, as a log or a list of events has them."""
    index = (f"CREATE INDEX {name}_account_happened ON {name} (account_id, happened_at)",) if has_index else ()
    return Table(
        name,
        "id bigint NOT NULL, account_id integer NOT NULL, happened_at timestamp with time zone NOT NULL,"
        " kind smallint NOT NULL, amount numeric(12,2), body text NOT NULL",
        """
        SELECT g, (g * 7919 % 100003)::integer,
            timestamp with time zone '2015-01-01 00:00:00+00' + g::double precision * interval '1 second',
            (g % 12)::smallint, CASE WHEN g % 17 = 0 THEN NULL ELSE (g % 1000000) / 100.0 END,
            md5(g::text) || ' ' || md5('a' || g::text) || ' ' || md5('b' || g::text) || ' ' || md5('c' || g::text)
                || ' ' || md5('d' || g::text)
        FROM generate_series({first}::bigint, {last}::bigint) AS g
        """,
        (f"ALTER TABLE {name} ADD PRIMARY KEY (id)", *index),
    )


def small_table(number):
    name = f"small_{number:04}"
    return Table(
        name,
        "id integer NOT NULL, label text NOT NULL, amount numeric(10,2), happened_at timestamp with time zone NOT NULL",
        f"""
        SELECT g, 'label {number} ' || g::text, g / 4.0,
            timestamp with time zone '2022-01-01 00:00:00+00' + g * interval '1 hour'
        FROM generate_series({{first}}, {{last}}) AS g
        """,
        (f"ALTER TABLE {name} ADD PRIMARY KEY (id)",),
    )


# What both engines can write of a row, in the same letters. A double is there as thousandths: the two write its digits
# differently, and these rows have no more than eighths. pgloader makes a timestamp with time zone of a DATETIME.
ITEMS_IN_POSTGRES = (
    "concat_ws('|', id, tenant_id, kind, CASE WHEN is_active THEN 1 ELSE 0 END, amount, (rate * 1000)::bigint,"
    " quantity, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS'), to_char(born, 'YYYY-MM-DD'), code, name,"
    " coalesce(email, '~'), street, city, country, coalesce(note, '~'), encode(digest, 'hex'), visits)"
)
ITEMS_IN_MARIADB = (
    "CONCAT_WS('|', id, tenant_id, kind, is_active, amount, CAST(rate * 1000 AS SIGNED),"
    " quantity, DATE_FORMAT(created_at, '%Y-%m-%d %H:%i:%s'), DATE_FORMAT(born, '%Y-%m-%d'), code, name,"
    " COALESCE(email, '~'), street, city, country, COALESCE(note, '~'), LOWER(HEX(digest)), visits)"
)
READINGS = "CONCAT_WS('|', id, sensor_id, level)"


def of_60_bits_in_postgres(text):
    return f"('x' || substr(md5({text}), 1, 15))::bit(60)::bigint"


def of_60_bits_in_mariadb(text):
    return f"CAST(CONV(SUBSTR(MD5({text}), 1, 15), 16, 10) AS UNSIGNED)"


ITEMS = Table(
    "items",
    "id BIGINT NOT NULL, tenant_id INT NOT NULL, kind SMALLINT NOT NULL, is_active TINYINT(1) NOT NULL,"
    " amount DECIMAL(12,2) NOT NULL, rate DOUBLE NOT NULL, quantity INT UNSIGNED NOT NULL,"
    " created_at DATETIME NOT NULL, born DATE NOT NULL, code VARCHAR(20) NOT NULL, name VARCHAR(80) NOT NULL,"
    " email VARCHAR(120), street VARCHAR(80) NOT NULL, city VARCHAR(60) NOT NULL, country VARCHAR(2) NOT NULL,"
    " note TEXT, digest VARBINARY(16) NOT NULL, visits BIGINT NOT NULL",
    """
    SELECT seq, seq % 5000, seq % 7, seq % 3 = 0,
        (seq % 1000000) / 100, seq / 8, seq % 100,
        '2020-01-01 00:00:00' + INTERVAL (seq % 100000000) SECOND, '1950-01-01' + INTERVAL (seq % 20000) DAY,
        CONCAT('C', LPAD(seq % 1000000, 9, '0')), CONCAT('Zoë ', MD5(seq)),
        IF(seq % 4 = 0, NULL, CONCAT('user', seq, '@example.com')),
        CONCAT(seq % 999, ' ', SUBSTR(MD5(CONCAT('street', seq)), 1, 14), ' Street'), CONCAT('City ', seq % 900),
        ELT(1 + seq % 5, 'DE', 'FR', 'US', 'JP', 'BR'),
        IF(seq % 3 = 0, NULL, CONCAT('a note, with "quotes", a tab', CHAR(9 USING utf8mb4), 'and a line',
            CHAR(10 USING utf8mb4), MD5(CONCAT('note', seq)))),
        UNHEX(MD5(CONCAT('digest', seq))), seq * 1000003
    FROM seq_{first}_to_{last}
    """,
    (
        "ALTER TABLE items ADD PRIMARY KEY (id)",
        "CREATE INDEX items_tenant_created ON items (tenant_id, created_at)",
        "CREATE INDEX items_code ON items (code)",
    ),
    of_60_bits_in_postgres(ITEMS_IN_POSTGRES),
    of_60_bits_in_mariadb(ITEMS_IN_MARIADB),
)

READING = Table(
    "readings",
    "id BIGINT NOT NULL, sensor_id INT NOT NULL, level INT NOT NULL",
    "SELECT seq, seq * 7919 % 100003, seq % 1000 FROM seq_{first}_to_{last}",
    ("ALTER TABLE readings ADD PRIMARY KEY (id)", "CREATE INDEX readings_sensor ON readings (sensor_id)"),
    of_60_bits_in_postgres(READINGS),
    of_60_bits_in_mariadb(READINGS),
)


def data_sets():
    """All of them: some 500 MB together where SHORT=1, else some 5.5 GB."""
    small = 200 if SHORT else 1000
    huge = 250 if SHORT else 3000
    items = 200_000 if SHORT else 2_200_000
    return [
        DataSet("wide", "one wide table, 24 columns of 16 types", (WIDE,), bytes=(140 if SHORT else 1500) * MB),
        DataSet("narrow", "one narrow table, three integers", (NARROW,), bytes=(50 if SHORT else 500) * MB),
        DataSet("small", f"{small} tables of 100 rows", tuple(map(small_table, range(1, small + 1))), rows=100),
        DataSet("huge", f"one table of {huge} MB", (log_table("huge"),), bytes=huge * MB, is_one_huge_table=True),
        DataSet("mariadb", "MariaDB: 18 columns, and three integers", (ITEMS, READING), rows=items, engine="mariadb"),
    ]


# --- The source ----------------------------------------------------------------------------------------------------


def fill(source, data):
    """Makes the tables and their rows in the source, and leaves it at rest."""
    if data.engine == "mariadb":
        fill_mariadb(source, data)
        return
    source.empty()
    if data.rows:
        # Many small tables in one go.
        statements = [create(table) + insert(table, 1, data.rows) for table in data.tables]
        source.sql("SET synchronous_commit = off;\n" + "".join(statements))
    else:
        for table in data.tables:
            fill_to_size(source, table, data.bytes)
    source.sql("".join(f"{key};\n" for table in data.tables for key in table.keys))
    # Else the first one to read would pay for what the rows' writer left undone.
    source.sql("VACUUM (FREEZE, ANALYZE);\nCHECKPOINT;\n")


def fill_to_size(source, table, wanted):
    source.sql("SET synchronous_commit = off;\n" + create(table) + insert(table, 1, SAMPLE_ROWS))
    sample_bytes = int(source.sql(f"SELECT pg_relation_size('{table.name}');"))
    rows = int(round(wanted / sample_bytes * SAMPLE_ROWS, -4))
    if rows > SAMPLE_ROWS:
        source.sql("SET synchronous_commit = off;\n" + insert(table, SAMPLE_ROWS + 1, rows))


def fill_mariadb(source, data):
    for table in data.tables:
        source.sql(create(table) + insert(table, 1, data.rows) + "".join(f"{key};\n" for key in table.keys))
    names = ", ".join(table.name for table in data.tables)
    source.sql(f"ANALYZE TABLE {names};\n")


def create(table):
    return f"CREATE TABLE {table.name} ({table.columns});\n"


def insert(table, first, last):
    return f"INSERT INTO {table.name} {table.rows.format(first=first, last=last)};\n"


def size_of(source, data):
    """Bytes of the rows as the source keeps them, indexes aside."""
    if data.engine == "mariadb":
        of_ours = f"table_schema = '{DATABASE}'"
        answer = source.sql(f"SELECT SUM(data_length) FROM information_schema.tables WHERE {of_ours};")
    else:
        answer = source.sql("SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' AND oid >= 16384;")
    return int(answer.strip())


def sums_of_source(source, data):
    """By table."""
    places = {table.name: table.name for table in data.tables}
    hashes = {table.name: table.source_hash or table.hash for table in data.tables}
    return sums(source, places, hashes)


# --- The target ----------------------------------------------------------------------------------------------------


def difference(target, data, expected, has_keys):
    """What is not in the target as it is in the source, in words; None where nothing is."""
    try:
        return differing_tables(target, data, expected) or (differing_keys(target, data) if has_keys else None)
    except SqlError as error:
        return f"the target cannot be compared: {error}"


def differing_tables(target, data, expected):
    places = {}
    wanted = {table.name for table in data.tables}
    for schema, name in target.rows(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN {OTHER_SCHEMAS};"
    ):
        if name in places:
            return f"{name} is there twice"
        if name in wanted:
            places[name] = f'"{schema}"."{name}"'
    missing = sorted(wanted - set(places))
    if missing:
        return f"{len(missing)} tables are not there, among them {missing[0]}"
    found = sums(target, places, {table.name: table.hash for table in data.tables})
    for name in sorted(wanted):
        if found[name].rows != expected[name].rows:
            return f"{name} has {found[name].rows} rows instead of {expected[name].rows}"
        if found[name].checksum != expected[name].checksum:
            return f"{name} has as many rows, and not the same ones"
    return None


def differing_keys(target, data):
    [(keys, primary)] = target.rows(
        "SELECT count(*), count(*) FILTER (WHERE i.indisprimary) FROM pg_index AS i"
        " JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE i.indisvalid AND n.nspname NOT IN {OTHER_SCHEMAS};"
    )
    wanted = sum(len(table.keys) for table in data.tables)
    if int(keys) != wanted or int(primary) != len(data.tables):
        return f"{keys} indexes with {primary} primary keys instead of {wanted} with {len(data.tables)}"
    return None


def sums(server, places, hashes):
    """Count and checksum of each table, by name."""
    found = {}
    names = sorted(places)
    for first in range(0, len(names), TABLES_AT_ONCE):
        parts = [
            f"SELECT '{name}', count(*), coalesce(sum({hashes[name]}), 0) FROM {places[name]} AS t"
            for name in names[first : first + TABLES_AT_ONCE]
        ]
        for name, rows, checksum in server.rows("\nUNION ALL ".join(parts) + ";\n"):
            found[name] = Sums(int(rows), checksum)
    return found
