//! The requirement's plain loop: the first lever of the broken symptom's mapping, its first recommended value (that is
//! not the present one), one point before and one after; keep it if the broken signal is better, else put it back; then
//! the next lever.
//!
//! What it has: the mapping's order, and a restart without asking, and so `shared_buffers` in its turn. What it lacks:
//! evidence, guards (a signal that gets worse is not looked at unless it is the broken one), any notion of noise, and
//! a second value of the same lever. An advantage that a person with this loop would not have: its changes beat a
//! value that was once set by `ALTER SYSTEM`.

use super::{Proposal, Scene, Strategy};
use crate::gauntlet::GauntletError;
use crate::gauntlet::look::Look;
use crate::gauntlet::state::Change;
use std::collections::BTreeSet;

/// The loop's memory.
#[derive(Debug, Default)]
pub(in crate::gauntlet) struct Playbook {
    tried: BTreeSet<String>,
    /// The broken signal that the last lever was pulled for.
    goal: String,
}

impl Playbook {
    /// The next lever for the first broken signal: first in the mapping, not tried yet, with a value to set.
    fn choose(&mut self, seen: &Look, scene: &Scene<'_>) -> Option<Change> {
        let broken = seen.first_outside()?;
        self.goal.clone_from(&broken.signal);
        let names = scene.mappings.get(&broken.symptom)?;
        for name in names {
            let Some(lever) = scene.levers.iter().find(|lever| lever.name == *name) else { continue };
            if !self.tried.insert(name.as_str().to_owned()) {
                continue;
            }
            if let Some(change) = scene.choices(lever).into_iter().next() {
                return Some(change);
            }
        }
        None
    }

    fn is_better(&self, before: &Look, after: &Look) -> bool {
        match (before.of(&self.goal), after.of(&self.goal)) {
            (Some(before), Some(after)) => after.is_better_than(before),
            _ => false,
        }
    }
}

impl Strategy for Playbook {
    async fn propose(&mut self, seen: &Look, scene: &Scene<'_>) -> Result<Option<Proposal>, GauntletError> {
        let change = self.choose(seen, scene);
        Ok(change.map(|change| Proposal { changes: vec![change], from_the_start: false }))
    }

    async fn keeps(&mut self, before: &Look, after: &Look) -> Result<bool, GauntletError> {
        Ok(self.is_better(before, after))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{levers, mappings, state};
    use super::*;
    use crate::gauntlet::look::fixtures::look;

    #[test]
    fn levers_come_in_the_mappings_order_each_once() {
        let (levers, mappings, state) = (levers(), mappings(), state());
        let scene = Scene { state: &state, levers: &levers, mappings: &mappings };
        let broken = look(&[("p95", Some(1.0)), ("wal", Some(300.0))]);
        let mut playbook = Playbook::default();
        let chosen: Vec<String> = std::iter::from_fn(|| playbook.choose(&broken, &scene))
            .map(|change| format!("{}={}", change.parameter, change.value))
            .collect();
        assert_eq!(chosen, ["checkpoint_timeout=10min", "BATCH_SIZE=10", "max_wal_size=2GB"]);
        assert_eq!(playbook.choose(&broken, &scene), None, "each once");
    }

    #[test]
    fn nothing_broken_or_nothing_mapped_is_nothing_to_do() {
        let (levers, mappings, state) = (levers(), mappings(), state());
        let scene = Scene { state: &state, levers: &levers, mappings: &mappings };
        assert_eq!(Playbook::default().choose(&look(&[("wal", Some(1.0))]), &scene), None);
        assert_eq!(Playbook::default().choose(&look(&[("p95", Some(900.0))]), &scene), None);
    }

    #[test]
    fn one_point_of_the_broken_signal_decides_and_nothing_else() {
        let mut playbook = Playbook::default();
        let before = look(&[("wal", Some(300.0)), ("p95", Some(1.0))]);
        playbook.goal = "wal".to_owned();
        assert!(playbook.is_better(&before, &look(&[("wal", Some(299.0)), ("p95", Some(900.0))])));
        assert!(!playbook.is_better(&before, &look(&[("wal", Some(301.0)), ("p95", Some(0.1))])));
        assert!(!playbook.is_better(&before, &look(&[("wal", None)])));
    }
}
