//! Where the history is looked for, and what of a run gets into it.

use super::super::course::Course;
use super::super::course::tests::view;
use super::super::fixtures;
use super::*;
use crate::ledger::fixtures::migration;
use crate::migrate::adjust::{Action, Confidence, Moment, Parameter, Settings, Stage};
use crate::migrate::brain::learner::{Context, Features, Pressure};
use crate::migrate::run::{FailedStatement, TableReport};
use crate::model::Verdict;
use tempfile::TempDir;

/// A folder with these files.
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn why_not(place: &Place) -> &str {
    match place {
        Place::Nowhere(why) => why,
        Place::At(path) => panic!("it is at {}", path.display()),
    }
}

const LEVERS: &str = include_str!("../../../../config/levers.yaml");

#[test]
fn a_folder_that_is_no_project_has_no_history_unless_a_ledger_is_named() {
    let nothing = folder(&[]);
    let here = nothing.path();
    assert!(why_not(&place(None, None, here)).starts_with("this folder is no project"));
    assert_eq!(place(Some(Path::new("kept.db")), None, here), Place::At(here.join("kept.db")));
    let elsewhere = Path::new("/srv/kept.db");
    assert_eq!(place(Some(elsewhere), None, here), Place::At(elsewhere.to_owned()));
    assert!(here.read_dir().unwrap().next().is_none(), "nothing was made");
}

#[test]
fn a_project_without_a_target_has_the_usual_ledger() {
    for files in [
        &[("config/leverd.yaml", "environment: development\n")][..],
        &[("config/migration.yaml", "")],
        &[(".leverd/lock", "")],
        // A sandbox's ledger goes with it.
        &[(".leverd/sandbox/leverd.yaml", "target: {}\n")],
    ] {
        let project = folder(files);
        let here = project.path();
        assert_eq!(place(None, None, here), Place::At(here.join(".leverd/ledger.db")), "{files:?}");
    }
}

#[test]
fn the_projects_leverd_yaml_names_the_ledger() {
    let text = "target: {dsn: 'postgresql://leverd@localhost/capsim'}\npaths: {ledger: kept/here.db}\n";
    let project = folder(&[("config/leverd.yaml", text), ("config/levers.yaml", LEVERS)]);
    let here = project.path();
    assert_eq!(place(None, None, here), Place::At(here.join("kept/here.db")));
    let other = folder(&[]);
    let of_the_target = here.join("config/leverd.yaml");
    assert_eq!(place(None, Some(&of_the_target), other.path()), Place::At(here.join("kept/here.db")));
}

#[test]
fn a_leverd_yaml_that_cannot_be_used_names_no_ledger() {
    for text in ["target: [", "target: {dsn: 'postgresql://leverd@localhost/capsim'}\nnonsense: 1\n"] {
        let project = folder(&[("config/leverd.yaml", text), ("config/levers.yaml", LEVERS)]);
        let place = place(None, None, project.path());
        let why = why_not(&place);
        assert!(why.contains("leverd.yaml") && why.contains("`--ledger FILE` names one"), "{why}");
        assert!(!why.contains('\n'), "{why}");
    }
}

fn settings() -> Settings {
    Settings::new(4, 50_000, 2, 8).unwrap()
}

fn adjustment() -> Adjustment {
    let context = Context {
        features: Features::default(),
        stage: Stage::Copying,
        settings: settings(),
        pressure: Pressure::default(),
    };
    Adjustment {
        number: 1,
        kind: Kind::Trial,
        action: Action::ScaleUp,
        from: settings(),
        to: settings().with(Parameter::Writers, 6).unwrap(),
        by: Some(Brain::Rules),
        confidence: Some(Confidence::Medium),
        reasoning: "there\nis room".to_owned(),
        asked_at: Moment(Duration::from_secs(60)),
        applied_at: None,
        ended_at: Some(Moment(Duration::from_secs(90))),
        verdict: Some(Verdict::Kept),
        outcome: "faster".to_owned(),
        throughput_percent: Some(12.5),
        context: Some(context),
    }
}

fn summary() -> Summary {
    Summary {
        decider: "rules".to_owned(),
        turns: 3,
        calls: 0,
        cached: 0,
        failures: 0,
        tokens_in: 0,
        tokens_out: 0,
        dollars: None,
        unpriced: Vec::new(),
        breaker_openings: 0,
        trial_seconds: 30.0,
        began_with: settings(),
        ended_with: adjustment().to,
        adjustments: vec![adjustment()],
        features: Features::default(),
    }
}

/// A run whose rows were copied for so many seconds.
fn watched(seconds: u64) -> Watched {
    let mut course = Course::default();
    course.tick(Duration::ZERO, view(Stage::Copying, 0));
    let elapsed = Duration::from_secs(seconds);
    let last = course.tick(elapsed, view(Stage::Indexing, 1_000_000));
    Watched { last, course, elapsed }
}

fn report(rejected: u64) -> Report {
    let table = TableReport {
        source: "shop.orders".to_owned(),
        target: "public.orders".to_owned(),
        rows: 1_000_000,
        rejected,
        chunks: 20,
    };
    Report { run: "r1".to_owned(), tables: vec![table], adjusted: Some(summary()), ..Report::default() }
}

fn row(ended: Result<&Report, &MigrateError>, summed_up: Option<&Summary>) -> Option<Migration> {
    let progress = Progress::new(settings());
    progress.name("r1");
    if let Some(summary) = summed_up {
        progress.sum_up(summary);
    }
    let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
    let (config, watched) = (fixtures::config(""), watched(100));
    let done = Done {
        config: &config,
        progress: &progress,
        watched: &watched,
        ended,
        resumes: false,
        began_at: at(0),
        ended_at: at(120),
    };
    done.row()
}

#[test]
fn a_run_that_came_to_its_end_teaches() {
    let report = report(0);
    let row = row(Ok(&report), Some(&summary())).unwrap();
    let complete = Some(MigrationEnding::Complete);
    assert_eq!((row.run.as_str(), row.ending, row.why.as_deref()), ("r1", complete, None));
    assert_eq!((row.rows, row.rejected, row.copying_seconds), (1_000_000, 0, 100.0));
    // The view has 100 bytes a row.
    assert_eq!(row.bytes_per_second, Some(1_000_000.0));
    let adjusted = &row.adjustments[0];
    assert_eq!((adjusted.setting.as_str(), adjusted.before, adjusted.after), ("writers", 4, 6));
    assert_eq!((adjusted.by.as_str(), adjusted.reasoning.as_str()), ("rules", "there is room"));
    assert_eq!((adjusted.verdict, adjusted.change), (Some(Verdict::Kept), Some(0.125)));
    let trials: Vec<String> = row.adjustments.iter().filter_map(|each| each.experience.clone()).collect();
    let lessons = Lessons { trials, runs: row.past.iter().cloned().collect() };
    let (records, strange) = read(&lessons);
    assert_eq!(strange, 0);
    let own: Vec<_> = summary().adjustments.iter().filter_map(|each| each.experience("r1")).collect();
    assert_eq!(records.trials, own);
    assert_eq!(records.runs, [summary().past_run("r1", Some(1_000_000.0), 100.0)]);
    let text = format!("{row:?}");
    assert!(!text.contains("hunter2") && text.contains("postgres://ann@old.example:5432/shop"), "{text}");
}

#[test]
fn a_run_that_gave_way_to_its_targets_levels_is_no_example() {
    let report = report(0);
    let mut summary = summary();
    let yielded = Adjustment {
        number: 2,
        kind: Kind::Yielded,
        from: summary.ended_with,
        to: summary.ended_with.with(Parameter::Writers, 3).unwrap(),
        by: None,
        verdict: None,
        ..adjustment()
    };
    summary.ended_with = yielded.to;
    summary.adjustments.push(yielded);
    let row = row(Ok(&report), Some(&summary)).unwrap();
    assert_eq!((row.ending, row.past, row.adjustments.len()), (Some(MigrationEnding::Complete), None, 2));
    let taught: Vec<bool> = row.adjustments.iter().map(|each| each.experience.is_some()).collect();
    assert_eq!(taught, [true, false], "the trial before it was one all the same");
}

#[test]
fn a_run_that_failed_is_kept_with_what_it_tried() {
    let gone = MigrateError::Moving("the target went\naway".to_owned());
    let failed = row(Err(&gone), Some(&summary())).unwrap();
    assert_eq!(failed.ending, Some(MigrationEnding::Failed));
    assert_eq!(failed.why.as_deref(), Some("the target went away"));
    assert_eq!((failed.rows, &failed.past), (1_000_000, &None));
    let told: serde_json::Value = serde_json::from_str(failed.report.as_deref().unwrap()).unwrap();
    assert_eq!(told["adjusted"]["calls"], summary().calls, "its bill stays");
    assert_eq!(failed.adjustments.len(), 1);
    let stopped = row(Err(&MigrateError::Stopped), None).unwrap();
    assert_eq!((stopped.ending, stopped.adjustments.len()), (Some(MigrationEnding::Interrupted), 0));
    assert_eq!(stopped.report, None, "no row was moved, so nothing was adjusted");
}

#[test]
fn rows_and_statements_that_are_missing_are_told() {
    let mut report = report(3);
    report.failed.push(FailedStatement {
        describes: "index by_date of public.orders".to_owned(),
        sql: "CREATE INDEX by_date ON public.orders (day)".to_owned(),
        why: "the disk is full".to_owned(),
    });
    let row = row(Ok(&report), Some(&summary())).unwrap();
    assert_eq!(row.ending, Some(MigrationEnding::Incomplete));
    assert_eq!(row.why.as_deref(), Some("the target refused 3 rows, 1 statement failed"));
    assert!(row.past.is_some(), "its rows were moved to the end");
}

#[test]
fn what_never_had_its_target_is_no_run() {
    let config = fixtures::config("");
    let progress = Progress::new(settings());
    let watched = watched(100);
    let error = MigrateError::NothingOpen { schema: "public".to_owned() };
    let (began_at, ended_at) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
    let done = Done {
        config: &config,
        progress: &progress,
        watched: &watched,
        ended: Err(&error),
        resumes: true,
        began_at,
        ended_at,
    };
    assert_eq!(done.row(), None);
}

#[test]
fn a_record_of_another_form_is_left_out_and_counted() {
    let own = serde_json::to_string(&summary().past_run("r1", None, 60.0)).unwrap();
    let strange = own.replace("\"writers\":6", "\"writers\":99");
    let lessons = Lessons { trials: vec!["{}".to_owned()], runs: vec![own, strange] };
    let (records, count) = read(&lessons);
    assert_eq!((records.trials.len(), records.runs.len(), count), (0, 1, 2));
}

/// A run that has its lease, and waits until it may go on.
async fn leased(beside: Beside) {
    let (pulled, answer) = oneshot::channel();
    beside.leased.send(Leased { run: "r1".to_owned(), bytes: 7, pulled }).unwrap();
    // Dropped or used.
    let _ = answer.await;
}

fn kept(path: &Path) -> Vec<Migration> {
    Ledger::open_existing(path).unwrap().migrations(9).unwrap()
}

#[tokio::test]
async fn a_run_is_there_before_it_goes_on_and_is_completed_at_its_end() {
    let project = folder(&[]);
    let path = project.path().join("ledger.db");
    let config = fixtures::config("");
    let history = History::open(Some(&path), &config).await;
    let (beside, awaited) = Awaited::before(None, &config, false, DateTime::UNIX_EPOCH);
    let work = async {
        assert!(!path.exists(), "it has no lease yet");
        leased(beside).await;
        kept(&path)
    };
    let rows = history.around(awaited, work).await;
    assert_eq!((rows.len(), rows[0].run.as_str(), rows[0].ending), (1, "r1", None));
    let text = format!("{rows:?}");
    assert!(!text.contains("hunter2") && text.contains("postgres://ann@old.example:5432/shop"), "{text}");

    let report = report(0);
    history.keep(row(Ok(&report), Some(&summary()))).await;
    let done = kept(&path);
    assert_eq!((done.len(), done[0].id), (1, rows[0].id));
    assert_eq!(done[0].ending, Some(MigrationEnding::Complete));
    let next = History::open(Some(&path), &config).await;
    assert_eq!((next.records().runs.len(), next.records().trials.len()), (1, 1));
}

#[tokio::test]
async fn a_run_that_was_killed_is_there_and_teaches_nothing() {
    let project = folder(&[]);
    let path = project.path().join("ledger.db");
    let config = fixtures::config("");
    for resumes in [false, true] {
        let history = History::open(Some(&path), &config).await;
        let (beside, awaited) = Awaited::before(None, &config, resumes, DateTime::UNIX_EPOCH);
        history.around(awaited, leased(beside)).await;
    }
    let endings: Vec<_> = kept(&path).into_iter().map(|row| (row.resumed, row.ending)).collect();
    assert_eq!(endings, [(true, None), (false, Some(MigrationEnding::Killed))]);
    assert_eq!(History::open(Some(&path), &config).await.records(), &Records::default());
}

#[tokio::test]
async fn who_pulls_levers_hears_of_a_run_once_it_is_written_down() {
    let project = folder(&[]);
    let path = project.path().join("ledger.db");
    let config = fixtures::config("");
    let history = History::open(Some(&path), &config).await;
    let before = |leased: oneshot::Sender<Leased>| {
        Awaited::before(Some(Beside { leased, levels: None }), &config, false, DateTime::UNIX_EPOCH)
    };
    // It got no lease.
    let (begun, hears) = oneshot::channel();
    let (beside, awaited) = before(begun);
    history.around(awaited, async { drop(beside) }).await;
    assert!(hears.await.is_err() && !path.exists());

    let (begun, hears) = oneshot::channel();
    let (beside, awaited) = before(begun);
    let pulling = async {
        let told = hears.await.unwrap();
        assert_eq!((told.run.as_str(), told.bytes, kept(&path).len()), ("r1", 7, 1));
        told.pulled.send(()).unwrap();
    };
    tokio::join!(history.around(awaited, leased(beside)), pulling);

    // It was stopped, and waits for nobody.
    let (begun, hears) = oneshot::channel();
    let (beside, awaited) = before(begun);
    let (pulled, answer) = oneshot::channel();
    drop(answer);
    let stopped = async { beside.leased.send(Leased { run: "r1".to_owned(), bytes: 7, pulled }).unwrap() };
    history.around(awaited, stopped).await;
    assert!(hears.await.is_err());
}

#[tokio::test]
async fn a_ledger_that_cannot_be_used_is_no_obstacle() {
    let project = folder(&[("broken.db", "no database")]);
    let config = fixtures::config("");
    let broken = History::open(Some(&project.path().join("broken.db")), &config).await;
    assert_eq!(broken.records(), &Records::default());
    let (beside, awaited) = Awaited::before(None, &config, false, DateTime::UNIX_EPOCH);
    broken.around(awaited, leased(beside)).await;
    broken.keep(Some(migration("r1"))).await;
    assert_eq!(std::fs::read(project.path().join("broken.db")).unwrap(), b"no database");

    let path = project.path().join("new/ledger.db");
    let first = History::open(Some(&path), &config).await;
    first.keep(None).await;
    assert!(!path.exists(), "a run that never began leaves nothing");
    let past = serde_json::to_string(&summary().past_run("r1", Some(5e7), 60.0)).unwrap();
    let known = Migration { past: Some(past), adjustments: Vec::new(), ..migration("r1") };
    first.keep(Some(known)).await;
    let second = History::open(Some(&path), &config).await;
    assert_eq!(second.records().runs, [summary().past_run("r1", Some(5e7), 60.0)]);
}
