//! Integer keys that do not lie evenly: an outlier, clusters, gaps. Chunks stay as large as they should be.

use super::pair::Pair;
use crate::support::leverd::both;

const TABLES: &str = "CREATE TABLE outlier (id bigint PRIMARY KEY, v text);
    INSERT INTO outlier SELECT g, 'v' || g FROM generate_series(1, 20000) AS g;
    INSERT INTO outlier VALUES (1000000000000, 'far');
    CREATE TABLE clusters (id bigint PRIMARY KEY, v text);
    INSERT INTO clusters SELECT g, 'v' || g FROM generate_series(-9000000000000, -8999999994001) AS g;
    INSERT INTO clusters SELECT g * 7, 'v' || g FROM generate_series(1, 6000) AS g;
    INSERT INTO clusters SELECT g, 'v' || g FROM generate_series(9000000000001, 9000000006000) AS g;
    CREATE TABLE sparse (id int PRIMARY KEY, v text);
    INSERT INTO sparse SELECT g * 1000, 'v' || g FROM generate_series(1, 9000) AS g;
    ANALYZE";

#[test]
fn chunks_stay_small_wherever_keys_lie() {
    let pair = Pair::start(TABLES);
    for divided in ["", ", large_table_threshold: 5000, max_partitions: 4"] {
        let migration = format!("{{chunk_size: 1000, workers: 3, parallel_readers: 2{divided}}}");
        let output = pair.migrate(&["run", "--replace"], &migration);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        for table in ["outlier", "clusters", "sparse"] {
            let sums = format!("SELECT count(*), sum(id), sum(hashtext(v)) FROM {table}");
            assert_eq!(pair.target(&sums), pair.source(&sums), "{table}");
        }
        let largest = "SELECT t.source_name, max(c.row_count) FROM leverd_migration.chunk AS c \
             JOIN leverd_migration.moved_table AS t ON t.run = c.run AND t.number = c.table_number \
             GROUP BY 1 HAVING max(c.row_count) > 4000";
        assert_eq!(pair.target(largest), "", "chunks of four times the rows that were asked for");
        // Nor is a gap read in many steps.
        let many = "SELECT c.run, c.table_number, count(*) FROM leverd_migration.chunk AS c \
             GROUP BY 1, 2 HAVING count(*) > 80";
        assert_eq!(pair.target(many), "");
    }
}
