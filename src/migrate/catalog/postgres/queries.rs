//! What PostgreSQL's catalogs are asked, on 12 to 18. The columns of each are read by position in `rows.rs`.
//!
//! Always holds: nothing here is asked once for each table. System schemas, temporary tables and what an extension made
//! are left out everywhere: `CREATE EXTENSION` makes the latter again.

/// Opens what all but [`super::rows::values_statement`] is asked in: one view of the catalogs, in which every name is
/// written qualified and every constant in the same form.
pub(super) const BEGIN: &str = "\
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_catalog.set_config('search_path', '', true);
SET LOCAL quote_all_identifiers = off;
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL intervalstyle = postgres;
SET LOCAL bytea_output = hex;
SET LOCAL extra_float_digits = 3";

/// True of what a user made: `$class` is the catalog that holds the object, `$oid` its OID; its schema is `n`.
macro_rules! of_a_user {
    ($class:literal, $oid:literal) => {
        concat!(
            "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (",
            "SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.",
            $class,
            "'::pg_catalog.regclass AND e.objid = ",
            $oid,
            " AND e.deptype = 'e')"
        )
    };
}

/// Whether rows can be read by ranges of blocks, and what a block is.
pub(super) const SERVER: &str = "\
SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.current_setting('block_size')::int8";

/// Ordinary, partitioned and foreign tables, partitions too.
pub(super) const RELATIONS: &str = concat!(
    "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relispartition, \
       (SELECT array_agg(i.inhparent ORDER BY i.inhseqno) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), \
       CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END, \
       CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END, \
       coalesce(am.amname = 'heap', false), c.reltuples, c.relpages, \
       CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) END, \
       CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_table_size(c.oid) END, d.description, c.reloptions, \
       (SELECT h.reloptions FROM pg_catalog.pg_class h WHERE h.oid = c.reltoastrelid), c.relreplident::text \
     FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
     LEFT JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 \
       AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     WHERE c.relkind IN ('r', 'p', 'f') AND ",
    of_a_user!("pg_class", "c.oid")
);

/// Columns of tables; a partition has its table's.
pub(super) const COLUMNS: &str = concat!(
    "SELECT a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
       a.attidentity::text, a.attgenerated::text, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid), \
       CASE WHEN co.oid IS NOT NULL THEN pg_catalog.format('%I.%I', cn.nspname, co.collname) END, d.description \
     FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_catalog.pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum \
     LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation AND a.attcollation <> t.typcollation \
     LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace \
     LEFT JOIN pg_catalog.pg_description d ON d.objoid = a.attrelid AND d.objsubid = a.attnum \
       AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped AND ",
    of_a_user!("pg_class", "c.oid"),
    " ORDER BY a.attrelid, a.attnum"
);

/// Indexes of tables and materialised views; of a partitioned table those of the whole, as if it were one table.
pub(super) const INDEXES: &str = concat!(
    "SELECT i.indrelid, n.nspname, c.relname, ic.relname, i.indisunique, i.indisprimary, i.indisvalid, am.amname, \
       i.indnkeyatts, \
       (SELECT array_agg(CASE WHEN i.indkey[k] <> 0 THEN a.attname::text \
          ELSE pg_catalog.pg_get_indexdef(i.indexrelid, k + 1, false) END ORDER BY k) \
        FROM pg_catalog.generate_series(0, i.indnatts - 1) k \
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]), \
       (SELECT array_agg(i.indkey[k] <> 0 ORDER BY k) FROM pg_catalog.generate_series(0, i.indnatts - 1) k), \
       (SELECT array_agg(coalesce(i.indoption[k], 0) & 1 = 1 ORDER BY k) \
        FROM pg_catalog.generate_series(0, i.indnatts - 1) k), \
       pg_catalog.replace(pg_catalog.pg_get_indexdef(i.indexrelid), \
         pg_catalog.format(' ON ONLY %I.%I USING ', n.nspname, c.relname), \
         pg_catalog.format(' ON %I.%I USING ', n.nspname, c.relname)), \
       pg_catalog.pg_get_expr(i.indpred, i.indrelid), \
       con.contype::text, coalesce(con.condeferrable, false), \
       CASE WHEN con.oid IS NOT NULL THEN pg_catalog.format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', \
         n.nspname, c.relname, con.conname, pg_catalog.pg_get_constraintdef(con.oid)) END, ic.reloptions \
     FROM pg_catalog.pg_index i \
     JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
     JOIN pg_catalog.pg_am am ON am.oid = ic.relam \
     JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid \
       AND con.contype IN ('p', 'u', 'x') \
     WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND ",
    of_a_user!("pg_class", "c.oid")
);

/// Checks and foreign keys. What PostgreSQL made itself for partitions has a parent.
pub(super) const CONSTRAINTS: &str = concat!(
    "SELECT con.conrelid, con.conname, con.contype::text, pg_catalog.pg_get_constraintdef(con.oid) \
     FROM pg_catalog.pg_constraint con \
     JOIN pg_catalog.pg_class c ON c.oid = con.conrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE con.contype IN ('c', 'f') AND con.conparentid = 0 AND NOT c.relispartition AND ",
    of_a_user!("pg_class", "c.oid")
);

/// Sequences, and the column that owns each. The tenth column is what a default that asks it looks like.
pub(super) const SEQUENCES: &str = concat!(
    "SELECT c.oid, n.nspname, c.relname, pg_catalog.format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, \
       s.seqmin, s.seqmax, s.seqcache, \
       pg_catalog.format('nextval(%L::regclass)', pg_catalog.format('%I.%I', n.nspname, c.relname)), \
       s.seqcycle, d.refobjid, d.refobjsubid, \
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT') \
         AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
         AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) \
     FROM pg_catalog.pg_sequence s \
     JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_depend d ON d.objid = c.oid AND d.objsubid = 0 AND d.deptype IN ('a', 'i') \
       AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 \
     WHERE ",
    of_a_user!("pg_class", "c.oid")
);

/// Views and materialised views.
pub(super) const VIEWS: &str = concat!(
    "SELECT c.oid, n.nspname, c.relname, c.relkind = 'm', pg_catalog.pg_get_viewdef(c.oid), \
       pg_catalog.array_to_string(c.reloptions, ', '), d.description \
     FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 \
       AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     WHERE c.relkind IN ('v', 'm') AND ",
    of_a_user!("pg_class", "c.oid")
);

/// Which view reads which.
pub(super) const VIEW_READS: &str = concat!(
    "SELECT DISTINCT r.ev_class, d.refobjid \
     FROM pg_catalog.pg_rewrite r \
     JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm') \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_depend d ON d.objid = r.oid AND d.refobjid <> r.ev_class \
       AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     JOIN pg_catalog.pg_class rc ON rc.oid = d.refobjid AND rc.relkind IN ('v', 'm') \
     WHERE ",
    of_a_user!("pg_class", "c.oid")
);

/// Types of users with the statements that make them. A type is younger than those that it needs, nearly always.
pub(super) const TYPES: &str = concat!(
    "SELECT pg_catalog.format_type(t.oid, NULL), t.typtype::text, CASE t.typtype \
       WHEN 'e' THEN pg_catalog.format('CREATE TYPE %s AS ENUM (%s)', pg_catalog.format_type(t.oid, NULL), \
         (SELECT string_agg(pg_catalog.quote_literal(l.enumlabel::text), ', ' ORDER BY l.enumsortorder) \
          FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid)) \
       WHEN 'd' THEN pg_catalog.format('CREATE DOMAIN %s AS %s', pg_catalog.format_type(t.oid, NULL), \
           pg_catalog.format_type(t.typbasetype, t.typtypmod)) \
         || coalesce((SELECT pg_catalog.format(' COLLATE %I.%I', cn.nspname, co.collname) \
              FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace \
              WHERE co.oid = t.typcollation AND t.typcollation <> b.typcollation), '') \
         || coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(t.typdefaultbin, \
              'pg_catalog.pg_type'::pg_catalog.regclass), '') \
         || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END \
         || coalesce((SELECT string_agg(pg_catalog.format(' CONSTRAINT %I %s', k.conname, \
              pg_catalog.pg_get_constraintdef(k.oid)), '' ORDER BY k.conname) \
              FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '') \
       WHEN 'c' THEN pg_catalog.format('CREATE TYPE %s AS (%s)', pg_catalog.format_type(t.oid, NULL), \
         (SELECT string_agg(pg_catalog.format('%I %s', a.attname, \
              pg_catalog.format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) \
          FROM pg_catalog.pg_attribute a \
          WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)) \
       END \
     FROM pg_catalog.pg_type t \
     JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype \
     LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
     WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c')) AND ",
    of_a_user!("pg_type", "t.oid"),
    " ORDER BY t.oid"
);

/// What was said of all but tables, views and columns of tables: kind, schema, what it belongs to, name, text. Those of
/// partitions' own indexes and constraints are not in it. `public` is born with a comment, which nobody said.
pub(super) const COMMENTS: &str = concat!(
    "SELECT 'schema', n.nspname::text, n.nspname::text, n.nspname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_namespace n ON n.oid = d.objoid \
       WHERE d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
       AND d.description <> 'standard public schema' AND ",
    of_a_user!("pg_namespace", "n.oid"),
    " UNION ALL SELECT 'type', n.nspname::text, pg_catalog.format_type(t.oid, NULL), \
         t.typname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_type t ON t.oid = d.objoid \
       JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
       LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
       WHERE d.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass \
       AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c')) AND ",
    of_a_user!("pg_type", "t.oid"),
    " UNION ALL SELECT 'attribute', n.nspname::text, pg_catalog.format_type(t.oid, NULL), \
         a.attname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON c.oid = d.objoid AND c.relkind = 'c' \
       JOIN pg_catalog.pg_type t ON t.oid = c.reltype \
       JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND NOT a.attisdropped \
       WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0 AND ",
    of_a_user!("pg_type", "t.oid"),
    " UNION ALL SELECT 'domain check', n.nspname::text, pg_catalog.format_type(t.oid, NULL), \
         k.conname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint k ON k.oid = d.objoid AND k.contype = 'c' \
       JOIN pg_catalog.pg_type t ON t.oid = k.contypid \
       JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
       WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND ",
    of_a_user!("pg_type", "t.oid"),
    " UNION ALL SELECT 'index', n.nspname::text, c.relname::text, ic.relname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_index i ON i.indexrelid = d.objoid AND d.objsubid = 0 \
       JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
       JOIN pg_catalog.pg_class c ON c.oid = i.indrelid AND NOT c.relispartition \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'constraint', n.nspname::text, c.relname::text, k.conname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint k ON k.oid = d.objoid \
       JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND NOT c.relispartition \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
       AND k.contype IN ('p', 'u', 'x', 'c', 'f') AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'sequence', n.nspname::text, c.relname::text, c.relname::text, d.description \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON c.oid = d.objoid AND c.relkind = 'S' \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'view column', n.nspname::text, c.relname::text, a.attname::text, d.description \
       FROM pg_catalog.pg_description d \
       JOIN pg_catalog.pg_class c ON c.oid = d.objoid AND c.relkind IN ('v', 'm') \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid \
       WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0 AND ",
    of_a_user!("pg_class", "c.oid")
);

/// What a move leaves behind, by kind: how many, and a few names.
pub(super) const OTHERS: &str = concat!(
    "SELECT o.kind, pg_catalog.count(*), (pg_catalog.array_agg(o.name ORDER BY o.name))[1:5] FROM (\
     SELECT 'triggers' AS kind, pg_catalog.format('%I.%I.%I', n.nspname, c.relname, g.tgname) AS name \
       FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE NOT g.tgisinternal AND NOT c.relispartition AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'row security policies', pg_catalog.format('%I.%I.%I', n.nspname, c.relname, y.polname) \
       FROM pg_catalog.pg_policy y JOIN pg_catalog.pg_class c ON c.oid = y.polrelid \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'rewrite rules', pg_catalog.format('%I.%I.%I', n.nspname, c.relname, r.rulename) \
       FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.rulename <> '_RETURN' AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'functions and procedures', pg_catalog.format('%I.%I', n.nspname, f.proname) \
       FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace WHERE ",
    of_a_user!("pg_proc", "f.oid"),
    " UNION ALL SELECT 'indexes of single partitions', pg_catalog.format('%I.%I', n.nspname, ic.relname) \
       FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
       JOIN pg_catalog.pg_class c ON c.oid = i.indrelid AND c.relispartition \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = i.indexrelid) AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'constraints of single partitions', \
         pg_catalog.format('%I.%I.%I', n.nspname, c.relname, k.conname) \
       FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND c.relispartition \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE k.contype IN ('c', 'f') AND k.conparentid = 0 AND k.coninhcount = 0 AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'extended statistics', pg_catalog.format('%I.%I', n.nspname, x.stxname) \
       FROM pg_catalog.pg_statistic_ext x JOIN pg_catalog.pg_namespace n ON n.oid = x.stxnamespace WHERE ",
    of_a_user!("pg_statistic_ext", "x.oid"),
    " UNION ALL SELECT 'the UNLOGGED of tables and sequences', pg_catalog.format('%I.%I', n.nspname, c.relname) \
       FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relkind IN ('r', 'S') AND c.relpersistence = 'u' AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'storage parameters of indexes of single partitions', \
         pg_catalog.format('%I.%I', n.nspname, ic.relname) \
       FROM pg_catalog.pg_inherits h \
       JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent \
       JOIN pg_catalog.pg_class ic ON ic.oid = h.inhrelid AND ic.reloptions IS DISTINCT FROM pc.reloptions \
       JOIN pg_catalog.pg_index i ON i.indexrelid = ic.oid \
       JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'TOAST parameters of materialized views', pg_catalog.format('%I.%I', n.nspname, c.relname) \
       FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       JOIN pg_catalog.pg_class h ON h.oid = c.reltoastrelid AND h.reloptions IS NOT NULL \
       WHERE c.relkind = 'm' AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'tablespaces of tables and indexes', pg_catalog.format('%I.%I', n.nspname, c.relname) \
       FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND c.reltablespace <> 0 AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'switches of row level security', pg_catalog.format('%I.%I', n.nspname, c.relname) \
       FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE (c.relrowsecurity OR c.relforcerowsecurity) AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'replica identities by an index, and of materialized views', \
         pg_catalog.format('%I.%I', n.nspname, c.relname) \
       FROM pg_catalog.pg_class c \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE (c.relkind IN ('r', 'p') AND c.relreplident = 'i' OR c.relkind = 'm' AND c.relreplident <> 'd') AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'comments on indexes of single partitions', \
         pg_catalog.format('%I.%I', n.nspname, ic.relname) \
       FROM pg_catalog.pg_description d \
       JOIN pg_catalog.pg_index i ON i.indexrelid = d.objoid \
         AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
       JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
       JOIN pg_catalog.pg_class c ON c.oid = i.indrelid AND c.relispartition \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE d.objsubid = 0 AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'comments on constraints of single partitions, and on NOT NULL', \
         pg_catalog.format('%I.%I.%I', n.nspname, c.relname, k.conname) \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint k ON k.oid = d.objoid \
         AND d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
       JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE (c.relispartition OR k.contype NOT IN ('p', 'u', 'x', 'c', 'f')) AND ",
    of_a_user!("pg_class", "c.oid"),
    " UNION ALL SELECT 'comments on types that come with something else', \
         pg_catalog.format('%I.%I', n.nspname, t.typname) \
       FROM pg_catalog.pg_description d JOIN pg_catalog.pg_type t ON t.oid = d.objoid \
         AND d.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass \
       JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
       LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
       WHERE t.typtype NOT IN ('e', 'd', 'r') AND (t.typtype <> 'c' OR c.relkind <> 'c') AND ",
    of_a_user!("pg_type", "t.oid"),
    " UNION ALL SELECT 'extensions', x.extname::text FROM pg_catalog.pg_extension x WHERE x.extname <> 'plpgsql' \
      UNION ALL SELECT 'publications', p.pubname::text FROM pg_catalog.pg_publication p \
      UNION ALL SELECT 'event triggers', v.evtname::text FROM pg_catalog.pg_event_trigger v \
      UNION ALL SELECT 'large objects', l.oid::text FROM pg_catalog.pg_largeobject_metadata l\
     ) o GROUP BY o.kind"
);
