//! The levels of a target that serves others while a migration's run loads it.
//!
//! In: the target's signals, read each scrape interval. Out: the names of the levels that are broken, one list a look,
//! always the newest. Broken is what a decision calls broken (`decide::find`). Always holds: nothing is asked of the
//! loaded server itself, nothing is changed, no lock is needed; a level that cannot be told keeps its last standing
//! for a few scrapes, and then counts as broken, for whoever yields must not take blindness for health; a level that an
//! alert stood in for is broken until it is known that none does. A signal that is optional and unknown says nothing.

use super::clock;
use super::session::SessionError;
use crate::config::Config;
use crate::decide;
use crate::model::{Baseline, Finding, Signal, SignalName, Standing};
use crate::observe;
use crate::prometheus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// So many scrapes may pass without a level's value; and never less than the time below.
const BLIND_SCRAPES: u32 = 5;
const LEAST_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at least.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// A reason is cut to so many letters: it stands in a line of the log.
const REASON: usize = 100;

/// What watches a target's levels.
#[derive(Debug)]
pub struct Guards {
    config: Arc<Config>,
    prometheus: prometheus::Client,
    baseline: Option<Baseline>,
    sight: Sight,
}

impl Guards {
    /// Makes the client and reads the baseline; connects to nothing yet.
    ///
    /// # Errors
    /// The client cannot be made, or the baseline cannot be read.
    pub fn open(config: Arc<Config>) -> Result<Self, SessionError> {
        let baseline = crate::config::read_baseline(&config.paths.baseline, &config.signals)
            .map_err(SessionError::Baseline)?;
        let patience = (config.cycle.scrape_interval * BLIND_SCRAPES).max(LEAST_PATIENCE);
        Ok(Self {
            prometheus: prometheus::Client::new(&config.prometheus)?,
            baseline,
            sight: Sight { patience, last: BTreeMap::new() },
            config,
        })
    }

    /// How many signals have a level. Where there is none, an alert is all that can say that something is wrong.
    pub fn levels(&self) -> usize {
        let bounded = |signal: &&Signal| self.config.sla_of(&signal.name).is_some();
        self.config.signals.iter().filter(bounded).count()
    }

    /// Looks each scrape interval until `stop`, and tells each time what is broken.
    pub async fn watch(mut self, tell: watch::Sender<Vec<String>>, stop: CancellationToken) {
        let began = Instant::now();
        let mut scrapes = tokio::time::interval(self.config.cycle.scrape_interval.max(LEAST_PAUSE));
        scrapes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look = async {
                scrapes.tick().await;
                self.look().await
            };
            let (findings, no_alerts) = tokio::select! {
                () = stop.cancelled() => return,
                looked = look => looked,
            };
            let signals = &self.config.signals;
            let broken = self.sight.broken(&findings, no_alerts.as_deref(), signals, began.elapsed());
            tracing::debug!("the target's levels: {}", shown(&broken));
            // Whoever listens is told of each look, also where nothing has changed.
            tell.send_replace(broken);
        }
    }

    /// Each signal against its bound; and why the alerts are not known, where they are not.
    async fn look(&self) -> (Vec<Finding>, Option<String>) {
        let (snapshot, no_alerts) = observe::levels(&self.config, &self.prometheus, clock::now()).await;
        let findings =
            decide::find(&self.config.signals, &self.config.sla, self.baseline.as_ref(), &snapshot);
        (findings, no_alerts)
    }
}

fn shown(broken: &[String]) -> String {
    if broken.is_empty() { "all are met".to_owned() } else { format!("broken: {}", broken.join(", ")) }
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
struct Sight {
    /// How long a level may be unknown.
    patience: Duration,
    /// Of each level that was known: whether it was broken, and when that was, since the beginning.
    last: BTreeMap<SignalName, (bool, Duration)>,
}

impl Sight {
    /// What is broken by these findings, `now` after the beginning; or was, and cannot be told; or cannot be told for
    /// too long. `no_alerts`: why the firing alerts are not known.
    fn broken(
        &mut self,
        findings: &[Finding],
        no_alerts: Option<&str>,
        signals: &[Signal],
        now: Duration,
    ) -> Vec<String> {
        let mut broken = Vec::new();
        for finding in findings {
            let name = &finding.signal;
            match (&finding.standing, no_alerts) {
                // An alert stood in for its level, and whether it is over nobody knows.
                (Standing::Unbounded, Some(why)) if self.last.contains_key(name) => {
                    broken.push(format!("{name} (not known: {})", shortened(why)));
                }
                (Standing::Unbounded, _) => {
                    // It is over.
                    self.last.remove(name);
                }
                (Standing::Met, _) => {
                    self.last.insert(name.clone(), (false, now));
                }
                (Standing::Broken, _) => {
                    self.last.insert(name.clone(), (true, now));
                    broken.push(name.to_string());
                }
                (Standing::Unknown(why), _) => {
                    let optional = signals.iter().any(|signal| signal.name == *name && signal.optional);
                    let (was_broken, known) = self.last.get(name).copied().unwrap_or_default();
                    if !optional && (was_broken || now.saturating_sub(known) >= self.patience) {
                        broken.push(format!("{name} (not known: {})", shortened(why)));
                    }
                }
            }
        }
        broken
    }
}

fn shortened(why: &str) -> String {
    let one_line = why.split_whitespace().collect::<Vec<_>>().join(" ");
    if one_line.chars().count() <= REASON {
        return one_line;
    }
    one_line.chars().take(REASON - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Unit};

    fn signal(name: &str, optional: bool) -> Signal {
        Signal {
            name: name.into(),
            baseline_key: name.to_owned(),
            unit: Unit::Percent,
            direction: Direction::LowerIsBetter,
            queries: vec![],
            window: Duration::from_mins(5),
            scales_with_load: false,
            symptom: format!("high_{name}").as_str().into(),
            optional,
        }
    }

    fn finding(name: &str, standing: Standing) -> Finding {
        Finding {
            signal: name.into(),
            unit: Unit::Percent,
            value: None,
            limit: Some(25.0),
            bound: "< 25".to_owned(),
            standing,
            symptom: format!("high_{name}").as_str().into(),
        }
    }

    fn unknown() -> Standing {
        Standing::Unknown("no  series".to_owned())
    }

    fn sight() -> Sight {
        Sight { patience: Duration::from_secs(50), last: BTreeMap::new() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_broken_is_named_and_what_is_met_is_not() {
        let signals = [signal("io_wait", false), signal("wal_rate", false), signal("extra", false)];
        let findings = [
            finding("io_wait", Standing::Met),
            finding("wal_rate", Standing::Broken),
            finding("extra", Standing::Unbounded),
        ];
        assert_eq!(sight().broken(&findings, None, &signals, at(0)), ["wal_rate"]);
        assert_eq!(shown(&[]), "all are met");
        assert_eq!(shown(&["a".to_owned(), "b".to_owned()]), "broken: a, b");
    }

    #[test]
    fn what_is_not_known_for_long_counts_as_broken() {
        let signals = [signal("io_wait", false)];
        let blind = [finding("io_wait", unknown())];
        let none: [String; 0] = [];
        let mut sight = sight();
        assert_eq!(sight.broken(&blind, None, &signals, at(49)), none, "it may have just started");
        assert_eq!(sight.broken(&blind, None, &signals, at(50)), ["io_wait (not known: no series)"]);
        let met = [finding("io_wait", Standing::Met)];
        assert_eq!(sight.broken(&met, None, &signals, at(60)), none);
        assert_eq!(sight.broken(&blind, None, &signals, at(109)), none);
        assert_eq!(sight.broken(&blind, None, &signals, at(110)), ["io_wait (not known: no series)"]);
    }

    #[test]
    fn what_was_broken_is_not_met_because_nobody_sees_it() {
        let signals = [signal("io_wait", false)];
        let mut sight = sight();
        assert_eq!(sight.broken(&[finding("io_wait", Standing::Broken)], None, &signals, at(0)), ["io_wait"]);
        let blind = sight.broken(&[finding("io_wait", unknown())], None, &signals, at(1));
        assert_eq!(blind, ["io_wait (not known: no series)"]);
    }

    #[test]
    fn an_alert_that_stood_in_for_a_level_is_over_when_that_is_known() {
        let signals = [signal("extra", false)];
        let alert = [finding("extra", Standing::Broken)];
        let none = [finding("extra", Standing::Unbounded)];
        let mut sight = sight();
        assert!(sight.broken(&none, Some("timed out"), &signals, at(0)).is_empty(), "none was seen");
        assert_eq!(sight.broken(&alert, None, &signals, at(1)), ["extra"]);
        let blind = sight.broken(&none, Some("timed  out"), &signals, at(2));
        assert_eq!(blind, ["extra (not known: timed out)"]);
        assert!(sight.broken(&none, None, &signals, at(3)).is_empty());
        assert!(sight.broken(&none, Some("timed out"), &signals, at(4)).is_empty(), "it was over");
    }

    #[test]
    fn a_sensor_that_need_not_be_there_breaks_nothing() {
        let signals = [signal("cpu_temperature", true)];
        let blind = [finding("cpu_temperature", unknown())];
        assert!(sight().broken(&blind, None, &signals, at(9_999)).is_empty());
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ä".repeat(300));
        assert_eq!(cut.chars().count(), REASON);
        assert!(cut.ends_with('…'));
    }
}
