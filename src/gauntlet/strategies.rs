//! The strategies: leverd itself, and others to compare it with.
//!
//! [`Strategy`] is what the others are: they propose changes, see one look after each, and say whether to keep them.
//! [`drive`] does for all of them what is the same: set the values, wait until a load cycle has passed since they
//! settled, look, put back. They need none of leverd's care and get none: no guard, no proof, no record.
//! leverd is not a [`Strategy`]: its program runs as its users run it.
//!
//! A cycle is one proposal that was tried, for leverd one trial. A strategy ends when the levels are met at a look,
//! when its cycles are used up, or when it has nothing more to propose.

pub(super) mod leverd;
pub(super) mod optuna;
pub(super) mod pgtune;
pub(super) mod playbook;
pub(super) mod random;

use super::GauntletError;
use super::bench::{Bench, Mark};
use super::look::Look;
use super::record::Pull;
use super::state::{Change, State};
use crate::model::{Lever, LeverName, Symptom};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A strategy by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `leverd tune`.
    Leverd,
    /// The requirement's plain loop.
    Playbook,
    /// pgtune's formulas at once.
    Pgtune,
    /// Chance.
    Random,
    /// Optuna's optimiser.
    Optuna,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Leverd, Self::Playbook, Self::Pgtune, Self::Random, Self::Optuna];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leverd => "leverd",
            Self::Playbook => "playbook",
            Self::Pgtune => "pgtune",
            Self::Random => "random",
            Self::Optuna => "optuna",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        let names = Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| format!("found `{text}`; allowed: {names}"))
    }
}

/// What a strategy may know.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// The present settings and `.env`.
    pub(super) state: &'a State,
    /// All levers, in the order of levers.yaml.
    pub(super) levers: &'a [Lever],
    /// Symptom → levers.
    pub(super) mappings: &'a BTreeMap<Symptom, Vec<LeverName>>,
}

impl Scene<'_> {
    /// The values of a lever that are not its present one; none where it cannot be set here.
    pub(super) fn choices(&self, lever: &Lever) -> Vec<Change> {
        let changes = lever.values.iter().filter_map(|value| Change::of(lever, value));
        changes
            .filter(|change| {
                let present = self.state.value_of(&change.parameter, change.in_env);
                // A setting that this server does not have cannot be changed; a key of `.env` can always be added.
                match present {
                    Some(present) => present != change.value,
                    None => change.in_env,
                }
            })
            .collect()
    }
}

/// What to try next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) changes: Vec<Change>,
    /// Put all back first that was changed since the strategy began.
    pub(super) from_the_start: bool,
}

/// A strategy for comparison.
pub(super) trait Strategy {
    /// It changes things also where every level is met.
    const ACTS_ON_HEALTH: bool = false;
    /// What is said of a change that is kept.
    const KEPT: &str = "kept";

    /// What to try next, after the last look that counts; `None`: nothing more.
    async fn propose(&mut self, seen: &Look, scene: &Scene<'_>) -> Result<Option<Proposal>, GauntletError>;

    /// Whether to keep what was tried.
    async fn keeps(&mut self, before: &Look, after: &Look) -> Result<bool, GauntletError>;

    /// What shall stand at the end, where that is not what was kept.
    async fn last_word(&mut self) -> Result<Option<Proposal>, GauntletError> {
        Ok(None)
    }
}

/// What a strategy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Acted {
    pub(super) cycles: u32,
    pub(super) pulled: Vec<Pull>,
    /// How it ended.
    pub(super) end: End,
}

/// How a strategy ended, in its own view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Every level is met.
    Met,
    /// It has nothing more to try, and why.
    NothingLeft(String),
    /// It would go on.
    #[default]
    CyclesUsedUp,
    /// It does not know, and why.
    CannotTell(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => f.write_str("every level is met"),
            Self::NothingLeft(why) => f.write_str(why),
            Self::CyclesUsedUp => f.write_str("its cycles are used up"),
            Self::CannotTell(why) => write!(f, "it cannot tell: {why}"),
        }
    }
}

/// Lets a strategy act. `first` is the look from before it.
pub(super) async fn drive<S: Strategy>(
    strategy: &mut S,
    bench: &Bench,
    first: &Look,
    cycles: u32,
) -> Result<Acted, GauntletError> {
    let start = bench.mark()?;
    let mut seen = first.clone();
    let mut acted = Acted::default();
    let mut standing = None;
    loop {
        if seen.is_met() && (acted.cycles > 0 || !S::ACTS_ON_HEALTH) {
            acted.end = End::Met;
            break;
        }
        if acted.cycles >= cycles {
            acted.end = End::CyclesUsedUp;
            break;
        }
        let state = bench.state().await?;
        let scene = scene(bench, &state);
        let Some(proposal) = strategy.propose(&seen, &scene).await? else {
            acted.end = End::NothingLeft("it has nothing more to try".to_owned());
            break;
        };
        acted.cycles += 1;
        let before = bench.mark()?;
        let refused = set(bench, &proposal, &start).await?;
        let after = bench.fresh_look(DateTime::UNIX_EPOCH).await?;
        let kept = strategy.keeps(&seen, &after).await?;
        note(&mut acted, &proposal, &refused, if kept { S::KEPT } else { "put back" });
        if kept {
            seen = after;
            standing = Some(proposal);
        } else {
            bench.put_back(&before).await?;
        }
    }
    // What stands there already needs no second restart.
    if let Some(last) = strategy.last_word().await?.filter(|last| standing.as_ref() != Some(last)) {
        let refused = set(bench, &last, &start).await?;
        note(&mut acted, &last, &refused, "the best that was found");
    }
    Ok(acted)
}

fn scene<'a>(bench: &'a Bench, state: &'a State) -> Scene<'a> {
    Scene { state, levers: &bench.config.levers, mappings: &bench.config.symptom_mappings }
}

/// Sets a proposal; answers what was refused, and why.
async fn set(
    bench: &Bench,
    proposal: &Proposal,
    start: &Mark,
) -> Result<Vec<(String, String)>, GauntletError> {
    if proposal.from_the_start {
        bench.put_back(start).await?;
    }
    bench.apply(&proposal.changes).await
}

fn note(acted: &mut Acted, proposal: &Proposal, refused: &[(String, String)], became: &str) {
    for change in &proposal.changes {
        let why = refused.iter().find(|(lever, _)| *lever == change.lever).map(|(_, why)| why);
        acted.pulled.push(Pull {
            cycle: acted.cycles,
            lever: change.lever.clone(),
            value: change.value.clone(),
            became: why.map_or_else(|| became.to_owned(), |why| format!("refused: {why}")),
        });
    }
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;
    use crate::model::{CostTier, Place};
    use std::path::PathBuf;

    pub(in crate::gauntlet) fn lever(name: &str, place: Place, values: &[&str]) -> Lever {
        Lever {
            name: LeverName::new(name),
            description: String::new(),
            tier: CostTier::Low,
            symptoms: vec![],
            parameter: if matches!(place, Place::EnvFile(_)) { name.to_uppercase() } else { name.to_owned() },
            place,
            default_value: None,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            impact: None,
            risk: None,
            evidence: vec![],
            spans_checkpoints: false,
            verify_query: None,
            line: 1,
        }
    }

    /// Four levers, one of which cannot be set.
    pub(in crate::gauntlet) fn levers() -> Vec<Lever> {
        vec![
            lever("docker_cpu_limit", Place::Unavailable("no Docker".to_owned()), &["3"]),
            lever("checkpoint_timeout", Place::ServerConf, &["10min", "15min"]),
            lever("batch_size", Place::EnvFile(PathBuf::from(".env")), &["10", "50"]),
            lever("max_wal_size", Place::ServerConf, &["1GB", "2GB"]),
        ]
    }

    pub(in crate::gauntlet) fn mappings() -> BTreeMap<Symptom, Vec<LeverName>> {
        let names = ["docker_cpu_limit", "checkpoint_timeout", "batch_size", "max_wal_size"];
        BTreeMap::from([(Symptom::new("high_wal"), names.map(LeverName::new).to_vec())])
    }

    pub(in crate::gauntlet) fn state() -> State {
        let settings = [("checkpoint_timeout", "30s"), ("max_wal_size", "1GB")];
        State {
            settings: settings.map(|(name, value)| (name.to_owned(), (value.to_owned(), true))).into(),
            env: BTreeMap::from([("BATCH_SIZE".to_owned(), "50".to_owned())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_a_wrong_one_lists_them() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let error = "pg".parse::<Kind>().unwrap_err();
        assert_eq!(error, "found `pg`; allowed: leverd, playbook, pgtune, random, optuna");
    }

    #[test]
    fn a_choice_is_a_value_that_is_not_the_present_one_and_can_be_set() {
        let (levers, mappings, state) = (fixtures::levers(), fixtures::mappings(), fixtures::state());
        let scene = Scene { state: &state, levers: &levers, mappings: &mappings };
        let shown: Vec<Vec<String>> = levers
            .iter()
            .map(|lever| scene.choices(lever).into_iter().map(|change| change.value).collect())
            .collect();
        assert_eq!(
            shown,
            [
                vec![],
                vec!["10min".to_owned(), "15min".to_owned()],
                vec!["10".to_owned()],
                vec!["2GB".to_owned()]
            ]
        );
    }

    #[test]
    fn what_was_refused_is_told_beside_what_was_tried() {
        let levers = fixtures::levers();
        let changes = vec![Change::of(&levers[1], "10min").unwrap(), Change::of(&levers[3], "2GB").unwrap()];
        let mut acted = Acted { cycles: 2, ..Acted::default() };
        let proposal = Proposal { changes, from_the_start: false };
        note(&mut acted, &proposal, &[("max_wal_size".to_owned(), "too much".to_owned())], "kept");
        let became: Vec<&str> = acted.pulled.iter().map(|pull| pull.became.as_str()).collect();
        assert_eq!(became, ["kept", "refused: too much"]);
    }
}
