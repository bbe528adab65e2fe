//! A plan that waits for a person: nothing is touched before the yes, a no rests the lever, and a yes is carried out.

use crate::support::leverd::both;
use crate::support::rig::{Effect, Rig, reload_lever};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_mins(1);

fn rig(effect: Effect) -> Rig {
    let rig = Rig::start(&reload_lever(), effect, 8);
    let config = rig.project.read("config/leverd.yaml");
    rig.project.write("config/leverd.yaml", &format!("{config}policy: {{ low: approve }}\n"));
    rig
}

#[test]
fn a_yes_is_carried_out_and_nothing_is_touched_before() {
    let rig = rig(Effect::Helps);
    let before = rig.conf();
    let asked = rig.tune("");
    assert!(both(&asked).contains("waits for a person"), "{}", both(&asked));
    assert!(both(&asked).contains("leverd approve 1"), "{}", both(&asked));
    assert_eq!(rig.conf(), before);
    assert_eq!(rig.first_trial().unwrap()["phase"], "await_approval");
    let status = rig.project.leverd(&["status"], MINUTE);
    assert!(both(&status).contains("awaiting approval"), "{}", both(&status));
    // It waits, however often it is looked at.
    let again = rig.tune("");
    assert_eq!((rig.conf(), rig.trials().len()), (before, 1), "{}", both(&again));

    let unknown = rig.project.leverd(&["approve", "7"], MINUTE);
    assert!(!unknown.status.success() && both(&unknown).contains("trial 7"), "{}", both(&unknown));
    let yes = rig.project.leverd(&["approve", "1", "--why", "tested on staging"], MINUTE);
    assert!(yes.status.success(), "{}", both(&yes));
    let twice = rig.project.leverd(&["reject"], MINUTE);
    assert!(both(&twice).contains("has its answer already"), "{}", both(&twice));

    let done = rig.tune("");
    assert!(done.status.success(), "{}", both(&done));
    assert_eq!(rig.first_trial().unwrap()["phase"], "kept", "{}", both(&done));
    assert!(String::from_utf8(rig.conf()).unwrap().contains("640MB"));
    let trail = rig.project.leverd(&["history", "1"], MINUTE);
    assert!(both(&trail).contains("approved by a person"), "{}", both(&trail));
}

#[test]
fn a_no_rests_the_lever() {
    let rig = rig(Effect::Helps);
    let before = rig.conf();
    rig.tune("");
    let no = rig.project.leverd(&["reject", "--why", "not before the release"], MINUTE);
    assert!(no.status.success(), "{}", both(&no));
    rig.tune("");
    let trial = rig.first_trial().unwrap();
    assert_eq!(trial["phase"], "aborted");
    assert!(trial["ending"].as_str().unwrap().contains("not before the release"), "{trial}");
    let plan = rig.project.leverd(&["plan"], MINUTE);
    assert!(both(&plan).contains("in quarantine"), "{}", both(&plan));
    assert_eq!((rig.conf(), rig.trials().len()), (before, 1));
}

#[test]
fn a_plan_that_is_not_needed_any_more_is_withdrawn() {
    let rig = rig(Effect::AsDemanded);
    rig.tune("");
    assert_eq!(rig.first_trial().unwrap()["phase"], "await_approval");
    rig.demand(30.0, 30.0);
    let until = Instant::now() + MINUTE;
    while rig.first_trial().unwrap()["phase"] == "await_approval" {
        assert!(Instant::now() < until, "it still waits");
        rig.tune("");
    }
    let trial = rig.first_trial().unwrap();
    assert!(trial["ending"].as_str().unwrap().contains("every level is met"), "{trial}");
}
