//! How long what is left will take, from the runs so far. Pure.

use super::record::{Key, Outcome, Run};
use super::summary::Spread;
use std::time::Duration;

/// The time that `left` will take: each as long as the same scenario and strategy took, else the same strategy, else
/// any run. `None`: nothing was measured yet.
pub fn time_left(left: &[Key], runs: &[Run]) -> Option<Duration> {
    let mut seconds = 0.0;
    for key in left {
        let of = |alike: &dyn Fn(&Key) -> bool| {
            let alike = runs.iter().filter(|run| alike(&run.key));
            // One that failed may have ended at once.
            let measured = alike.filter(|run| matches!(run.outcome, Outcome::Measured(_)));
            Spread::of(&measured.map(|run| run.took_s).collect::<Vec<_>>()).map(|spread| spread.median)
        };
        seconds += of(&|other| other.scenario == key.scenario && other.strategy == key.strategy)
            .or_else(|| of(&|other| other.strategy == key.strategy))
            .or_else(|| of(&|_| true))?;
    }
    Some(Duration::from_secs_f64(seconds.max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::super::record::fixtures::{done, key, run};
    use super::super::strategies::Kind::{Leverd, Pgtune, Random};
    use super::*;

    #[test]
    fn the_likest_run_tells() {
        let took =
            |scenario, strategy, took_s| Run { took_s, ..done(key(scenario, strategy, 1), true, 1, 1.0) };
        let failed = Run { took_s: 1.0, ..run(key("a", Leverd, 2), Outcome::Failed(String::new())) };
        let runs = [
            took("a", Leverd, 100.0),
            took("a", Leverd, 300.0),
            took("b", Leverd, 500.0),
            took("b", Pgtune, 40.0),
            failed,
        ];
        let left = |keys: &[Key]| time_left(keys, &runs).map(|left| left.as_secs());
        assert_eq!(left(&[key("a", Leverd, 2)]), Some(200), "the same scenario and strategy");
        assert_eq!(left(&[key("c", Leverd, 1)]), Some(300), "the same strategy");
        assert_eq!(left(&[key("c", Random, 1)]), Some(200), "any run");
        assert_eq!(left(&[key("a", Leverd, 2), key("c", Pgtune, 1)]), Some(240));
        assert_eq!(left(&[]), Some(0));
        assert_eq!(time_left(&[key("a", Leverd, 1)], &[]), None);
    }
}
