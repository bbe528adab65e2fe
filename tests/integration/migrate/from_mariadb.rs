//! A MariaDB's database into a PostgreSQL.

use super::PATIENCE;
use crate::support::leverd::{Project, both};
use crate::support::mariadb::PrivateMariaDb;
use crate::support::postgres::PrivatePostgres;
use std::process::Output;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const SHOP: &str = include_str!("mariadb.sql");

fn migrate(source: &PrivateMariaDb, target: &PrivatePostgres, command: &str) -> Output {
    let project = Project::new();
    let text = format!(
        "source: {{type: mariadb, host: 127.0.0.1, port: {}, database: shop, user: root, ssl_mode: disable}}\n\
         target: {{type: postgres, host: 127.0.0.1, port: {}, database: postgres, user: postgres, ssl_mode: disable}}\n\
         migration: {{chunk_size: 1000, workers: 2, sample_validation: true}}\n",
        source.port, target.port
    );
    let file = project.write("migration.yaml", &text).display().to_string();
    project.leverd(&["migrate", command, "-c", &file, "--no-tty"], PATIENCE)
}

fn ask(target: &PrivatePostgres, sql: &str) -> String {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, connection) = tokio_postgres::connect(&target.dsn(), NoTls).await.unwrap();
        let asked =
            async move { client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}")) };
        let (messages, _) = tokio::join!(asked, connection);
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
                Some(cells.join("|"))
            }
            _ => None,
        });
        rows.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn it_arrives_and_what_differs_is_found() {
    let source = PrivateMariaDb::start();
    source.ask(SHOP);
    let target = PrivatePostgres::start("autovacuum = off\nfsync = off\n");
    let output = migrate(&source, &target, "run");
    // Two rows cannot be: a NUL in a text, and a truth value of 7.
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("2 rows"), "{}", both(&output));
    let sample = "rows compared: the target holds the same, but for rejected rows.";
    assert!(both(&output).contains(sample), "{}", both(&output));
    let rejected = ask(&target, "SELECT column_name FROM leverd_migration.reject ORDER BY 1");
    assert_eq!(rejected, "name\nvip");

    // Every type, as PostgreSQL writes it.
    let row = "SELECT id, name, born, vip, mood, flags, created, at AT TIME ZONE 'UTC', took, made, amount, f, d, bits, encode(picture, 'hex'), \
               extra, most FROM customers WHERE id = 3";
    assert_eq!(
        ask(&target, row),
        "3|näme 3\t\\|1970-01-04|t|sad|a,c|2024-01-01 00:00:03.25|2024-01-01 00:03:00|-34:34:56|2003|3.125|\
         0.42857143|1.7320508075688772|00011|eccbc87e4b5ce2fe28308fd9f2a7baf3|{\"k\": 3}|18446744073709551612"
    );
    // Zero dates are NULL, as the plan tells.
    assert_eq!(ask(&target, "SELECT id, day, note FROM zero ORDER BY id"), "1|NULL|a\n2|2020-01-02|b");
    assert_eq!(ask(&target, "SELECT count(*), sum(v) FROM by_text"), "6000|18003000");
    assert_eq!(ask(&target, "SELECT count(*) FROM keyless"), "500");
    assert_eq!(ask(&target, "SELECT count(*) FROM some_orders"), "9990");
    let keys = "SELECT conname, contype, convalidated FROM pg_constraint WHERE contype IN ('f', 'p') AND connamespace = \
                'public'::regnamespace ORDER BY 2, 1";
    assert!(ask(&target, keys).starts_with("orders_customer|f|t\n"), "{}", ask(&target, keys));
    let next = source.ask("SELECT auto_increment FROM information_schema.tables WHERE table_name = 'orders'");
    assert_eq!(ask(&target, "INSERT INTO orders (customer_id, v) VALUES (1, 1) RETURNING id"), next);
    ask(&target, &format!("DELETE FROM orders WHERE id = {next}"));

    let output = migrate(&source, &target, "verify");
    assert!(output.status.success(), "{}", both(&output));
    ask(&target, "UPDATE customers SET name = 'other' WHERE id = 77; DELETE FROM by_text WHERE k = 'key555'");
    let output = migrate(&source, &target, "verify");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let words = both(&output);
    assert!(words.contains("id=77") && words.contains("k=key555") && !words.contains("other"), "{words}");
}
