//! All runs of a gauntlet, one after the other, and one run from up to down.

use super::GauntletError;
use super::bench::{Bench, Loader, now};
use super::exposure::exposure;
use super::look::Look;
use super::pace::time_left;
use super::program::Program;
use super::record::{Book, Key, Measured, Outcome, Run, fingerprint, replace};
use super::state::differences;
use super::strategies::leverd::tune;
use super::strategies::optuna::{Optuna, Python};
use super::strategies::pgtune::Pgtune;
use super::strategies::playbook::Playbook;
use super::strategies::random::Random;
use super::strategies::{Acted, Kind, drive};
use super::verdict::{Wanted, solved, wrong_kept, wrong_pulled};
use crate::sandbox::Scenario;
use chrono::DateTime;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a gauntlet is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where runs have their folders; everything in it is the gauntlet's.
    pub folder: PathBuf,
    /// Where optuna is installed when it is needed.
    pub optuna: PathBuf,
    /// The leverd that runs the sandbox and is tried.
    pub program: Program,
    /// The text of levers.yaml, for all strategies.
    pub levers: String,
    /// What to run.
    pub scenarios: Vec<Scenario>,
    /// Under what.
    pub strategies: Vec<Kind>,
    /// How often each.
    pub repeat: u32,
    /// Chance is drawn from it, and from the run's key.
    pub seed: u64,
    /// Cycles that a strategy has.
    pub cycles: u32,
}

/// One run to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub key: Key,
    /// See [`Run::fingerprint`].
    pub fingerprint: String,
    seed: u64,
    scenario: usize,
}

/// What is going on, for a progress display.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many runs are in the record already.
    Resumed(usize),
    /// A strategy cannot be used, and why.
    Skipped(Kind, &'a str),
    /// A run begins.
    Begin {
        /// Which.
        key: &'a Key,
        /// From 1.
        number: usize,
        /// The last one's number.
        of: usize,
        /// What this and all after it will take; `None`: nothing was run yet.
        left: Option<Duration>,
    },
    /// A part of it begins.
    Doing(&'static str),
    /// It is over and recorded.
    Done(&'a Run),
}

/// Told of each event. Called from one task.
pub type Tell<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// How a gauntlet ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Strategies that could not be used, and why.
    pub skipped: BTreeMap<Kind, String>,
    /// It was stopped before its end.
    pub stopped: bool,
}

/// The runs that are asked for: a whole round of all scenarios and strategies, then the next repetition, so that what
/// an interrupted gauntlet has is of all, and the strategies of a scenario run soon after each other.
pub fn jobs(asked: &Asked) -> Vec<Job> {
    let mut jobs = Vec::new();
    for repetition in 1..=asked.repeat {
        for (at, scenario) in asked.scenarios.iter().enumerate() {
            for strategy in &asked.strategies {
                let key = Key { scenario: scenario.name.clone(), strategy: *strategy, repetition };
                jobs.push(Job {
                    seed: seed_of(asked.seed, &key),
                    fingerprint: print_of(asked, scenario, &key),
                    key,
                    scenario: at,
                });
            }
        }
    }
    jobs
}

fn print_of(asked: &Asked, scenario: &Scenario, key: &Key) -> String {
    fingerprint(&[
        scenario.text.as_bytes(),
        asked.levers.as_bytes(),
        key.strategy.name().as_bytes(),
        &asked.seed.to_be_bytes(),
        &asked.cycles.to_be_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
        // What the others do does not hang on how leverd was built.
        if key.strategy == Kind::Leverd { asked.program.build.as_bytes() } else { b"" },
    ])
}

/// Another one for each run, the same for the same run.
fn seed_of(seed: u64, key: &Key) -> u64 {
    let hash = fingerprint(&[&seed.to_be_bytes(), key.to_string().as_bytes()]);
    u64::from_str_radix(&hash[..16], 16).unwrap_or(seed)
}

/// Makes every run that the book has not, and records each. An error is one of the book or the folder; a run's own
/// error is recorded.
pub async fn run(
    asked: &Asked,
    book: &mut Book,
    load: Loader<'_>,
    stop: &CancellationToken,
    tell: Tell<'_>,
) -> Result<End, GauntletError> {
    let mut end = End::default();
    let all = jobs(asked);
    let mut left: Vec<Job> =
        all.iter().filter(|job| book.finished(&job.key, &job.fingerprint).is_none()).cloned().collect();
    if left.len() < all.len() {
        tell(Event::Resumed(all.len() - left.len()));
    }
    take_down_leftovers(&asked.folder).await?;
    let mut python = None;
    if left.iter().any(|job| job.key.strategy == Kind::Optuna) {
        tell(Event::Doing("looking for optuna"));
        let ready = tokio::select! {
            ready = Python::ready(&asked.optuna) => ready,
            () = stop.cancelled() => return Ok(End { stopped: true, ..end }),
        };
        match ready {
            Ok(found) => python = Some(found),
            Err(why) => {
                tell(Event::Skipped(Kind::Optuna, &why));
                left.retain(|job| job.key.strategy != Kind::Optuna);
                end.skipped.insert(Kind::Optuna, why);
            }
        }
    }
    for (at, job) in left.iter().enumerate() {
        let keys: Vec<Key> = left[at..].iter().map(|job| job.key.clone()).collect();
        let time_left = time_left(&keys, book.runs());
        tell(Event::Begin { key: &job.key, number: at + 1, of: left.len(), left: time_left });
        let Some(run) = one(asked, job, python.as_ref(), load, stop, tell).await? else {
            end.stopped = true;
            break;
        };
        book.record(run)?;
        if let Some(run) = book.of(&job.key, &job.fingerprint) {
            tell(Event::Done(run));
        }
    }
    Ok(end)
}

/// One run, and its sandbox down; `None`: it was stopped.
async fn one(
    asked: &Asked,
    job: &Job,
    python: Option<&Python>,
    load: Loader<'_>,
    stop: &CancellationToken,
    tell: Tell<'_>,
) -> Result<Option<Run>, GauntletError> {
    let began_at = now();
    let root = folder_of(&asked.folder, &job.key);
    prepare(&root, &asked.levers)?;
    let measured = tokio::select! {
        measured = measure(asked, job, &root, python, load, tell) => Some(measured),
        () = stop.cancelled() => None,
    };
    tell(Event::Doing("taking the sandbox down"));
    let down = Bench::down(&root).await;
    let Some(measured) = measured else {
        return down.map(|()| None).map_err(GauntletError::from);
    };
    let outcome = match (measured, down) {
        // A machine on which the last sandbox still runs measures nothing.
        (_, Err(error)) => return Err(error.into()),
        (Ok(measured), Ok(())) => Outcome::Measured(Box::new(measured)),
        (Err(error), Ok(())) => Outcome::Failed(error.to_string()),
    };
    let took_s = (now() - began_at).as_seconds_f64();
    let (key, fingerprint) = (job.key.clone(), job.fingerprint.clone());
    Ok(Some(Run { key, fingerprint, seed: job.seed, began_at, took_s, outcome }))
}

async fn measure(
    asked: &Asked,
    job: &Job,
    root: &Path,
    python: Option<&Python>,
    load: Loader<'_>,
    tell: Tell<'_>,
) -> Result<Measured, GauntletError> {
    let scenario = &asked.scenarios[job.scenario];
    tell(Event::Doing("bringing the sandbox up"));
    let bench = Bench::up(&asked.program, root, scenario, load).await?;
    tell(Event::Doing("looking at the broken state"));
    let before = bench.fresh_look(DateTime::UNIX_EPOCH).await?;
    let wanted = Wanted { ends: scenario.ends, expected: &scenario.expected };
    if wanted.begins_broken() && before.first_outside().is_none() {
        return Err(GauntletError::NotBroken(before.in_words()));
    }
    let from = bench.state().await?;
    let began = now();
    tell(Event::Doing("the strategy acts"));
    let acted = act(asked, job, &bench, &before, python).await?;
    let acted_s = (now() - began).as_seconds_f64();
    tell(Event::Doing("judging"));
    // Nothing of what the strategy itself saw, and perhaps stopped for, counts for it.
    let after = bench.fresh_look(now()).await?;
    let samples = bench.samples(began, now()).await?;
    let to = bench.state().await?;
    let changed = differences(&from, &to);
    let wrong_kept = wrong_kept(wanted, &changed, &bench.config.levers);
    let (solved, why) = solved(wanted, job.key.strategy, &acted, &after, &wrong_kept);
    let hold_s = scenario.window.get().as_secs_f64();
    Ok(Measured {
        solved,
        why,
        cycles: acted.cycles,
        acted_s,
        wrong_pulled: wrong_pulled(wanted, &acted.pulled),
        wrong_kept,
        exposure: exposure(&bench.levels, &before, &samples, hold_s),
        changed,
        said: acted.end.to_string(),
        pulled: acted.pulled,
        before,
        after,
    })
}

async fn act(
    asked: &Asked,
    job: &Job,
    bench: &Bench,
    first: &Look,
    python: Option<&Python>,
) -> Result<Acted, GauntletError> {
    let cycles = asked.cycles;
    match job.key.strategy {
        Kind::Leverd => tune(&asked.program, bench, cycles).await,
        Kind::Playbook => drive(&mut Playbook::default(), bench, first, cycles).await,
        Kind::Pgtune => drive(&mut Pgtune::new(bench.machine().await?), bench, first, cycles).await,
        Kind::Random => drive(&mut Random::new(job.seed), bench, first, cycles).await,
        Kind::Optuna => {
            let python = python.ok_or_else(|| GauntletError::Optuna("it is not installed".to_owned()))?;
            drive(&mut Optuna::start(python, bench.root(), job.seed)?, bench, first, cycles).await
        }
    }
}

/// `FOLDER/wal-storm/leverd-1`.
fn folder_of(folder: &Path, key: &Key) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let scenario: String = key.scenario.chars().map(plain).collect();
    folder.join(scenario).join(format!("{}-{}", key.strategy, key.repetition))
}

/// A folder as a user's project, with the levers alone in it.
fn prepare(root: &Path, levers: &str) -> Result<(), GauntletError> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(GauntletError::file("removing", root)(error));
        }
        _ => {}
    }
    replace(&root.join("config/levers.yaml"), levers)
}

/// Sandboxes of a gauntlet that was killed.
async fn take_down_leftovers(folder: &Path) -> Result<(), GauntletError> {
    let folders = |of: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(of).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    for scenario in folders(folder) {
        for root in folders(&scenario) {
            Bench::down(&root).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        let scenario = |name: &str| Scenario::find(Path::new("/nowhere"), name).unwrap();
        Asked {
            folder: PathBuf::from("/nowhere"),
            optuna: PathBuf::from("/nowhere/optuna"),
            program: Program { path: PathBuf::from("/nowhere/leverd"), build: "1".to_owned() },
            levers: "levers:".to_owned(),
            scenarios: vec![scenario("healthy"), scenario("wal-storm")],
            strategies: vec![Kind::Leverd, Kind::Random],
            repeat: 2,
            seed: 1,
            cycles: 5,
        }
    }

    #[test]
    fn a_round_of_all_comes_before_the_next_repetition() {
        let keys: Vec<String> = jobs(&asked()).iter().map(|job| job.key.to_string()).collect();
        assert_eq!(
            keys,
            [
                "healthy, leverd, 1",
                "healthy, random, 1",
                "wal-storm, leverd, 1",
                "wal-storm, random, 1",
                "healthy, leverd, 2",
                "healthy, random, 2",
                "wal-storm, leverd, 2",
                "wal-storm, random, 2",
            ]
        );
    }

    #[test]
    fn a_fingerprint_knows_what_a_run_depends_on_and_nothing_else() {
        let base = jobs(&asked());
        let of = |change: &dyn Fn(&mut Asked)| {
            let mut asked = asked();
            change(&mut asked);
            jobs(&asked)[0].fingerprint.clone()
        };
        assert_eq!(of(&|asked| asked.repeat = 9), base[0].fingerprint);
        assert_eq!(of(&|asked| asked.strategies.truncate(1)), base[0].fingerprint);
        assert_ne!(of(&|asked| asked.seed = 2), base[0].fingerprint);
        assert_ne!(of(&|asked| asked.cycles = 2), base[0].fingerprint);
        assert_ne!(of(&|asked| asked.levers.push(' ')), base[0].fingerprint);
        assert_ne!(of(&|asked| asked.scenarios[0].text.push('\n')), base[0].fingerprint);
        assert_ne!(base[0].fingerprint, base[1].fingerprint, "another strategy");
        let rebuilt = |asked: &mut Asked| asked.program.build.push('2');
        assert_ne!(of(&rebuilt), base[0].fingerprint, "another leverd");
        let mut asked = asked();
        rebuilt(&mut asked);
        assert_eq!(jobs(&asked)[1].fingerprint, base[1].fingerprint, "chance is the same with it");
    }

    #[test]
    fn each_run_draws_its_own_chance_and_the_same_again() {
        let seeds: Vec<u64> = jobs(&asked()).iter().map(|job| job.seed).collect();
        assert_eq!(seeds, jobs(&asked()).iter().map(|job| job.seed).collect::<Vec<_>>());
        let distinct: std::collections::BTreeSet<u64> = seeds.iter().copied().collect();
        assert_eq!(distinct.len(), seeds.len());
    }

    #[test]
    fn a_folder_is_named_after_its_run_and_stays_inside() {
        let key = Key { scenario: "../my storm".to_owned(), strategy: Kind::Leverd, repetition: 2 };
        assert_eq!(folder_of(Path::new("/g"), &key), Path::new("/g/___my_storm/leverd-2"));
    }
}
