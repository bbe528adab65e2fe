-- Something of everything that is moved.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email varchar(100) UNIQUE,
    born date,
    vip boolean DEFAULT false,
    feels mood,
    CONSTRAINT has_a_name CHECK (length(name) > 0)
);
INSERT INTO customers (name, email, born, vip, feels)
SELECT 'name ' || g, 'u' || g || '@example.com', date '1970-01-01' + g % 10000, g % 7 = 0,
       (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::mood
FROM generate_series(1, 8000) AS g;

CREATE TABLE orders (
    id serial PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    total numeric(12, 2) DEFAULT 0,
    at timestamptz DEFAULT now(),
    note text,
    tags text[],
    extra jsonb,
    picture bytea,
    weight double precision,
    cents bigint GENERATED ALWAYS AS ((total * 100)::bigint) STORED
);
INSERT INTO orders (customer_id, total, at, note, tags, extra, picture, weight)
SELECT 1 + g % 8000, g * 1.01, timestamptz '2024-01-01 00:00:00+00' + g * interval '1 minute',
       CASE WHEN g % 5 = 0 THEN NULL ELSE repeat('x', g % 50) || E'\t\n\\' END, ARRAY['a', 'b', NULL],
       jsonb_build_object('g', g), decode(md5(g::text), 'hex'), sqrt(g)
FROM generate_series(1, 30000) AS g;
CREATE INDEX orders_by_customer ON orders (customer_id);
CREATE INDEX orders_by_note ON orders (lower(note)) WHERE note IS NOT NULL;
COMMENT ON TABLE orders IS 'what was bought';
COMMENT ON COLUMN orders.total IS 'in euros';

CREATE TABLE keyless (a int, b text);
INSERT INTO keyless SELECT g % 100, 'b' || g FROM generate_series(1, 15000) AS g;
CREATE TABLE by_uuid (k uuid PRIMARY KEY, v int);
INSERT INTO by_uuid SELECT md5(g::text)::uuid, g FROM generate_series(1, 12000) AS g;
CREATE TABLE by_two (a text, b int, v text, PRIMARY KEY (a, b));
INSERT INTO by_two SELECT 'k' || (g % 50), g, 'v' FROM generate_series(1, 12000) AS g;
CREATE TABLE empty_one (id int PRIMARY KEY, t text);
CREATE TABLE "Odd Näme" ("Select" int PRIMARY KEY, "a""b" text);
INSERT INTO "Odd Näme" SELECT g, 'q' FROM generate_series(1, 100) AS g;
CREATE TABLE sparse (id bigint PRIMARY KEY, v text);
INSERT INTO sparse SELECT g::bigint * 1000000007, 's' FROM generate_series(1, 9000) AS g;

CREATE SEQUENCE own_sequence START 77;
SELECT nextval('own_sequence');
CREATE VIEW large_orders AS
SELECT o.id, c.name FROM orders AS o JOIN customers AS c ON c.id = o.customer_id WHERE o.total > 1000;
CREATE MATERIALIZED VIEW per_day AS SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*) FROM orders GROUP BY 1;
ANALYZE;
