//! Which lever: the cheapest one that could help.
//!
//! A lever whose evidence speaks against it is passed over: it could not help, however cheap. The others are ranked by
//! what they are worth against all that is broken ([`super::worth`]): the chance that they help, learned on this target,
//! times the gap, divided by what they take. Equals stand in the user's order. Facts of different kinds have no common
//! measure, so how far one is past its bound does not rank.

use super::worth::{self, Part, Record, Worth};
use super::{Input, Permit, guardrails, next_value};
use crate::model::{
    Activation, Considered, ContainerState, Direction, Finding, Lever, LeverName, Outcome, PgValue, Place,
    Plan, ServerState, Verdict,
};

/// After so many levers in vain no more is pulled in the dark: the cause is not one that these levers treat, and each
/// trial costs its users a load cycle of a change that is made for nothing.
const MOST_IN_VAIN: usize = 3;

/// A lever that may be pulled, with what it would take.
struct Candidate<'a> {
    lever: &'a Lever,
    /// The symptom that it does most for.
    finding: &'a Finding,
    pull: Pull,
    worth: Worth,
}

/// What pulling a lever now would mean.
struct Pull {
    from: Option<String>,
    to: String,
    activation: Activation,
    /// The server's numbers speak for it; otherwise they say nothing.
    supported: bool,
    evidence: String,
    /// A milder value, which was tried in vain.
    after: Option<String>,
    /// A person must say yes first.
    needs_approval: bool,
}

impl Candidate<'_> {
    fn cost(&self) -> f64 {
        worth::cost(self.lever.tier, self.pull.activation)
    }
}

/// Every lever of what is broken, in rank order, with what became of it, and the plan where there is one. `broken`: the
/// worst first.
pub(super) fn rank(
    input: &Input<'_>,
    server: &ServerState,
    broken: &[&Finding],
) -> (Vec<Considered>, Option<Plan>) {
    let mut candidates = Vec::new();
    let mut refused = Vec::new();
    let in_vain = tried_in_vain(input, broken);
    for (lever, treats) in levers_for(input, broken) {
        match weigh(input, server, lever) {
            Ok(pull) if !pull.supported && in_vain >= MOST_IN_VAIN => {
                let reason = format!("nothing speaks for it, and {in_vain} levers were just tried in vain");
                refused.push(considered(&lever.name, Outcome::Refused, reason));
            }
            Ok(pull) => candidates.push(candidate(input, lever, &treats, pull)),
            Err(reason) => refused.push(considered(&lever.name, Outcome::Refused, reason)),
        }
    }
    // Stable: equals stay in the user's order.
    candidates.sort_by(|a, b| b.worth.value().total_cmp(&a.worth.value()));
    let Some(best) = candidates.first() else { return (refused, None) };
    let mut others: Vec<Considered> = candidates[1..]
        .iter()
        .map(|other| considered(&other.lever.name, Outcome::Later, why_later(other, best)))
        .collect();
    others.extend(refused);
    let plan = plan(input, best, others.clone());
    let mut all = vec![considered(&best.lever.name, Outcome::Chosen, plan.reason.clone())];
    all.extend(others);
    (all, Some(plan))
}

fn candidate<'a>(input: &Input<'_>, lever: &'a Lever, treats: &[&'a Finding], pull: Pull) -> Candidate<'a> {
    let part = |finding: &Finding| {
        let record = Record::of(&input.memory.experience, &lever.name, &finding.symptom);
        Part::new(finding, pull.supported, record)
    };
    let parts: Vec<Part> = treats.iter().map(|finding| part(finding)).collect();
    let mut most = 0;
    for (index, part) in parts.iter().enumerate() {
        if part.value() > parts[most].value() {
            most = index;
        }
    }
    let worth = Worth::new(parts, worth::cost(lever.tier, pull.activation));
    Candidate { lever, finding: treats[most], pull, worth }
}

/// How many levers did not help against what is broken, and are still in quarantine for it.
fn tried_in_vain(input: &Input<'_>, broken: &[&Finding]) -> usize {
    let failed = |lever: &LeverName| {
        let record = |finding: &&Finding| Record::of(&input.memory.experience, lever, &finding.symptom);
        broken.iter().map(record).any(|record| record.failed > 0)
    };
    let in_vain = |lever: &&LeverName| failed(lever) && !hidden(input, lever);
    input.memory.quarantined.keys().filter(in_vain).count()
}

/// The levers of every broken symptom, each once, in the user's order, with the symptoms that it treats.
fn levers_for<'a>(input: &Input<'a>, broken: &[&'a Finding]) -> Vec<(&'a Lever, Vec<&'a Finding>)> {
    let mut all: Vec<(&Lever, Vec<&Finding>)> = Vec::new();
    for finding in broken {
        for lever in levers_of(input, finding) {
            match all.iter_mut().find(|(other, _)| other.name == lever.name) {
                Some((_, treats)) => treats.push(finding),
                None => all.push((lever, vec![finding])),
            }
        }
    }
    all
}

/// The symptom's levers in the user's order; those that only name it as their target symptom come after.
fn levers_of<'a>(input: &Input<'a>, finding: &Finding) -> Vec<&'a Lever> {
    let by_name = |name: &LeverName| input.levers.iter().find(|lever| lever.name == *name);
    let mapped = input.symptom_mappings.get(&finding.symptom).map_or(&[][..], Vec::as_slice);
    let mut levers: Vec<&Lever> = mapped.iter().filter_map(by_name).collect();
    for lever in input.levers {
        let named = lever.symptoms.contains(&finding.symptom);
        if named && !levers.iter().any(|other| other.name == lever.name) {
            levers.push(lever);
        }
    }
    levers
}

/// Whether the lever may be pulled now, or why not.
fn weigh(input: &Input<'_>, server: &ServerState, lever: &Lever) -> Result<Pull, String> {
    if let Place::Unavailable(why) = &lever.place {
        return Err(format!("not available: {why}"));
    }
    if let Some(why) = input.memory.frozen.get(&lever.name) {
        return Err(format!("frozen: {why}; `leverd thaw {}` gives it back", lever.name));
    }
    let rest = input.memory.quarantined.get(&lever.name);
    let rest =
        rest.map(|(until, why)| format!("in quarantine until {}: {why}", until.format("%Y-%m-%d %H:%M UTC")));
    let hidden = hidden(input, &lever.name);
    let mild = if hidden { None } else { too_mild(input, lever) };
    if mild.is_none()
        && !hidden
        && let Some(rest) = rest
    {
        return Err(rest);
    }
    let permit = input.permissions.of(lever.tier);
    if permit == Permit::Never {
        return Err(format!("the policy for the {} tier is shadow: it is only reported", lever.tier));
    }
    input.permissions.now.clone()?;
    let (supported, evidence) = evidence(lever, server)?;
    if !supported && let Some(rest) = rest {
        return Err(rest);
    }
    let (from, to, activation) = match &lever.place {
        Place::EnvFile(file) => {
            let key = format!("{}:{}", file.display(), lever.parameter);
            let present = input.snapshot.env_values.get(&key);
            let present_text = present.map(String::as_str);
            let to = stronger(mild, rest, |tried| next_value::of_env(lever, present_text, tried))?;
            (present.cloned(), to, Activation::AppReload)
        }
        Place::ContainerLimit { kind, .. } => {
            let container = known(input.snapshot.container.as_ref(), "the container")?;
            let present = container.limits.get(*kind);
            let present = present.ok_or_else(|| no_limit(container))?;
            let to = stronger(mild, rest, |tried| next_value::of_limit(lever, *kind, present, tried))?;
            guardrails::check_limit(*kind, kind.parse(&to)?, container, server)?;
            (Some(kind.show(present)), to, Activation::AtOnce)
        }
        Place::PgBouncer(_) => {
            let pooler = known(input.snapshot.pooler.as_ref(), "PgBouncer")?;
            let present = pooler.config.get(&lever.parameter).map(String::as_str);
            let present =
                present.ok_or_else(|| format!("this PgBouncer has no setting {}", lever.parameter))?;
            let to = stronger(mild, rest, |tried| next_value::of_pooler(lever, present, tried))?;
            guardrails::check_pooler(&lever.parameter, &to, pooler, server)?;
            (Some(present.to_owned()), to, Activation::PoolerReload)
        }
        _ => {
            let (from, to, restart) = of_server(server, lever, mild, rest)?;
            (Some(from), to, if restart { Activation::Restart } else { Activation::Reload })
        }
    };
    let restart = match (activation, &input.permissions.restart) {
        (Activation::Restart, Err(why)) => return Err(format!("it needs a restart, and {why}")),
        (Activation::Restart, Ok(permit)) => *permit,
        _ => Permit::Free,
    };
    let needs_approval = permit == Permit::AfterApproval || restart == Permit::AfterApproval;
    let after = mild.filter(|mild| from.as_deref() != Some(*mild)).map(str::to_owned);
    Ok(Pull { from, to, activation, supported, evidence, after, needs_approval })
}

/// What was seen of a part that is configured, or why it was not.
fn known<'a, T>(seen: Option<&'a Result<T, String>>, what: &str) -> Result<&'a T, String> {
    match seen {
        Some(Ok(state)) => Ok(state),
        Some(Err(why)) => Err(format!("{what} is not known: {why}")),
        None => Err(format!("{what} was not looked at")),
    }
}

fn no_limit(container: &ContainerState) -> String {
    format!("the container {} has no such limit: there is nothing to move", container.name)
}

/// Whether the lever's last trial could not prove a gain while another cause was there, which was cured since: that
/// cause may have hidden the gain.
fn hidden(input: &Input<'_>, lever: &LeverName) -> bool {
    let experience = &input.memory.experience;
    let Some(last) = experience.iter().rposition(|one| one.lever == *lever) else { return false };
    let undecided = experience[last].verdict == Verdict::Undecided && !experience[last].undone;
    undecided && experience[last + 1..].iter().any(|one| one.verdict == Verdict::Kept && !one.undone)
}

/// The value of the lever's last trial, where that could not prove a gain and did not look like harm: what is stronger
/// need not wait until the lever's rest is over.
fn too_mild<'a>(input: &Input<'a>, lever: &Lever) -> Option<&'a str> {
    let last = input.memory.experience.iter().rev().find(|one| one.lever == lever.name)?;
    let signal = input.signals.iter().find(|signal| signal.symptom == last.symptom)?;
    let change = last.change?;
    let worse = match signal.direction {
        Direction::LowerIsBetter => change > 0.0,
        Direction::HigherIsBetter => change < 0.0,
    };
    (last.verdict == Verdict::Undecided && !last.undone && !worse).then_some(last.to.as_str())
}

/// The next value past the one that was too mild. Where there is none the lever rests, and after that begins anew.
fn stronger(
    mild: Option<&str>,
    rest: Option<String>,
    next: impl Fn(Option<&str>) -> Result<String, String>,
) -> Result<String, String> {
    match (next(mild), mild, rest) {
        (Err(_), Some(_), Some(rest)) => Err(rest),
        (Err(_), Some(_), None) => next(None),
        (found, ..) => found,
    }
}

fn of_server(
    server: &ServerState,
    lever: &Lever,
    mild: Option<&str>,
    rest: Option<String>,
) -> Result<(String, String, bool), String> {
    let setting = server.settings.get(&lever.parameter).ok_or_else(|| {
        format!(
            "PostgreSQL {} has no parameter {} (levers.yaml line {})",
            server.version_num / 10_000,
            lever.parameter,
            lever.line
        )
    })?;
    let to = stronger(mild, rest, |tried| next_value::of_setting(lever, setting, tried))?;
    guardrails::check(
        guardrails::Change { parameter: &lever.parameter, to: &to, place: &lever.place },
        server,
    )?;
    let present = PgValue::parse(&setting.value, setting).map_err(|error| error.to_string())?;
    Ok((present.show(setting), to, setting.needs_restart()))
}

/// Whether the server's numbers speak for the lever, and which; `Err` where they speak against it. All of a lever's
/// conditions must hold; one that is not known leaves the lever without support.
fn evidence(lever: &Lever, server: &ServerState) -> Result<(bool, String), String> {
    let mut supported = !lever.evidence.is_empty();
    let mut words = Vec::new();
    for rule in &lever.evidence {
        let fact = server.facts.get(&rule.fact).copied();
        match rule.holds(fact) {
            Some(true) => words.push(format!("{} is {}", rule.fact, rounded(fact))),
            Some(false) => {
                return Err(format!(
                    "it could not help: {} is {}, and it takes {rule}",
                    rule.fact,
                    rounded(fact)
                ));
            }
            None => supported = false,
        }
    }
    Ok((supported, words.join(", ")))
}

fn rounded(fact: Option<f64>) -> String {
    match fact {
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
        None => "not known".to_owned(),
    }
}

fn considered(lever: &LeverName, outcome: Outcome, reason: String) -> Considered {
    Considered { lever: lever.clone(), outcome, reason }
}

fn why_later(other: &Candidate<'_>, best: &Candidate<'_>) -> String {
    let name = &best.lever.name;
    let ((best_helped, _), (other_helped, other_failed)) = (best.worth.record(), other.worth.record());
    let why = if best.worth.value() <= other.worth.value() {
        format!("{name} stands before it in the mapping")
    } else if other_failed > other_helped {
        "it did not help here before".to_owned()
    } else if best_helped > other_helped {
        format!("{name} has helped here before")
    } else if best.pull.supported && !other.pull.supported {
        format!("the server's numbers speak for {name}, not for it")
    } else if other.cost() > best.cost() {
        format!("it takes a {}, {name} takes a {}", other.pull.activation, best.pull.activation)
    } else {
        format!("{name} does more for what is broken")
    };
    let from = other.pull.from.as_deref().unwrap_or("absent");
    format!("{from} → {} would be next, but {why} (rank {})", other.pull.to, other.worth)
}

/// What the ledger knows of a lever, as a sentence; empty where that is nothing.
fn learned(worth: &Worth) -> String {
    match worth.record() {
        (0, 0) => String::new(),
        (helped, 0) => format!(" It helped here before ({helped}×)."),
        (0, _) => " It did not help here before.".to_owned(),
        (helped, _) => format!(" It helped here before ({helped}×), but not always."),
    }
}

fn plan(input: &Input<'_>, best: &Candidate<'_>, passed_over: Vec<Considered>) -> Plan {
    let Candidate { finding, pull, .. } = best;
    let (value, limit) = (finding.value.unwrap_or(f64::NAN), finding.limit.unwrap_or(f64::NAN));
    let evidence = if pull.supported {
        format!(" The server's numbers speak for it: {}.", pull.evidence)
    } else {
        String::new()
    };
    let after =
        pull.after.as_ref().map_or(String::new(), |after| format!(" {after} was too little to tell."));
    let approval = if pull.needs_approval { " The policy has a person say yes first." } else { "" };
    let impact = best.lever.impact.as_ref().map_or(String::new(), |impact| format!(" Expected: {impact}."));
    let reason = format!(
        "{} is {}, its level is {} ({}). {} is the cheapest lever that could help: it takes a {}, tier {}.{evidence}{}{after}{impact} \
         Rank {}.{approval}",
        finding.signal,
        finding.unit.show(value),
        finding.bound,
        finding.unit.show(limit),
        best.lever.name,
        pull.activation,
        best.lever.tier,
        learned(&best.worth),
        best.worth,
    );
    Plan {
        target: input.target.clone(),
        symptom: finding.symptom.clone(),
        signal: finding.signal.clone(),
        unit: finding.unit,
        goal_from: value,
        limit,
        lever: best.lever.name.clone(),
        tier: best.lever.tier,
        parameter: best.lever.parameter.clone(),
        place: best.lever.place.clone(),
        from: pull.from.clone(),
        to: pull.to.clone(),
        activation: pull.activation,
        spans_checkpoints: best.lever.spans_checkpoints,
        verify_query: best.lever.verify_query.clone(),
        reason,
        passed_over,
        gives_back: None,
        needs_approval: pull.needs_approval,
        borrowed_for: None,
    }
}
