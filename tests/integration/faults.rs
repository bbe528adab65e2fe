//! The fault campaign on real parts: leverd killed, stopped and starved at random moments, its files torn, its servers
//! gone. After each: the old state or the new one, a ledger that tells the truth, nothing lost, one leverd at a time.
//!
//! A campaign is a list of faults, each done so many times, a few side by side. It ends with a table of counts and
//! fails where one outcome is bad. Without further words it takes about a minute; `make faults` is the whole of it:
//!
//! - `LEVERD_KILLS`: how many `kill -9` in all (default 20)
//! - `LEVERD_FAULT_ROUNDS`: how often each other fault (default 1)
//! - `LEVERD_FAULT_LANES`: how many side by side (default 10)
//! - `LEVERD_SEED`: the first seed; a bad outcome prints its own, and the name of its fault
//! - `LEVERD_FAULT`: only the faults whose name contains this, for a replay
//!
//! The moments come from the seed; what leverd does in them depends on the machine too, so a replay tries the same
//! moment again, not the same instruction. `crash.rs` has the points that can be hit exactly.

mod campaign;
mod full;
mod kills;
mod regressions;
mod servers;
mod stops;
mod torn;
mod truth;

use campaign::{Fault, number_from, run};

#[test]
fn the_campaign() {
    let kills = number_from("LEVERD_KILLS", 20);
    let rounds = number_from("LEVERD_FAULT_ROUNDS", 1);
    // Lanes of kills, each on a rig of its own: five kills of a rig, then it must be whole.
    let lanes = |of: fn(&mut campaign::Dice) -> campaign::Tally, name| Fault {
        name,
        times: kills.div_ceil(kills::PER_RIG * 4),
        run: of,
    };
    let once = |name, run| Fault { name, times: rounds, run };
    run(&[
        lanes(kills::of_the_daemon, "kill -9 of run, a lever that reloads"),
        lanes(kills::of_tune, "kill -9 of tune and rollback, a lever that helps"),
        lanes(kills::of_alter_system, "kill -9 of run, a lever of ALTER SYSTEM"),
        lanes(kills::of_restarts, "kill -9 of run, a lever that restarts"),
        once("a torn temporary file", torn::temporary_file),
        once("a torn tuning.log and changelog", torn::records),
        once("a torn journal of the ledger", torn::journal),
        once("a torn ledger", torn::ledger),
        once("SIGSTOP of leverd past the deadline", stops::of_leverd),
        once("SIGSTOP of Postgres", stops::of_postgres),
        once("SIGSTOP of Prometheus", stops::of_prometheus),
        once("Postgres killed and started again", servers::postgres_killed),
        once("Postgres killed in a restart", servers::postgres_killed_in_a_restart),
        once("Prometheus killed", servers::prometheus_killed),
        once("disk full at postgresql.conf", full::at_the_conf),
        once("disk full at the ledger", full::at_the_ledger),
        once("disk full at the changelog", full::at_the_changelog),
    ]);
}
