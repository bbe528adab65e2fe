//! Wiring: the loop that observes, decides, tries and records, and the process around it.
//!
//! In: a configuration. Out: changes on the target, and their record. Nothing here decides anything: what to do
//! comes from `decide`, when to do it from `trial`, whether it helped from `judge`. This is the only room, beside
//! the command line, that may import them all.

mod alert_board;
mod approval;
mod borrowing;
pub mod clock;
mod drive;
mod evidence;
mod giving_back;
mod harm;
mod lock;
mod opening;
mod places;
mod postgres_link;
mod progress;
mod recovery;
mod rollback;
mod serve;
mod service_manager;
mod serving;
mod session;
#[cfg(test)]
mod simulation;
mod trial_run;
mod watch;

pub use borrowing::Borrowed;
pub use lock::{Lock, LockError};
pub use progress::{Progress, Reporter};
pub use rollback::{Undone, roll_back};
pub use serve::{Requests, ServeError, serve};
pub use serving::Guards;
pub use session::{Session, SessionError, Turn};
pub use trial_run::WhenStopped;
