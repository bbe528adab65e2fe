//! What a migration's run may borrow: levers that make a load of many rows cheaper, for its time alone. Pure.
//!
//! In: the levers of the target's configuration, what may be pulled, the server as it is, the size of the load. Out: a
//! plan for each that may be borrowed, and of the others why not. Always holds: a value is one of the lever's own,
//! further than the present one, has passed every guardrail, and leaves the load its disk; a lever that is frozen,
//! rests, waits for a window, or takes a restart or a person's yes is left. That it helps is not said: nobody judges a
//! loan.

use super::{Memory, Permissions, Permit, guardrails};
use crate::model::{
    Activation, Lever, PgValue, Place, Plan, ServerState, Setting, SignalName, Symptom, TargetName, Unit,
};

/// How far a parameter is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toward {
    /// To the largest value that is allowed.
    Largest,
    /// Off, where the lever's values name that.
    Off,
}

/// A parameter that may be borrowed.
#[derive(Debug)]
struct Lent {
    parameter: &'static str,
    toward: Toward,
    /// What it does for a load.
    why: &'static str,
}

/// All of them, in the order in which they are pulled. Nothing that keeps data safe is among them.
const LENT: [Lent; 4] = [
    Lent {
        parameter: WAL,
        toward: Toward::Largest,
        why: "the WAL of a load would force one checkpoint after the other",
    },
    Lent {
        parameter: "checkpoint_timeout",
        toward: Toward::Largest,
        why: "each checkpoint has the pages written whole into the WAL once more",
    },
    Lent {
        parameter: MAINTENANCE,
        toward: Toward::Largest,
        why: "an index whose keys fit the memory is sorted without temporary files",
    },
    Lent {
        parameter: "autovacuum",
        toward: Toward::Off,
        why: "tables that are being loaded need no cleaning yet",
    },
];

const WAL: &str = "max_wal_size";
const MAINTENANCE: &str = "maintenance_work_mem";
/// What the guardrails call the disk's free space, too.
const FREE_DISK: &str = "data_disk_free_bytes";
/// So many times the rows' bytes does a load take of the disk: its indexes come on top.
const WITH_INDEXES: f64 = 2.0;
/// So much of Postgres' memory may the builders of indexes take together.
const BUILDERS_SHARE: f64 = 0.25;

/// What loans are decided from.
#[derive(Debug, Clone, Copy)]
pub struct Lending<'a> {
    /// The migration's run.
    pub run: &'a str,
    /// The workload.
    pub target: &'a TargetName,
    /// Every lever, its place resolved.
    pub levers: &'a [Lever],
    /// What may be done.
    pub permissions: &'a Permissions,
    /// What must be respected.
    pub memory: &'a Memory,
    /// The server as it is.
    pub server: &'a ServerState,
    /// Indexes that the run builds at once.
    pub builders: usize,
    /// Bytes of all rows that the run moves, as the source has them.
    pub load_bytes: u64,
}

/// What may be borrowed.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Loans {
    /// One for each loan, in the order in which they are to be pulled.
    pub plans: Vec<Plan>,
    /// Parameters that are left, each with the reason.
    pub left: Vec<(String, String)>,
}

impl Lending<'_> {
    /// What may be borrowed now.
    pub fn loans(&self) -> Loans {
        let mut loans = Loans::default();
        for lent in &LENT {
            match self.loan(lent) {
                Ok(plan) => loans.plans.push(plan),
                Err(why) => loans.left.push((lent.parameter.to_owned(), why)),
            }
        }
        loans
    }

    fn loan(&self, lent: &Lent) -> Result<Plan, String> {
        let of_the_server = |lever: &&Lever| {
            let written = matches!(lever.place, Place::PostgresqlConf(_) | Place::AlterSystem);
            written && lever.parameter == lent.parameter
        };
        let lever = self.levers.iter().find(of_the_server).ok_or("levers.yaml has no lever for it")?;
        self.may_be_pulled(lever)?;
        let setting = self.server.settings.get(lent.parameter).ok_or("this server has no such parameter")?;
        if setting.needs_restart() {
            return Err("it takes a restart".to_owned());
        }
        let present = PgValue::parse(&setting.value, setting).map_err(|error| error.to_string())?;
        let to = self.value(lent, lever, setting, &present)?;
        Ok(Plan {
            target: self.target.clone(),
            symptom: Symptom::new(format!("migration {}", self.run)),
            signal: SignalName::new("none"),
            unit: Unit::Count,
            goal_from: 0.0,
            limit: 0.0,
            lever: lever.name.clone(),
            tier: lever.tier,
            parameter: lever.parameter.clone(),
            place: lever.place.clone(),
            from: Some(present.show(setting)),
            to,
            activation: Activation::Reload,
            spans_checkpoints: false,
            verify_query: None,
            reason: format!(
                "The migration's run {} borrows it, and gives it back when it has ended: {}. It is not judged.",
                self.run, lent.why
            ),
            passed_over: vec![],
            gives_back: None,
            needs_approval: false,
            borrowed_for: Some(self.run.to_owned()),
        })
    }

    fn may_be_pulled(&self, lever: &Lever) -> Result<(), String> {
        if let Some(why) = &self.memory.halted {
            return Err(why.clone());
        }
        if let Some(why) = self.memory.frozen.get(&lever.name) {
            return Err(format!("frozen: {why}; `leverd thaw {}` gives it back", lever.name));
        }
        if let Some((until, why)) = self.memory.quarantined.get(&lever.name) {
            let until = until.format("%Y-%m-%d %H:%M UTC");
            return Err(format!("in quarantine until {until}: {why}"));
        }
        match self.permissions.of(lever.tier) {
            Permit::Free => self.permissions.now.clone(),
            Permit::AfterApproval => Err(format!(
                "the policy for the {} tier asks for a person's yes, and a run waits for none",
                lever.tier
            )),
            Permit::Never => Err(format!("the policy for the {} tier is shadow", lever.tier)),
        }
    }

    /// The furthest value that is allowed; the reason of the mildest where none is.
    fn value(
        &self,
        lent: &Lent,
        lever: &Lever,
        setting: &Setting,
        present: &PgValue,
    ) -> Result<String, String> {
        let mut refusal = None;
        let mut values = further(lent.toward, lever, setting, present);
        if lent.parameter == WAL && !self.server.facts.contains_key(FREE_DISK) {
            // Nobody knows how much WAL the disk holds: one step, as a trial would take it.
            let last = values.len().saturating_sub(1);
            values = values.split_off(last);
        }
        for to in values {
            let change = guardrails::Change { parameter: lent.parameter, to, place: &lever.place };
            let checked = guardrails::check(change, self.server)
                .and_then(|()| self.leaves_memory(lent.parameter, to, setting))
                .and_then(|()| self.leaves_disk(lent.parameter, to, setting));
            match checked {
                Ok(()) => return Ok(to.to_owned()),
                Err(why) => refusal = Some(why),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            let values = lever.values.join(", ");
            format!(
                "it is {}, and its recommended values ({values}) hold nothing further",
                present.show(setting)
            )
        }))
    }

    /// The guardrails count what the server's own workers may take; builders of indexes come on top.
    fn leaves_memory(&self, parameter: &str, to: &str, setting: &Setting) -> Result<(), String> {
        if parameter != MAINTENANCE {
            return Ok(());
        }
        let budget = self.server.memory_budget_bytes;
        let budget = budget.ok_or("the memory that Postgres may use is not known (`target.memory`)")? as f64;
        let each = PgValue::parse(to, setting).ok().and_then(|value| value.bytes(setting));
        let all = each.unwrap_or(f64::INFINITY) * self.builders as f64;
        if all <= budget * BUILDERS_SHARE {
            return Ok(());
        }
        Err(format!(
            "{} builders of indexes with {to} each would take more than a quarter of Postgres' memory",
            self.builders
        ))
    }

    /// The guardrails see the disk as it is before the load: WAL may have half of what the load leaves free.
    fn leaves_disk(&self, parameter: &str, to: &str, setting: &Setting) -> Result<(), String> {
        let Some(free) = self.server.facts.get(FREE_DISK).filter(|_| parameter == WAL) else { return Ok(()) };
        let left = free - self.load_bytes as f64 * WITH_INDEXES;
        let wal = PgValue::parse(to, setting).ok().and_then(|value| value.bytes(setting));
        if wal.unwrap_or(f64::INFINITY) <= left / 2.0 {
            return Ok(());
        }
        Err(format!("{to} of WAL would be more than half of the disk that the load leaves free"))
    }
}

/// The lever's values beyond the present one, the furthest first.
fn further<'a>(toward: Toward, lever: &'a Lever, setting: &Setting, present: &PgValue) -> Vec<&'a str> {
    let parsed = |raw: &str| PgValue::parse(raw, setting).ok();
    match (toward, present) {
        (Toward::Off, PgValue::Bool(true)) => {
            let is_off = |raw: &&str| parsed(raw) == Some(PgValue::Bool(false));
            lever.values.iter().map(String::as_str).filter(is_off).collect()
        }
        (Toward::Largest, PgValue::Number(present)) => {
            let numbers = lever.values.iter().filter_map(|raw| Some((parsed(raw)?.number()?, raw.as_str())));
            let mut larger: Vec<(f64, &str)> = numbers.filter(|(number, _)| number > present).collect();
            larger.sort_by(|a, b| b.0.total_cmp(&a.0));
            larger.into_iter().map(|(_, raw)| raw).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Context, CostTier, SettingType, Sourced};
    use chrono::DateTime;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn setting(name: &str, value: &str, unit: Option<&str>, vartype: SettingType) -> Setting {
        Setting {
            name: name.into(),
            value: value.into(),
            unit: unit.map(str::to_owned),
            vartype,
            context: Context::Sighup,
            min: Some(0.0),
            max: Some(2_147_483_647.0),
            enumvals: vec![],
            sourced: Sourced { source: "default".into(), file: None, line: None },
            reset_value: value.into(),
            boot_value: value.into(),
            pending_restart: false,
        }
    }

    fn lever(name: &str, values: &[&str]) -> Lever {
        Lever {
            name: name.into(),
            description: String::new(),
            tier: CostTier::Low,
            symptoms: vec![],
            parameter: name.into(),
            place: Place::PostgresqlConf("/data/postgresql.conf".into()),
            default_value: None,
            values: values.iter().map(|&value| value.to_owned()).collect(),
            impact: None,
            risk: None,
            evidence: vec![],
            spans_checkpoints: true,
            verify_query: None,
            line: 3,
        }
    }

    /// A server with 8 GB of memory and 20 GB of free disk, whose levers are those that are shipped.
    struct World {
        target: TargetName,
        levers: Vec<Lever>,
        permissions: Permissions,
        memory: Memory,
        server: ServerState,
        load_bytes: u64,
    }

    impl World {
        fn new() -> Self {
            let settings = [
                setting("max_wal_size", "1024", Some("MB"), SettingType::Integer),
                setting("checkpoint_timeout", "300", Some("s"), SettingType::Integer),
                setting("maintenance_work_mem", "65536", Some("kB"), SettingType::Integer),
                setting("autovacuum", "on", None, SettingType::Bool),
                setting("autovacuum_max_workers", "3", None, SettingType::Integer),
            ];
            Self {
                target: "shop".into(),
                levers: vec![
                    lever("checkpoint_timeout", &["1min", "5min", "15min", "30min"]),
                    lever("max_wal_size", &["1GB", "2GB", "8GB", "16GB"]),
                    lever("maintenance_work_mem", &["128MB", "256MB", "512MB"]),
                    lever("autovacuum", &["on"]),
                ],
                permissions: Permissions {
                    low: Permit::Free,
                    medium: Permit::Free,
                    high: Permit::Never,
                    restart: Ok(Permit::Free),
                    now: Ok(()),
                },
                memory: Memory::default(),
                server: ServerState {
                    version_num: 150_018,
                    system_identifier: 7,
                    started_at: DateTime::UNIX_EPOCH,
                    in_recovery: false,
                    config_file: None,
                    data_directory: None,
                    settings: settings.into_iter().map(|one| (one.name.clone(), one)).collect(),
                    file_errors: vec![],
                    role_or_database_settings: BTreeMap::new(),
                    facts: BTreeMap::from([(
                        "data_disk_free_bytes".to_owned(),
                        20.0 * 1024.0 * 1024.0 * 1024.0,
                    )]),
                    memory_budget_bytes: Some(8 << 30),
                },
                load_bytes: 0,
            }
        }

        fn loans(&self) -> Loans {
            let lending = Lending {
                run: "r1",
                target: &self.target,
                levers: &self.levers,
                permissions: &self.permissions,
                memory: &self.memory,
                server: &self.server,
                builders: 4,
                load_bytes: self.load_bytes,
            };
            lending.loans()
        }

        fn values(&self) -> Vec<String> {
            self.loans().plans.iter().map(|plan| format!("{}={}", plan.parameter, plan.to)).collect()
        }

        fn why_left(&self, parameter: &str) -> String {
            let left = self.loans().left;
            let found = left.into_iter().find(|(name, _)| name == parameter);
            found.unwrap_or_else(|| panic!("{parameter} is not left")).1
        }
    }

    #[test]
    fn the_largest_value_that_is_allowed_is_borrowed() {
        let world = World::new();
        // 16 GB are more than half of the free disk.
        assert_eq!(
            world.values(),
            ["max_wal_size=8GB", "checkpoint_timeout=30min", "maintenance_work_mem=512MB"]
        );
        let loans = world.loans();
        let plan = &loans.plans[0];
        assert_eq!((plan.from.as_deref(), plan.activation), (Some("1GB"), Activation::Reload));
        assert_eq!((plan.borrowed_for.as_deref(), plan.spans_checkpoints), (Some("r1"), false));
        assert_eq!(plan.symptom.as_str(), "migration r1");
        assert_eq!(
            world.why_left("autovacuum"),
            "it is on, and its recommended values (on) hold nothing further"
        );
    }

    #[test]
    fn autovacuum_rests_only_where_its_lever_says_so() {
        let mut world = World::new();
        world.levers[3] = lever("autovacuum", &["on", "off"]);
        assert_eq!(world.values()[3], "autovacuum=off");
        let off = setting("autovacuum", "off", None, SettingType::Bool);
        world.server.settings.insert("autovacuum".to_owned(), off);
        assert!(world.why_left("autovacuum").starts_with("it is off, and"));
    }

    #[test]
    fn builders_of_indexes_leave_memory_to_the_others() {
        let mut world = World::new();
        world.server.memory_budget_bytes = Some(4 << 30);
        assert_eq!(world.values()[2], "maintenance_work_mem=256MB");
        world.server.memory_budget_bytes = Some(1 << 30);
        assert!(world.why_left("maintenance_work_mem").starts_with("4 builders of indexes with 128MB"));
        world.server.memory_budget_bytes = None;
        assert!(world.why_left("maintenance_work_mem").contains("is not known"));
    }

    #[test]
    fn wal_leaves_the_disk_to_the_load() {
        let mut world = World::new();
        // With indexes it takes 10 of the 20 GB that are free; half of the rest is too little for 8.
        world.load_bytes = 5 << 30;
        assert_eq!(world.values()[0], "max_wal_size=2GB");
        world.load_bytes = 9 << 30;
        assert!(world.why_left("max_wal_size").starts_with("2GB of WAL would be more than half of the disk"));
        assert_eq!(world.values(), ["checkpoint_timeout=30min", "maintenance_work_mem=512MB"]);
        // Of a disk that nobody knows one step is taken, and no leap.
        world.server.facts.clear();
        assert_eq!(world.values()[0], "max_wal_size=2GB");
    }

    #[test]
    fn what_may_not_be_pulled_is_left() {
        let mut world = World::new();
        world.memory.frozen.insert("max_wal_size".into(), "a person edited it".to_owned());
        assert!(world.why_left("max_wal_size").starts_with("frozen: a person edited it"));
        let rest = (DateTime::UNIX_EPOCH, "no gain".to_owned());
        world.memory.quarantined.insert("checkpoint_timeout".into(), rest);
        assert!(world.why_left("checkpoint_timeout").starts_with("in quarantine until 1970-01-01"));
        world.permissions.low = Permit::AfterApproval;
        assert!(world.why_left("maintenance_work_mem").contains("a person's yes"));
        world.permissions.low = Permit::Free;
        world.permissions.now = Err("no maintenance window is open".to_owned());
        assert_eq!(world.why_left("maintenance_work_mem"), "no maintenance window is open");
        world.memory.halted = Some("trial 3 needs a person".to_owned());
        assert_eq!(world.why_left("maintenance_work_mem"), "trial 3 needs a person");
        world.levers.clear();
        assert_eq!(world.why_left("max_wal_size"), "levers.yaml has no lever for it");
    }

    #[test]
    fn what_is_masked_or_takes_a_restart_is_left() {
        let mut world = World::new();
        let masked = world.server.settings.get_mut("max_wal_size").unwrap();
        masked.sourced.source = "command line".to_owned();
        assert!(world.why_left("max_wal_size").contains("the server's command line"));
        let waits = world.server.settings.get_mut("checkpoint_timeout").unwrap();
        waits.context = Context::Postmaster;
        assert_eq!(world.why_left("checkpoint_timeout"), "it takes a restart");
        assert_eq!(world.values(), ["maintenance_work_mem=512MB"]);
    }

    #[test]
    fn nothing_that_keeps_data_safe_is_lent() {
        for lent in &LENT {
            assert!(!guardrails::NEVER.contains(&lent.parameter), "{}", lent.parameter);
        }
    }

    proptest! {
        /// Whatever stands there and whatever is recommended: a loan is one of the values, and larger.
        #[test]
        fn a_loan_is_a_larger_value_of_the_lever(
            present in 2_u32..100_000, values in prop::collection::vec(2_u32..100_000, 0..6),
        ) {
            let mut world = World::new();
            let now = setting("max_wal_size", &present.to_string(), Some("MB"), SettingType::Integer);
            world.server.settings.insert("max_wal_size".to_owned(), now);
            world.levers[1].values = values.iter().map(|value| format!("{value}MB")).collect();
            let loans = world.loans();
            let loan = loans.plans.iter().find(|plan| plan.parameter == "max_wal_size");
            if let Some(plan) = loan {
                let to: u32 = plan.to.trim_end_matches("MB").parse().unwrap();
                prop_assert!(values.contains(&to) && to > present);
                // A safe value, of which half of the free disk has room.
                prop_assert!((64..=10 * 1024).contains(&to));
            } else {
                let fits = |value: &u32| *value > present && (64..=10 * 1024).contains(value);
                prop_assert!(!values.iter().any(fits));
            }
        }
    }
}
