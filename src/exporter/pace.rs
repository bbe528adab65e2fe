//! When a sampler samples next: at its own interval, and in step with whoever scrapes.
//!
//! A free-running sampler drifts against the scrapes: of two scrapes in a row, one then shows the same counter
//! twice and the next one a double step, and every `rate()` over few scrapes is off by that. In step, the age of a
//! sample at a scrape is the same each time, so rates are true. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// A sample is ready so much before the scrape that it is for.
const LEAD: Duration = Duration::from_millis(100);

/// The rhythm of the scrapes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scrapes {
    latest: Option<Instant>,
}

impl Scrapes {
    /// Notes a scrape.
    pub(crate) fn note(&mut self, at: Instant) {
        self.latest = Some(at);
    }

    /// When to sample after a sample at `now`: half an interval later at least, one and a half at most.
    pub(crate) fn next_sample(&self, now: Instant, every: Duration) -> Instant {
        let free_running = now + every;
        let Some(scrape) = self.latest else { return free_running };
        let lead = LEAD.min(every / 10);
        let earliest = now + every / 2;
        let since = earliest.saturating_duration_since(scrape) + lead;
        let intervals = since.as_nanos().div_ceil(every.as_nanos().max(1));
        let Ok(intervals) = u32::try_from(intervals) else { return free_running };
        let next = scrape + every * intervals - lead;
        if next < earliest { free_running } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Scrapes every `scrape_every` from `phase` on; the ages of the sample at each scrape, after ten to settle.
    fn ages(scrape_every: Duration, phase: Duration, every: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let (mut scrapes, mut sampled, mut next) = (Scrapes::default(), start, start + every);
        let mut ages = Vec::new();
        for turn in 0..40 {
            let scrape = start + phase + scrape_every * turn;
            while next <= scrape {
                sampled = next;
                next = scrapes.next_sample(sampled, every);
                assert!(next - sampled >= every / 2 && next - sampled <= every * 3 / 2 + ms(1));
            }
            scrapes.note(scrape);
            ages.push(scrape - sampled);
        }
        ages.split_off(10)
    }

    #[test]
    fn without_scrapes_it_keeps_its_interval() {
        let now = Instant::now();
        assert_eq!(Scrapes::default().next_sample(now, ms(1000)), now + ms(1000));
    }

    #[test]
    fn the_age_at_a_scrape_stays_the_same() {
        for scrape_every in [1000, 2500, 5000, 15000] {
            for phase in [0, 130, 500, 730, 990] {
                let ages = ages(ms(scrape_every), ms(phase), ms(1000));
                assert!(ages.iter().all(|age| *age == ages[0]), "{scrape_every} {phase} {ages:?}");
            }
        }
    }

    #[test]
    fn a_scrape_each_interval_sees_a_fresh_sample_each_time() {
        assert!(ages(ms(1000), ms(370), ms(1000)).iter().all(|age| *age == ms(100)));
    }

    #[test]
    fn faster_scrapes_do_not_starve_the_sampler() {
        assert!(ages(ms(90), ms(370), ms(1000)).iter().all(|age| *age <= ms(1500)));
    }
}
