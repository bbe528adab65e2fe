//! Chance: each cycle a lever that can be set, drawn at random, and one of its recommended values; kept if all is
//! nearer to the levels at one look after it.
//!
//! What it has: it looks at every level, not at one signal, and it may come back to a lever. What it lacks: symptoms,
//! evidence, and any notion of noise. Two runs with the same seed on the same settings draw the same.

use super::{Proposal, Scene, Strategy};
use crate::gauntlet::GauntletError;
use crate::gauntlet::look::Look;
use crate::gauntlet::state::Change;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The dice.
#[derive(Debug)]
pub(in crate::gauntlet) struct Random {
    rng: StdRng,
}

impl Random {
    pub(in crate::gauntlet) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    fn choose(&mut self, scene: &Scene<'_>) -> Option<Change> {
        let mut usable: Vec<Vec<Change>> = scene.levers.iter().map(|lever| scene.choices(lever)).collect();
        usable.retain(|changes| !changes.is_empty());
        if usable.is_empty() {
            return None;
        }
        let lever = self.rng.random_range(0..usable.len());
        let value = self.rng.random_range(0..usable[lever].len());
        Some(usable.swap_remove(lever).swap_remove(value))
    }
}

impl Strategy for Random {
    async fn propose(&mut self, _: &Look, scene: &Scene<'_>) -> Result<Option<Proposal>, GauntletError> {
        let change = self.choose(scene);
        Ok(change.map(|change| Proposal { changes: vec![change], from_the_start: false }))
    }

    async fn keeps(&mut self, before: &Look, after: &Look) -> Result<bool, GauntletError> {
        Ok(after.distance() < before.distance())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{levers, mappings, state};
    use super::*;
    use std::collections::BTreeSet;

    fn drawn(seed: u64, count: usize) -> Vec<String> {
        let (levers, mappings, state) = (levers(), mappings(), state());
        let scene = Scene { state: &state, levers: &levers, mappings: &mappings };
        let mut random = Random::new(seed);
        let changes = (0..count).map(|_| random.choose(&scene).unwrap());
        changes.map(|change| format!("{}={}", change.parameter, change.value)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_one_differs() {
        assert_eq!(drawn(7, 20), drawn(7, 20));
        assert_ne!(drawn(7, 20), drawn(8, 20));
    }

    #[test]
    fn every_value_that_can_be_set_is_drawn_sometime_and_no_other() {
        let all: BTreeSet<String> = drawn(1, 500).into_iter().collect();
        let wanted =
            ["checkpoint_timeout=10min", "checkpoint_timeout=15min", "BATCH_SIZE=10", "max_wal_size=2GB"];
        assert_eq!(all, wanted.map(str::to_owned).into());
    }

    #[test]
    fn without_levers_there_is_nothing_to_draw() {
        let (mappings, state) = (mappings(), state());
        let scene = Scene { state: &state, levers: &[], mappings: &mappings };
        assert_eq!(Random::new(1).choose(&scene), None);
    }
}
