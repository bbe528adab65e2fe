//! The SQL of the load program.

use crate::sandbox::scenario::Load;
use rand::RngExt;
use rand::rngs::StdRng;

pub(super) const UPDATE: &str = "UPDATE capsim_accounts SET balance = balance + 1 WHERE id = ANY($1::int[])";
pub(super) const READ: &str = "SELECT count(label) FROM capsim_items WHERE id = ANY($1::int[])";
pub(super) const REMOVE_JOBS: &str = "DELETE FROM capsim_jobs WHERE id = ANY($1::bigint[])";
/// Reads every row, and every page that ever held one and was not given back.
pub(super) const SCAN_JOBS: &str = "SELECT count(body) FROM capsim_jobs";
/// All of `items`, with some work for each row: it can be shared among workers.
pub(super) const ANALYSE: &str = "SELECT count(*), max(md5(label)) FROM capsim_items";

/// Appends a row for each number of an array.
pub(super) fn insert(table: usize, load: &Load) -> String {
    let body = text_of("seq::text", load.inserts.row_bytes.get());
    format!("INSERT INTO capsim_events_{table} (seq, body) SELECT seq, {body} FROM unnest($1::bigint[]) seq")
}

/// Adds so many rows, and answers their ids.
pub(super) fn add_jobs(load: &Load) -> String {
    let body = text_of("n::text", load.jobs.row_bytes.get());
    format!("INSERT INTO capsim_jobs (body) SELECT {body} FROM generate_series(1, $1::int) n RETURNING id")
}

fn text_of(seed: &str, bytes: u32) -> String {
    format!("left(repeat(md5({seed}), {}), {bytes})", bytes.div_ceil(32))
}

/// Which labels of one range are not in another, sorted. With memory that is a hash table and a sort in it;
/// without, the other range goes to disk and is read again for every row, and the sort goes there too.
pub(super) fn report(load: &Load, random: &mut StdRng) -> String {
    let (items, rows) = (load.items.rows.get(), load.reports.rows.get());
    let mut range = || {
        let first = random.random_range(0..=items - rows);
        format!("SELECT label FROM capsim_items WHERE id BETWEEN {first} AND {}", first + rows - 1)
    };
    // OFFSET 0 keeps the planner from dropping the sort.
    format!(
        "SELECT count(*) FROM ({} AND label NOT IN ({}) ORDER BY label OFFSET 0) report",
        range(),
        range()
    )
}

/// Rows scattered over all of `items`. Each by the index, or all of the table and a hash of it: what the planner
/// believes a random read to cost decides.
pub(super) fn lookup(load: &Load, random: &mut StdRng) -> String {
    // A prime step meets every row before it meets one again, unless it divides their number.
    const STEP: u32 = 7_919;
    let (items, rows) = (load.items.rows.get(), load.lookups.rows.get());
    let first = random.random_range(0..items);
    format!(
        "SELECT count(label) FROM generate_series(0, {}) n \
         JOIN capsim_items ON id = (({first} + n::bigint * {STEP}) % {items})::int",
        rows - 1
    )
}
