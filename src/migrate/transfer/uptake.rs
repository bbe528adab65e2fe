//! Carries changed settings to the transfer, and knows whether they are in effect yet.
//!
//! In: what is asked for, where each reader and writer is, and chunks as they come and go. Out: yes or no. Always
//! holds: yes only when nobody works beyond the settings, nobody who is missing is still on the way, and a chunk that
//! was cut by the size asked for is committed, or none of another size is under way.

use super::{Limits, Shared};
use crate::migrate::adjust::Settings;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a reader or a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is not wanted, and has no work.
    Away,
    /// It is wanted, or has work, and gets its session.
    Coming,
    /// It works, or takes the next work that there is.
    There,
}

/// Who and what goes by the settings.
#[derive(Debug, Default)]
pub(crate) struct Uptake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None`: the transfer has not begun.
    wanted: Option<Wanted>,
    readers: Crew,
    writers: Crew,
    /// Counts the sizes of chunks that were asked for; what was cut by an earlier one is 0.
    generation: u64,
    /// For each generation how many of its chunks are under way.
    chunks: BTreeMap<u64, u32>,
    /// One of this generation is committed.
    one_is_through: bool,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    settings: Settings,
    readers: u32,
    writers: u32,
}

/// Those who are not away, by their numbers, and whether they go by the settings.
#[derive(Debug, Default)]
struct Crew(BTreeMap<u32, bool>);

impl Crew {
    fn put(&mut self, index: u32, place: Place) {
        match place {
            Place::Away => self.0.remove(&index),
            Place::Coming => self.0.insert(index, false),
            Place::There => self.0.insert(index, true),
        };
    }

    /// Each of them has to look at the settings again.
    fn recall(&mut self) {
        for goes_by_them in self.0.values_mut() {
            *goes_by_them = false;
        }
    }

    /// Whether it is the first so many, all at work.
    fn is(&self, many: u32) -> bool {
        self.0.len() as u64 == u64::from(many)
            && self.0.iter().all(|(index, goes_by_them)| *index < many && *goes_by_them)
    }
}

impl Uptake {
    /// These settings are asked for, and with them so many readers of all tables and so many writers.
    pub(super) fn want(&self, settings: Settings, readers: u32, writers: u32) {
        let mut state = self.lock();
        let before = state.wanted.replace(Wanted { settings, readers, writers });
        if before.is_none_or(|before| before.settings.chunk_rows != settings.chunk_rows) {
            state.generation += 1;
            state.one_is_through = false;
        }
        // One table has too many of them until they are through, whatever their numbers.
        if before.is_some_and(|before| before.settings.readers > settings.readers) {
            state.readers.recall();
        }
    }

    /// Where that reader is.
    pub(super) fn reader(&self, index: u32, place: Place) {
        self.lock().readers.put(index, place);
    }

    /// Where that writer is.
    pub(super) fn writer(&self, index: u32, place: Place) {
        self.lock().writers.put(index, place);
    }

    /// A chunk that was cut for so many rows is under way. Gives its generation.
    pub(super) fn chunk_comes(&self, chunk_rows: u32) -> u64 {
        let mut state = self.lock();
        let is_new = state.wanted.is_some_and(|wanted| wanted.settings.chunk_rows.get() == chunk_rows);
        let generation = if is_new { state.generation } else { 0 };
        *state.chunks.entry(generation).or_default() += 1;
        generation
    }

    /// A chunk of that generation is committed, or has failed.
    pub(super) fn chunk_goes(&self, generation: u64, is_committed: bool) {
        let mut state = self.lock();
        if is_committed && generation == state.generation {
            state.one_is_through = true;
        }
        if let Some(many) = state.chunks.get_mut(&generation) {
            *many -= 1;
            if *many == 0 {
                state.chunks.remove(&generation);
            }
        }
    }

    /// Whether these settings are the ones that the transfer goes by, in all that it does.
    pub(crate) fn is_in_effect(&self, settings: &Settings) -> bool {
        let state = self.lock();
        let Some(wanted) = state.wanted.filter(|wanted| wanted.settings == *settings) else { return false };
        let chunks_are =
            state.one_is_through || state.chunks.keys().all(|generation| *generation == state.generation);
        chunks_are && state.readers.is(wanted.readers) && state.writers.is(wanted.writers)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Carries a change of the settings to the schedule and the queue.
    pub(super) async fn follow_settings(self: Arc<Self>) {
        let mut settings = self.settings.clone();
        loop {
            let now = *settings.borrow_and_update();
            let limits = Limits { tables: self.order.workers as usize, readers: now.readers.get() };
            self.schedule().limit(limits);
            self.queue.resize(now.buffers.get() as usize);
            let writers = now.writers.get().min(self.order.most_writers);
            self.counters.uptake.want(now, self.readers_for(&now), writers);
            self.changed.notify_waiters();
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
                () = self.done() => return,
            }
        }
    }

    /// Readers of all tables.
    pub(super) fn readers_for(&self, settings: &Settings) -> u32 {
        self.order.workers.saturating_mul(settings.readers.get()).min(self.order.most_readers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(writers: u32, chunk_rows: u32, readers: u32) -> Settings {
        Settings::new(writers.into(), chunk_rows.into(), readers.into(), 4).unwrap()
    }

    /// Two readers and two writers at work.
    fn two_and_two() -> Uptake {
        let uptake = Uptake::default();
        uptake.want(settings(2, 1_000, 2), 2, 2);
        for index in 0..2 {
            uptake.reader(index, Place::There);
            uptake.writer(index, Place::There);
        }
        assert!(uptake.is_in_effect(&settings(2, 1_000, 2)));
        uptake
    }

    #[test]
    fn what_the_transfer_has_not_heard_of_is_not_in_effect() {
        let uptake = two_and_two();
        assert!(!uptake.is_in_effect(&settings(3, 1_000, 2)));
        assert!(!Uptake::default().is_in_effect(&settings(2, 1_000, 2)));
    }

    #[test]
    fn another_writer_is_there_with_its_session() {
        let uptake = two_and_two();
        let more = settings(3, 1_000, 2);
        uptake.want(more, 2, 3);
        assert!(!uptake.is_in_effect(&more), "nobody has come");
        uptake.writer(2, Place::Coming);
        assert!(!uptake.is_in_effect(&more), "it has no session");
        uptake.writer(2, Place::There);
        assert!(uptake.is_in_effect(&more));
    }

    #[test]
    fn a_writer_too_many_finishes_its_chunk_first() {
        let uptake = two_and_two();
        let fewer = settings(1, 1_000, 2);
        uptake.want(fewer, 2, 1);
        assert!(!uptake.is_in_effect(&fewer), "it is at work");
        uptake.writer(1, Place::Away);
        assert!(uptake.is_in_effect(&fewer));
        uptake.writer(0, Place::Away);
        uptake.writer(1, Place::There);
        assert!(!uptake.is_in_effect(&fewer), "it is one, but not the one that stays");
    }

    #[test]
    fn fewer_readers_of_a_table_all_look_again() {
        let uptake = two_and_two();
        let fewer = settings(2, 1_000, 1);
        // Two tables: all of them stay, but not with the same one.
        uptake.want(fewer, 2, 2);
        uptake.reader(0, Place::There);
        assert!(!uptake.is_in_effect(&fewer));
        uptake.reader(1, Place::There);
        assert!(uptake.is_in_effect(&fewer));
    }

    #[test]
    fn a_size_is_in_effect_with_the_first_chunk_of_it() {
        let uptake = two_and_two();
        let old = uptake.chunk_comes(1_000);
        let larger = settings(2, 2_000, 2);
        uptake.want(larger, 2, 2);
        let late = uptake.chunk_comes(1_000);
        let new = uptake.chunk_comes(2_000);
        assert!(!uptake.is_in_effect(&larger));
        uptake.chunk_goes(old, true);
        uptake.chunk_goes(new, false);
        assert!(!uptake.is_in_effect(&larger), "one failed, one is of the old size");
        let new = uptake.chunk_comes(2_000);
        uptake.chunk_goes(new, true);
        assert!(uptake.is_in_effect(&larger));
        uptake.chunk_goes(late, true);
        assert!(uptake.is_in_effect(&larger));
    }

    #[test]
    fn a_size_is_in_effect_when_no_other_is_under_way() {
        let uptake = two_and_two();
        let old = uptake.chunk_comes(1_000);
        let larger = settings(2, 2_000, 2);
        uptake.want(larger, 2, 2);
        assert!(!uptake.is_in_effect(&larger));
        uptake.chunk_goes(old, true);
        assert!(uptake.is_in_effect(&larger), "nothing is under way");
        let between = uptake.chunk_comes(2_000);
        assert!(uptake.is_in_effect(&larger));
        let back = settings(2, 1_000, 2);
        uptake.want(back, 2, 2);
        assert!(!uptake.is_in_effect(&back));
        uptake.chunk_goes(between, true);
        assert!(uptake.is_in_effect(&back));
    }
}
