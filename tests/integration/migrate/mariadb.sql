CREATE TABLE customers (
    id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
    name varchar(100) NOT NULL,
    email varchar(100) UNIQUE,
    born date,
    vip tinyint(1) DEFAULT 0,
    mood enum('sad', 'ok', 'happy'),
    flags set('a', 'b', 'c'),
    created datetime(6),
    at timestamp NULL,
    took time,
    made year,
    amount decimal(12, 3),
    f float,
    d double,
    bits bit(5),
    picture blob,
    extra json,
    most bigint unsigned
) COMMENT = 'who buys';
INSERT INTO customers (name, email, born, vip, mood, flags, created, at, took, made, amount, f, d, bits, picture, extra, most)
SELECT concat('näme ', seq, '\t\\'), concat('u', seq, '@example.com'), '1970-01-01' + interval seq day, seq % 2,
       elt(1 + seq % 3, 'sad', 'ok', 'happy'), 'a,c', '2024-01-01 00:00:00.25' + interval seq second,
       '2024-01-01' + interval seq minute, '-34:34:56', 2000 + seq % 50, seq + 0.125, seq / 7, sqrt(seq), seq % 32,
       unhex(md5(seq)), json_object('k', seq), 18446744073709551615 - seq
FROM seq_1_to_5000;
INSERT INTO customers (id, name, vip) VALUES (6001, 'nul\0byte', 1), (6002, 'seven', 7);

CREATE TABLE orders (
    id int AUTO_INCREMENT PRIMARY KEY,
    customer_id bigint unsigned NOT NULL,
    v int,
    KEY by_v (v),
    CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
);
INSERT INTO orders (customer_id, v) SELECT 1 + seq % 5000, seq FROM seq_1_to_10000;
CREATE TABLE items (
    id int AUTO_INCREMENT PRIMARY KEY,
    name varchar(40) NOT NULL COMMENT 'as it''s told',
    price decimal(10, 2) NOT NULL DEFAULT 0.50,
    amount int NOT NULL DEFAULT (1 + 2),
    total decimal(20, 2) GENERATED ALWAYS AS (price * amount) STORED,
    code varchar(36) DEFAULT (uuid()),
    CONSTRAINT sane_amount CHECK (amount BETWEEN 1 AND 1000)
) COMMENT = 'what is bought';
INSERT INTO items (name, price, amount) SELECT concat('item ', seq), seq * 0.25, 1 + seq % 9 FROM seq_1_to_2000;
CREATE TABLE things (
    id uuid PRIMARY KEY,
    four inet4,
    six inet6,
    bit1 bit(1),
    bits bit(64),
    took time(6),
    at datetime(3),
    tiny tinyint,
    medium mediumint unsigned,
    huge decimal(65, 30),
    negative decimal(20, 4)
);
INSERT INTO things VALUES
    ('00112233-4455-6677-8899-aabbccddeeff', '10.0.0.7', '2001:db8::7', b'1', b'101', '838:59:58.999999',
     '9999-12-31 23:59:59.999', -128, 16777215, 12345678901234567890123456789012345.000000000000000000000000000001, -0.5),
    ('ffffffff-ffff-ffff-ffff-ffffffffffff', '255.255.255.255', '::', b'0', ~0, '-00:00:00.5', '1000-01-01', 127, 0, 0,
     -10000),
    ('00000000-0000-0000-0000-000000000000', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE by_text (k varchar(40) PRIMARY KEY, v int);
INSERT INTO by_text SELECT concat('key', seq), seq FROM seq_1_to_6000;
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless SELECT seq, 'b' FROM seq_1_to_500;
CREATE TABLE skewed (id bigint PRIMARY KEY);
INSERT INTO skewed SELECT seq FROM seq_1_to_8000;
INSERT INTO skewed VALUES (1000000000000);
CREATE VIEW some_orders AS SELECT id, v FROM orders WHERE v > 10;
SET sql_mode = '';
CREATE TABLE zero (id int PRIMARY KEY, day date, note varchar(10));
INSERT INTO zero VALUES (1, '0000-00-00', 'a'), (2, '2020-01-02', 'b');
ANALYZE TABLE customers, orders, items, things, by_text, keyless, skewed, zero;
