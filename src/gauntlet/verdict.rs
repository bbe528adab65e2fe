//! Whether a run ended as its scenario should end. Pure, the same for all strategies.

use super::look::Look;
use super::record::Pull;
use super::state::Difference;
use super::strategies::{Acted, End, Kind};
use crate::model::Lever;
use crate::sandbox::Ending;

/// What a scenario wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) ends: Ending,
    pub(super) expected: &'a [String],
}

impl Wanted<'_> {
    /// Whether a level must be broken before a strategy may show what it can.
    pub(super) fn begins_broken(self) -> bool {
        self.is_cured() || self.ends == Ending::OutOfReach
    }

    /// Whether a level is to be reached by a lever; else nothing is to be changed.
    fn is_cured(self) -> bool {
        self.ends == Ending::Compliant && !self.expected.is_empty()
    }
}

/// Levers that were pulled and not expected, each once, in order.
pub(super) fn wrong_pulled(wanted: Wanted<'_>, pulled: &[Pull]) -> Vec<String> {
    let mut wrong: Vec<String> = Vec::new();
    for pull in pulled {
        if !wanted.expected.contains(&pull.lever) && !wrong.contains(&pull.lever) {
            wrong.push(pull.lever.clone());
        }
    }
    wrong
}

/// Levers whose value differs at the end and that were not expected; a parameter that no lever has by its own name.
pub(super) fn wrong_kept(wanted: Wanted<'_>, changed: &[Difference], levers: &[Lever]) -> Vec<String> {
    let lever_of = |name: &str| {
        let lever = levers.iter().find(|lever| lever.parameter == name);
        lever.map_or_else(|| name.to_owned(), |lever| lever.name.as_str().to_owned())
    };
    let mut names: Vec<String> = changed.iter().map(|change| lever_of(&change.name)).collect();
    names.retain(|name| !wanted.expected.contains(name));
    names
}

/// Solved or not, and why in a sentence.
pub(super) fn solved(
    wanted: Wanted<'_>,
    strategy: Kind,
    acted: &Acted,
    after: &Look,
    wrong_kept: &[String],
) -> (bool, String) {
    if wanted.is_cured() {
        return match after.complaints() {
            _ if after.is_met() => (true, "every level is met".to_owned()),
            complaints if complaints.is_empty() => (false, "no signal was looked at".to_owned()),
            complaints => (false, complaints.join("; ")),
        };
    }
    if !wrong_kept.is_empty() {
        return (false, format!("changed for nothing: {}", wrong_kept.join(", ")));
    }
    // leverd must also have said so; the others have no words for it.
    let says = match (strategy, wanted.ends) {
        (Kind::Leverd, Ending::Compliant) => acted.end == End::Met,
        (Kind::Leverd, Ending::OutOfReach) => matches!(acted.end, End::NothingLeft(_)),
        (Kind::Leverd, Ending::Unchanged) => !matches!(acted.end, End::CannotTell(_)),
        _ => true,
    };
    if says {
        (true, "nothing is changed that should not be".to_owned())
    } else {
        (false, format!("nothing is changed, and it did not say so, but: {}", acted.end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::fixtures::look;
    use super::super::strategies::fixtures::levers;
    use super::*;

    fn wanted(ends: Ending, expected: &[String]) -> Wanted<'_> {
        Wanted { ends, expected }
    }

    fn acted(end: End) -> Acted {
        Acted { end, ..Acted::default() }
    }

    #[test]
    fn a_cure_is_what_the_signals_say_whatever_the_strategy_says() {
        let expected = ["max_wal_size".to_owned()];
        let wanted = wanted(Ending::Compliant, &expected);
        let (met, broken) = (look(&[("wal", Some(1.0))]), look(&[("wal", Some(300.0)), ("p95", None)]));
        assert!(solved(wanted, Kind::Playbook, &acted(End::CyclesUsedUp), &met, &[]).0);
        let found = solved(wanted, Kind::Leverd, &acted(End::Met), &broken, &[]);
        assert_eq!(found, (false, "wal 300 ms (level 100 ms); p95 is not known".to_owned()));
        assert!(!solved(wanted, Kind::Leverd, &acted(End::Met), &look(&[]), &[]).0);
    }

    #[test]
    fn where_nothing_is_wrong_nothing_is_changed_and_leverd_says_so() {
        let wanted = wanted(Ending::Compliant, &[]);
        let noisy = look(&[("wal", Some(101.0))]);
        assert!(solved(wanted, Kind::Leverd, &acted(End::Met), &noisy, &[]).0);
        assert!(!solved(wanted, Kind::Leverd, &acted(End::NothingLeft("?".to_owned())), &noisy, &[]).0);
        assert!(solved(wanted, Kind::Random, &acted(End::CyclesUsedUp), &noisy, &[]).0);
        let changed = solved(wanted, Kind::Pgtune, &acted(End::Met), &noisy, &["jit".to_owned()]);
        assert_eq!(changed, (false, "changed for nothing: jit".to_owned()));
    }

    #[test]
    fn what_is_to_be_cured_must_be_broken_first() {
        let expected = ["max_wal_size".to_owned()];
        assert!(wanted(Ending::Compliant, &expected).begins_broken());
        assert!(wanted(Ending::OutOfReach, &[]).begins_broken());
        assert!(
            !wanted(Ending::Compliant, &[]).begins_broken()
                && !wanted(Ending::Unchanged, &[]).begins_broken()
        );
    }

    #[test]
    fn out_of_reach_must_be_said() {
        let wanted = wanted(Ending::OutOfReach, &[]);
        let broken = look(&[("wal", Some(300.0))]);
        assert!(
            solved(wanted, Kind::Leverd, &acted(End::NothingLeft("no lever".to_owned())), &broken, &[]).0
        );
        assert!(!solved(wanted, Kind::Leverd, &acted(End::CyclesUsedUp), &broken, &[]).0);
        assert!(!solved(wanted, Kind::Leverd, &acted(End::CannotTell("x".to_owned())), &broken, &[]).0);
    }

    #[test]
    fn what_comes_and_goes_needs_no_change() {
        let wanted = wanted(Ending::Unchanged, &[]);
        let met = look(&[("wal", Some(1.0))]);
        assert!(solved(wanted, Kind::Leverd, &acted(End::Met), &met, &[]).0);
        assert!(!solved(wanted, Kind::Leverd, &acted(End::Met), &met, &["jit".to_owned()]).0);
    }

    #[test]
    fn wrong_levers_are_told_by_the_levers_name() {
        let expected = ["max_wal_size".to_owned()];
        let wanted = wanted(Ending::Compliant, &expected);
        let pull = |lever: &str| Pull {
            cycle: 1,
            lever: lever.to_owned(),
            value: String::new(),
            became: String::new(),
        };
        let pulled = [pull("batch_size"), pull("max_wal_size"), pull("batch_size"), pull("jit")];
        assert_eq!(wrong_pulled(wanted, &pulled), ["batch_size", "jit"]);
        let change = |name: &str| Difference { name: name.to_owned(), from: None, to: None };
        let changed = [change("BATCH_SIZE"), change("max_wal_size"), change("huge_pages")];
        assert_eq!(wrong_kept(wanted, &changed, &levers()), ["batch_size", "huge_pages"]);
    }
}
