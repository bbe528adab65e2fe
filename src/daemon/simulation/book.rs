//! A model of the ledger: it holds what was stored, and nothing else survives a crash.
//!
//! Where a real ledger is beside it, every write goes to both, and both must say the same.

use crate::daemon::session::halted_by;
use crate::decide::Memory;
use crate::ledger::{Frozen, Hold, Ledger, Quarantined};
use crate::model::{Experience, LeverName, Phase, TargetName, Trial, TrialId};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// The model.
#[derive(Default)]
pub(super) struct Book {
    pub(super) trials: Vec<Trial>,
    frozen: BTreeMap<LeverName, Frozen>,
    quarantined: BTreeMap<LeverName, Quarantined>,
    real: Option<(TempDir, Ledger)>,
}

fn target() -> TargetName {
    TargetName::new("simulated")
}

impl Book {
    /// A model with a real ledger beside it.
    pub(super) fn beside_a_real_one() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
        Self { real: Some((folder, ledger)), ..Self::default() }
    }

    pub(super) fn insert(&mut self, trial: &Trial) -> TrialId {
        assert!(self.open_trial().is_none(), "a second trial is opened");
        let id = TrialId(i64::try_from(self.trials.len()).unwrap() + 1);
        self.trials.push(Trial { id, ..trial.clone() });
        if let Some((_, real)) = &self.real {
            assert_eq!(real.insert(trial).unwrap(), id);
        }
        id
    }

    pub(super) fn save(&mut self, trial: &Trial, what: &str, hold: Option<Hold>, at: DateTime<Utc>) {
        *self.trials.iter_mut().find(|known| known.id == trial.id).unwrap() = trial.clone();
        if let (Phase::Kept, Some(kept)) = (&trial.phase, trial.plan.gives_back) {
            self.trials.iter_mut().find(|known| known.id == kept).unwrap().undone_at = Some(at);
        }
        let (lever, why) = (&trial.plan.lever, trial.ending.clone().unwrap_or_default());
        match hold {
            Some(Hold::Freeze) => self.note_frozen(lever, &why, at),
            Some(Hold::Quarantine(until)) => self.note_quarantined(lever, &why, until),
            None => {}
        }
        if let Some((_, real)) = &self.real {
            match hold {
                Some(hold) => real.save_and_hold(trial, what, hold, at).unwrap(),
                None => real.save(trial, what, at).unwrap(),
            }
        }
        self.agrees(at);
    }

    /// A loan is over.
    pub(super) fn mark_returned(&mut self, id: TrialId, at: DateTime<Utc>, why: &str, edited: Option<&str>) {
        let loan = self.trials.iter_mut().find(|known| known.id == id).unwrap();
        loan.undone_at = Some(at);
        loan.alarm |= edited.is_some();
        let lever = loan.plan.lever.clone();
        if let Some(edited) = edited {
            self.note_frozen(&lever, edited, at);
        }
        if let Some((_, real)) = &self.real {
            assert!(real.mark_returned(id, at, why, edited).unwrap());
        }
        self.agrees(at);
    }

    pub(super) fn freeze(&mut self, lever: &LeverName, why: &str, at: DateTime<Utc>) {
        self.note_frozen(lever, why, at);
        if let Some((_, real)) = &self.real {
            real.freeze(&target(), lever, why, at).unwrap();
        }
        self.agrees(at);
    }

    pub(super) fn thaw(&mut self, lever: &LeverName, at: DateTime<Utc>) {
        self.frozen.remove(lever);
        if let Some((_, real)) = &self.real {
            real.thaw(&target(), lever, at).unwrap();
        }
        self.agrees(at);
    }

    fn note_frozen(&mut self, lever: &LeverName, why: &str, at: DateTime<Utc>) {
        let since = self.frozen.get(lever).map_or(at, |known| known.since);
        self.frozen.insert(lever.clone(), Frozen { lever: lever.clone(), why: why.to_owned(), since });
    }

    fn note_quarantined(&mut self, lever: &LeverName, why: &str, until: DateTime<Utc>) {
        if self.quarantined.get(lever).is_none_or(|known| until > known.until) {
            let row = Quarantined { lever: lever.clone(), why: why.to_owned(), until };
            self.quarantined.insert(lever.clone(), row);
        }
    }

    pub(super) fn trial(&self, id: TrialId) -> Option<&Trial> {
        self.trials.iter().find(|trial| trial.id == id)
    }

    pub(super) fn open_trial(&self) -> Option<Trial> {
        let mut open = self.trials.iter().filter(|trial| !trial.phase.is_final());
        let first = open.next().cloned();
        assert!(open.next().is_none(), "two trials are open");
        first
    }

    pub(super) fn kept(&self) -> Vec<Trial> {
        let kept = self.trials.iter().filter(|trial| trial.phase == Phase::Kept && trial.undone_at.is_none());
        kept.filter(|trial| trial.plan.gives_back.is_none()).cloned().collect()
    }

    pub(super) fn borrowed(&self) -> Vec<Trial> {
        self.kept().into_iter().filter(|trial| trial.plan.borrowed_for.is_some()).collect()
    }

    pub(super) fn give_backs(&self) -> Vec<Trial> {
        let ended = self.trials.iter().filter(|trial| trial.phase.is_final());
        ended.filter(|trial| trial.plan.gives_back.is_some()).cloned().collect()
    }

    pub(super) fn is_frozen(&self, lever: &LeverName) -> bool {
        self.frozen.contains_key(lever)
    }

    fn needing_human(&self) -> Vec<Trial> {
        self.trials.iter().filter(|trial| trial.phase == Phase::NeedsHuman).cloned().collect()
    }

    /// What a decision gets to know; as `Session::memory` has it from the ledger.
    pub(super) fn memory(&self, now: DateTime<Utc>) -> Memory {
        let frozen: Vec<Frozen> = self.frozen.values().cloned().collect();
        let live = self.quarantined.values().filter(|row| row.until > now).cloned();
        Memory {
            halted: halted_by(self.needing_human(), &frozen),
            frozen: frozen.into_iter().map(|row| (row.lever, row.why)).collect(),
            quarantined: live.map(|row| (row.lever, (row.until, row.why))).collect(),
            experience: self.experience(),
        }
    }

    /// What the ended trials teach; as the ledger has it.
    fn experience(&self) -> Vec<Experience> {
        let ended =
            self.trials.iter().filter(|trial| trial.phase.is_final() && trial.plan.gives_back.is_none());
        ended
            .filter_map(|trial| {
                let goal = trial.judgements.last().and_then(|look| look.goal.as_ref());
                Some(Experience {
                    trial: trial.id,
                    lever: trial.plan.lever.clone(),
                    symptom: trial.plan.symptom.clone(),
                    to: trial.plan.to.clone(),
                    verdict: trial.verdict?,
                    change: goal.map(|goal| goal.change),
                    // No person undoes anything here, and what was given back had helped.
                    undone: false,
                })
            })
            .collect()
    }

    fn agrees(&self, now: DateTime<Utc>) {
        let Some((_, real)) = &self.real else { return };
        let target = target();
        assert_eq!(real.open_trial(&target).unwrap(), self.open_trial());
        assert_eq!(real.kept(&target).unwrap(), self.kept());
        assert_eq!(real.borrowed(&target).unwrap(), self.borrowed());
        assert_eq!(real.give_backs(&target).unwrap(), self.give_backs());
        assert_eq!(real.experience(&target).unwrap(), self.experience());
        assert_eq!(real.needing_human(&target).unwrap(), self.needing_human());
        assert_eq!(real.frozen(&target).unwrap(), self.frozen.values().cloned().collect::<Vec<_>>());
        let live = self.quarantined.values().filter(|row| row.until > now).cloned();
        assert_eq!(real.quarantined(&target, now).unwrap(), live.collect::<Vec<_>>());
    }
}
