//! Where a sampler leaves its latest sample for the scrapes: rendered text, and when it was taken.

use super::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The latest sample of one sampler.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    text: String,
    /// The text before, kept for its memory.
    spare: String,
    /// When the latest good sample was taken.
    taken: Option<Instant>,
    /// Why the latest turn failed; `None`: it did not.
    failure: Option<String>,
    errors: u64,
}

impl Slot {
    /// Memory for the next page.
    pub(crate) fn spare(&self) -> String {
        std::mem::take(&mut lock(&self.content).spare)
    }

    /// Leaves a good sample; `problems` parts of it could not be read. Returns whether the turn before had failed.
    pub(crate) fn publish(&self, text: String, taken: Instant, problems: usize) -> bool {
        let mut content = lock(&self.content);
        content.spare = std::mem::replace(&mut content.text, text);
        content.taken = Some(taken);
        content.errors += problems as u64;
        content.failure.take().is_some()
    }

    /// A turn failed: what was there is not shown any more. Returns whether the reason is news.
    pub(crate) fn fail(&self, reason: &str) -> bool {
        let mut content = lock(&self.content);
        content.text.clear();
        content.errors += 1;
        let news = content.failure.as_deref() != Some(reason);
        content.failure = Some(reason.to_owned());
        news
    }

    /// Whether the latest turn was good, and not too long ago.
    pub(crate) fn is_fresh(&self, now: Instant, keep_for: Duration) -> bool {
        lock(&self.content).is_fresh(now, keep_for)
    }

    /// Appends the text where it is fresh.
    pub(crate) fn append(&self, now: Instant, keep_for: Duration, to: &mut String) {
        let content = lock(&self.content);
        if content.is_fresh(now, keep_for) {
            to.push_str(&content.text);
        }
    }

    /// Age of the latest good sample.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        lock(&self.content).taken.map(|taken| now.saturating_duration_since(taken))
    }

    /// How often reading failed.
    pub(crate) fn errors(&self) -> u64 {
        lock(&self.content).errors
    }

    /// Whether there was a turn yet, and how the latest went, for people.
    pub(crate) fn state(&self) -> (bool, String) {
        let content = lock(&self.content);
        match (&content.failure, content.taken) {
            (Some(reason), _) => (true, reason.clone()),
            (None, Some(_)) => (true, "ok".to_owned()),
            (None, None) => (false, "no sample yet".to_owned()),
        }
    }
}

impl Content {
    fn is_fresh(&self, now: Instant, keep_for: Duration) -> bool {
        self.failure.is_none()
            && self.taken.is_some_and(|taken| now.saturating_duration_since(taken) <= keep_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(15);

    fn shown(slot: &Slot, now: Instant) -> String {
        let mut text = String::new();
        slot.append(now, KEEP, &mut text);
        text
    }

    #[test]
    fn a_sample_is_shown_until_it_is_too_old() {
        let (slot, start) = (Slot::default(), Instant::now());
        assert_eq!((slot.state().0, slot.age(start)), (false, None));
        slot.publish("a 1\n".into(), start, 0);
        assert_eq!(shown(&slot, start + KEEP), "a 1\n");
        assert_eq!(shown(&slot, start + KEEP + Duration::from_millis(1)), "");
        assert!(!slot.is_fresh(start + KEEP * 2, KEEP));
    }

    #[test]
    fn a_failure_hides_the_sample_keeps_its_age_and_is_news_once() {
        let (slot, start) = (Slot::default(), Instant::now());
        slot.publish("a 1\n".into(), start, 0);
        assert!(slot.fail("down") && !slot.fail("down") && slot.fail("refused"));
        assert_eq!((shown(&slot, start).as_str(), slot.errors()), ("", 3));
        assert_eq!(slot.age(start + KEEP), Some(KEEP));
        assert_eq!(slot.state(), (true, "refused".to_owned()));
        assert!(slot.publish("a 2\n".into(), start, 0));
        assert_eq!((shown(&slot, start).as_str(), slot.state().1.as_str()), ("a 2\n", "ok"));
    }
}
