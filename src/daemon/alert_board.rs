//! The alerts that were pushed: which fire now, which were seen, and a bell that wakes the loop.
//!
//! Filled by the webhook, read by the loop. Bounded; never waits for the loop. What Prometheus says of its alerts counts
//! too, and it is asked at every look: the board is what is known sooner, and what Prometheus does not show.

use crate::api::{Busy, Taken};
use crate::model::{Alert, PushedAlert, Symptom};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The most alerts that may fire at once; past it the webhook says "try again".
const MOST_FIRING: usize = 10_000;
/// How many are remembered, to tell what is new from what is said again.
const MOST_SEEN: usize = 20_000;

/// An alert that nobody has told of again for so long does not count any more: its end was lost, or its Alertmanager is
/// gone. Alertmanager repeats what fires every 4 h unless told otherwise.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(24);

const SWEPT_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Alert names that the configuration gives a symptom.
pub(super) type SymptomOf = BTreeMap<String, Symptom>;

#[derive(Debug, Default)]
pub(super) struct AlertBoard {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    symptom_of: SymptomOf,
    /// By fingerprint.
    firing: BTreeMap<String, Firing>,
    seen: HashSet<Seen>,
    /// The same, the oldest first.
    order: VecDeque<Seen>,
    /// When it was last looked for what is to be forgotten.
    swept: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct Firing {
    alert: Alert,
    /// When it was told last.
    heard: DateTime<Utc>,
}

/// Fingerprint, since when, firing or resolved.
type Seen = (String, DateTime<Utc>, bool);

impl AlertBoard {
    /// With the symptoms that the configuration gives to alerts that name none.
    pub(super) fn map(&self, symptom_of: SymptomOf) {
        self.lock().symptom_of = symptom_of;
    }

    /// Takes the alerts of one webhook that came `now`. `truncated`: Alertmanager left some out, so Prometheus is to be
    /// asked.
    pub(super) fn take(
        &self,
        pushed: Vec<PushedAlert>,
        truncated: bool,
        now: DateTime<Utc>,
    ) -> Result<Taken, Busy> {
        let mut taken = Taken { accepted: 0, duplicates: 0, ignored: 0 };
        let mut wakes = truncated;
        let mut inner = self.lock();
        inner.forget(now);
        let is_more = |alert: &&PushedAlert| {
            alert.is_trigger && alert.is_firing && !inner.firing.contains_key(&alert.fingerprint)
        };
        let more = pushed.iter().filter(is_more).count();
        if inner.firing.len() + more > MOST_FIRING {
            return Err(Busy);
        }
        for alert in pushed {
            if !alert.is_trigger {
                taken.ignored += 1;
            } else if inner.is_new(&alert) {
                taken.accepted += 1;
                wakes |= alert.is_firing;
                inner.enter(alert, now);
            } else {
                inner.heard_again(&alert, now);
                taken.duplicates += 1;
            }
        }
        drop(inner);
        if wakes {
            self.bell.notify_one();
        }
        Ok(taken)
    }

    /// The alerts that fire, as far as they were pushed.
    pub(super) fn firing(&self, now: DateTime<Utc>) -> Vec<Alert> {
        let mut inner = self.lock();
        inner.forget(now);
        inner.firing.values().map(|known| known.alert.clone()).collect()
    }

    /// Waits until an alert fires that did not before.
    pub(super) async fn woken(&self) {
        self.bell.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether this was not said before; from now on it was.
    fn is_new(&mut self, alert: &PushedAlert) -> bool {
        let seen = (alert.fingerprint.clone(), alert.starts_at, alert.is_firing);
        if !self.seen.insert(seen.clone()) {
            return false;
        }
        self.order.push_back(seen);
        if self.order.len() > MOST_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    fn heard_again(&mut self, alert: &PushedAlert, now: DateTime<Utc>) {
        if let Some(known) = self.firing.get_mut(&alert.fingerprint)
            && alert.is_firing
            && known.alert.active_since == alert.starts_at
        {
            known.heard = now;
        }
    }

    /// Drops what nobody has told of for long. Told of once more, it is new.
    fn forget(&mut self, now: DateTime<Utc>) {
        // Thousands may fire, and thousands of webhooks come in a second.
        if self.swept.is_some_and(|swept| now - swept < SWEPT_EVERY && now >= swept) {
            return;
        }
        self.swept = Some(now);
        let is_old = |known: &Firing| now - known.heard >= FORGOTTEN_AFTER;
        for (fingerprint, known) in self.firing.extract_if(.., |_, known| is_old(known)) {
            let name = known.alert.name;
            tracing::warn!(alert.name = %name, "nobody has told of the alert {name} for 24 h: it counts no more");
            self.seen.remove(&(fingerprint, known.alert.active_since, true));
        }
    }

    fn enter(&mut self, alert: PushedAlert, now: DateTime<Utc>) {
        if !alert.is_firing {
            // One that began anew since is not over.
            let is_it = |known: &Firing| known.alert.active_since <= alert.starts_at;
            if self.firing.get(&alert.fingerprint).is_some_and(is_it) {
                self.firing.remove(&alert.fingerprint);
            }
            return;
        }
        let symptom = alert.symptom.map(Symptom::new).or_else(|| self.symptom_of.get(&alert.name).cloned());
        tracing::info!(alert.name = %alert.name, "the alert {} fires since {}", alert.name, alert.starts_at);
        let entry = Alert { name: alert.name, active_since: alert.starts_at, symptom };
        self.firing.insert(alert.fingerprint, Firing { alert: entry, heard: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(fingerprint: &str, second: i64, is_firing: bool) -> PushedAlert {
        PushedAlert {
            name: "WalSpikes".into(),
            symptom: None,
            is_trigger: true,
            is_firing,
            starts_at: DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap(),
            fingerprint: fingerprint.into(),
        }
    }

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn counts(taken: Result<Taken, Busy>) -> (usize, usize, usize) {
        let taken = taken.unwrap();
        (taken.accepted, taken.duplicates, taken.ignored)
    }

    #[tokio::test]
    async fn what_is_said_twice_counts_once_and_rings_once() {
        let board = AlertBoard::default();
        board.map(BTreeMap::from([("WalSpikes".to_owned(), Symptom::new("high_wal_rate"))]));
        let other = PushedAlert { is_trigger: false, ..alert("x", 0, true) };
        assert_eq!(counts(board.take(vec![alert("a", 0, true), other], false, noon())), (1, 0, 1));
        board.woken().await;
        assert_eq!(counts(board.take(vec![alert("a", 0, true)], false, noon())), (0, 1, 0));
        assert_eq!(board.firing(noon())[0].symptom, Some(Symptom::new("high_wal_rate")));
        let silent = tokio::time::timeout(std::time::Duration::from_millis(20), board.woken()).await;
        assert!(silent.is_err(), "nothing new, nothing rings");
    }

    #[test]
    fn a_late_word_of_an_older_one_ends_nothing() {
        let board = AlertBoard::default();
        board.take(vec![alert("a", 0, true), alert("a", 9, true)], false, noon()).unwrap();
        board.take(vec![alert("a", 0, false)], false, noon()).unwrap();
        assert_eq!(board.firing(noon()).len(), 1);
        board.take(vec![alert("a", 9, false)], false, noon()).unwrap();
        assert!(board.firing(noon()).is_empty());
    }

    #[test]
    fn past_its_room_it_says_so() {
        let board = AlertBoard::default();
        let many = |from: usize| (from..from + 6_000).map(|n| alert(&n.to_string(), 0, true)).collect();
        assert!(board.take(many(0), false, noon()).is_ok());
        assert_eq!(board.take(many(6_000), false, noon()), Err(Busy));
        // What fires already needs no more room.
        assert_eq!(counts(board.take(many(0), false, noon())), (0, 6_000, 0));
    }

    #[test]
    fn one_that_nobody_tells_of_again_is_forgotten_and_may_come_back() {
        let board = AlertBoard::default();
        let hours = |count: i64| noon() + TimeDelta::hours(count);
        let say = |at: i64| counts(board.take(vec![alert("a", 0, true)], false, hours(at)));
        assert_eq!(say(0), (1, 0, 0));
        assert_eq!(say(20), (0, 1, 0), "said again, it goes on");
        assert_eq!(board.firing(hours(43)).len(), 1);
        assert_eq!(board.firing(hours(44)).len(), 0);
        assert_eq!(say(45), (1, 0, 0));
        assert_eq!(board.firing(hours(46)).len(), 1);
        // Past its end it does not come back by a late word.
        board.take(vec![alert("a", 0, false)], false, hours(46)).unwrap();
        assert_eq!(say(47), (0, 1, 0));
        assert_eq!(board.firing(hours(47)).len(), 0);
    }
}
