//! The gauntlet: scenarios on a real sandbox, under leverd and under other strategies, measured alike.
//!
//! In: scenarios, strategies, repetitions, a seed. Out: a record for each (scenario, strategy, repetition), in a file
//! that an interrupted gauntlet goes on from, and tables and a chart of it.
//!
//! One run: a fresh sandbox comes up (healthy, baseline, broken, by `leverd sandbox up`); once a whole load cycle has
//! passed since it broke, the judge looks at the signals; the strategy acts; once a whole load cycle has passed since
//! it ended, and since the last change settled, the judge looks again; the sandbox goes down, whatever happened.
//! *Solved* is what that last look says, which no strategy has seen: every level is met. Where nothing should be
//! changed, solved is that nothing was, and leverd must have said that there is nothing to do.
//!
//! # What is fair, and what is not
//!
//! All strategies start from the same state, with the same levers.yaml, the same number of cycles, and are judged by
//! the same look. The others see such a look after each change: an average over a whole load cycle, not a single
//! scrape, which is kinder than a plain loop usually is. Their changes are by a superuser's `ALTER SYSTEM`: where a
//! scenario's value is masked by an older one of that kind they overwrite it, which leverd leaves to people. pgtune
//! and optuna change many settings in one cycle; leverd and the playbook change one. leverd's cycle is longer where it
//! extends a trial, which its seconds and its exposure pay for. What each has and lacks stands at the head of its file
//! in `strategies/`.
//!
//! Time outside of the levels is counted from the strategy's start to the end of the judge's window. A strategy that
//! gives up early is not charged for what goes on after that: an exposure without a cure is a lower bound.
//!
//! Always holds: a sandbox that was brought up is taken down, also after an error or Ctrl-C; an error of one run is
//! recorded and stops no other. After a `kill -9` the next gauntlet takes down what was left.

mod bench;
mod chart;
mod error;
mod exposure;
mod look;
mod pace;
mod program;
mod record;
mod run;
mod state;
mod strategies;
mod summary;
mod table;
mod verdict;

pub use bench::Loader;
pub use chart::chart;
pub use error::GauntletError;
pub use exposure::{Exposure, Worst};
pub use look::{Look, Seen};
pub use pace::time_left;
pub use program::Program;
pub use record::{Book, Key, Measured, Outcome, Pull, Run, replace};
pub use run::{Asked, End, Event, Job, Tell, jobs, run};
pub use state::Difference;
pub use strategies::Kind;
pub use summary::{Line, Spread, Total, summarise, totals};
pub use table::{Style, table};
