//! `kill -9` of leverd at random moments: anywhere, right after the file changed, and in the middle of a record.

use super::campaign::{Dice, Tally};
use super::truth::{
    ALTERS, Lever, RELOADS, RESTARTS, Running, Stand, Truth, differs, ledger_of, without_cool_down,
};
use crate::support::rig::{Effect, Rig};
use std::time::Duration;

/// So many kills on one rig.
pub(super) const PER_RIG: u64 = 5;

/// The longest that a leverd lives here; a trial on this rig takes about as long.
const LIFE: Duration = Duration::from_secs(9);

pub(super) fn of_the_daemon(dice: &mut Dice) -> Tally {
    kills(dice, RELOADS, Effect::Nothing, &["run"])
}

pub(super) fn of_tune(dice: &mut Dice) -> Tally {
    kills(dice, RELOADS, Effect::Helps, &["tune", "--cycles", "1", "--no-tty"])
}

pub(super) fn of_restarts(dice: &mut Dice) -> Tally {
    kills(dice, RESTARTS, Effect::Nothing, &["run"])
}

pub(super) fn of_alter_system(dice: &mut Dice) -> Tally {
    kills(dice, ALTERS, Effect::Nothing, &["run"])
}

fn kills(dice: &mut Dice, lever: Lever, effect: Effect, command: &[&str]) -> Tally {
    let rig = lever.rig(effect);
    without_cool_down(&rig);
    let (mut truth, mut tally) = (Truth::of(&rig, lever), Tally::default());
    let mut kept = false;
    while tally.faults < PER_RIG && tally.bad.is_empty() {
        // What was kept goes back, and that too is killed.
        let arguments = if kept { &["rollback", "--all", "--no-tty"][..] } else { command };
        truth.rolling_back |= kept;
        let mut running = Running::start(&rig, arguments);
        let life = if kept { Duration::from_millis(300) } else { LIFE };
        if lives_to_its_moment(&rig, lever, &mut running, dice, life) {
            if let Some(refused) = dice_second(dice, &rig, &mut running) {
                match refused {
                    Ok(()) => tally.seconds += 1,
                    Err(bad) => tally.bad.push(bad),
                }
            }
            running.kill();
            tally.faults += 1;
        } else {
            let status = running.end();
            truth.rolling_back &= !(kept && status.success());
        }
        let stand = truth.tally(&rig, &mut tally);
        if let Some(Stand::Open(phase, _)) = &stand {
            *tally.reached.entry(phase.clone()).or_default() += 1;
        } else if stand.is_some() {
            *tally.reached.entry("between trials".to_owned()).or_default() += 1;
        }
        kept = matches!(stand, Some(Stand::New | Stand::Person)) || truth.rolling_back;
        if !kept {
            truth.thaw(&rig);
        }
    }
    truth.settle(&rig, &mut tally);
    tally
}

/// Waits for a moment that the dice choose, or for the longest life. `false`: it ended before.
fn lives_to_its_moment(
    rig: &Rig,
    lever: Lever,
    running: &mut Running,
    dice: &mut Dice,
    life: Duration,
) -> bool {
    match dice.below("kind of moment", 3) {
        0 => {
            running.lives_for(dice.moment("anywhere", life));
        }
        1 => {
            let moment = dice.moment("after the file changed", Duration::from_millis(100));
            if running.waits_until(life, differs(&lever.file(rig))) {
                running.lives_for(moment);
            }
        }
        _ => {
            // While its journal is there, SQLite is in the middle of a write.
            let journal = ledger_of(rig).with_extension("db-journal");
            let skip = dice.below("records to pass", 12);
            let mut seen = (false, 0);
            running.waits_until(life, move || {
                let there = journal.exists();
                seen.1 += usize::from(there && !seen.0);
                seen.0 = there;
                there && seen.1 > skip
            });
        }
    }
    !running.has_ended()
}

/// One time in four a second leverd is started beside this one.
fn dice_second(dice: &mut Dice, rig: &Rig, running: &mut Running) -> Option<Result<(), String>> {
    (dice.below("second leverd", 4) == 0).then(|| running.second_is_refused(rig)).flatten()
}
