//! Levers of a container on a real engine: moved, read back from the engine and from the cgroup, undone exactly; the
//! container restarted; its mounted configuration edited; the engine away.

use crate::support::change::{plan, target};
use crate::support::docker::{PostgresContainer, PrivateDocker};
use leverd::actuate::{ActuateError, Actuator};
use leverd::config::{ContainerConfig, EngineSocket, RestartMethod, Target};
use leverd::docker::{DockerError, Engine};
use leverd::model::{Activation, Arm, Found, Intent, LimitKind, Place, Plan};
use leverd::postgres::{Connection, connect};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);
const GIB: u64 = 1 << 30;

struct Rig<'a> {
    container: &'a PostgresContainer<'a>,
    actuator: Actuator,
    engine: Engine,
    backups: tempfile::TempDir,
}

impl<'a> Rig<'a> {
    async fn new(docker: &PrivateDocker, container: &'a PostgresContainer<'a>) -> Self {
        let config =
            ContainerConfig { name: container.name.clone(), socket: EngineSocket::Path(docker.socket()) };
        let target = Target {
            container: Some(config.clone()),
            ..target(&container.dsn(), RestartMethod::Docker, None)
        };
        let rig = Self {
            container,
            actuator: Actuator::new(&target),
            engine: Engine::new(&config),
            backups: tempfile::tempdir().unwrap(),
        };
        let until = Instant::now() + TIMEOUT;
        while connect(&container.dsn(), TIMEOUT).await.is_err() {
            assert!(Instant::now() < until, "the container's Postgres does not answer:\n{}", container.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        rig
    }

    async fn connect(&self) -> Connection {
        connect(&self.container.dsn(), TIMEOUT).await.unwrap()
    }

    async fn show(&self, name: &str) -> String {
        self.connect().await.client().query_one(&format!("SHOW {name}"), &[]).await.unwrap().get(0)
    }

    async fn prepare(&self, plan: &Plan) -> Result<Intent, ActuateError> {
        self.actuator.prepare(plan, 0, &self.backups.path().join("20240115_103000"), None).await
    }

    async fn bring(&self, plan: &Plan, intent: &Intent, arm: Arm) -> Result<(), ActuateError> {
        let connection = self.connect().await;
        self.actuator.write(intent, arm, &plan.place, Some(connection.client())).await?;
        self.actuator.activate(plan.activation, Some(connection.client())).await?;
        let connection = self.connect().await;
        self.actuator.verify(plan, intent, arm, connection.client()).await
    }

    fn limits(&self) -> String {
        let host = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} \
                    {{.HostConfig.CpuQuota}}";
        self.container.inspect(host)
    }
}

fn limit(rig: &Rig<'_>, kind: LimitKind, from: &str, to: &str) -> Plan {
    let parameter = if kind == LimitKind::Memory { "mem_limit" } else { "cpus" };
    let place = Place::ContainerLimit { container: rig.container.name.clone(), kind };
    plan(place, parameter, from, to, Activation::AtOnce)
}

#[tokio::test(flavor = "multi_thread")]
async fn levers_of_a_container_on_a_real_engine() {
    let Some(docker) = PrivateDocker::start() else { return };
    memory_is_moved_with_its_swap(&docker).await;
    cores_are_moved_as_they_were_given(&docker).await;
    a_mounted_configuration_is_edited_where_it_stands(&docker).await;
    what_is_not_there_is_said(&docker).await;
    an_engine_that_went_away(&docker).await;
}

async fn memory_is_moved_with_its_swap(docker: &PrivateDocker) {
    let limits = ["--memory", "1g", "--memory-swap", "1g", "--cpus", "1.5"];
    let container = docker.postgres(&limits, "shared_buffers = 64MB", false);
    let rig = Rig::new(docker, &container).await;
    let before = rig.limits();
    let plan = limit(&rig, LimitKind::Memory, "1g", "1536m");
    assert!(rig.actuator.preview(&plan, None).await.unwrap().contains("--memory 1610612736"));
    let intent = rig.prepare(&plan).await.unwrap();
    assert_eq!(rig.limits(), before, "prepare touches nothing");
    let record = fs::read_to_string(intent.backup.as_ref().unwrap().with_file_name("README")).unwrap();
    assert!(
        record.contains(&format!("docker update --memory {GIB} --memory-swap {GIB} {}", container.name)),
        "{record}"
    );

    rig.bring(&plan, &intent, Arm::B).await.unwrap();
    assert_eq!(rig.limits(), "1610612736 1610612736 1500000000 0");
    let state = rig.engine.state().await.unwrap();
    assert_eq!(state.memory_limit_in_force, Some(1_610_612_736), "the cgroup holds it");
    assert!(state.memory_used.is_some_and(|used| used > 1 << 20), "{state:?}");
    assert!(state.host_memory > GIB && state.host_cpus > 0, "{state:?}");
    // Twice is once.
    rig.bring(&plan, &intent, Arm::B).await.unwrap();

    rig.bring(&plan, &intent, Arm::A).await.unwrap();
    assert_eq!(rig.limits(), before, "undone exactly");
    let pasted = rig.actuator.undo_commands(&plan, &intent);
    assert_eq!(pasted, [format!("docker update --memory {GIB} --memory-swap {GIB} {}", container.name)]);

    // Somebody else's hand.
    docker.docker(&["update", "--memory", "1200m", "--memory-swap", "1200m", &container.name]);
    let found = rig.actuator.look(&intent, &plan.place, None).await.unwrap();
    assert!(matches!(&found, Found::Neither(what) if what.contains("1200m")), "{found:?}");
    let error = rig.actuator.write(&intent, Arm::B, &plan.place, None).await.unwrap_err();
    assert!(matches!(error, ActuateError::Edited { .. }), "{error}");

    // Memory that is in use is not taken away.
    docker.docker(&["update", "--memory", "1536m", "--memory-swap", "1536m", &container.name]);
    let used = rig.engine.state().await.unwrap().memory_used.unwrap();
    let mut greedy = intent;
    let leverd::model::OldValue::Container(old) = &mut greedy.old else { panic!("{greedy:?}") };
    old.memory = i64::try_from(used).unwrap();
    old.memory_swap = old.memory;
    let error = rig.actuator.write(&greedy, Arm::A, &plan.place, None).await.unwrap_err();
    assert!(error.to_string().contains("the kernel would kill a process of Postgres"), "{error}");
}

async fn cores_are_moved_as_they_were_given(docker: &PrivateDocker) {
    for (options, before, after, in_words) in [
        (["--cpus", "1"], "0 0 1000000000 0", "0 0 1500000000 0", "--cpus 1"),
        (["--cpu-quota", "100000"], "0 0 0 100000", "0 0 0 150000", "--cpu-quota 100000"),
    ] {
        let container = docker.postgres(&options, "shared_buffers = 64MB", false);
        let rig = Rig::new(docker, &container).await;
        assert_eq!(rig.limits(), before);
        let plan = limit(&rig, LimitKind::Cpus, "1", "1.5");
        let intent = rig.prepare(&plan).await.unwrap();
        rig.bring(&plan, &intent, Arm::B).await.unwrap();
        assert_eq!(rig.limits(), after);
        assert_eq!(rig.engine.state().await.unwrap().cpu_limit_in_force, Some(1.5), "the cgroup holds it");
        rig.bring(&plan, &intent, Arm::A).await.unwrap();
        assert_eq!(rig.limits(), before);
        let pasted = rig.actuator.undo_commands(&plan, &intent);
        assert_eq!(pasted, [format!("docker update {in_words} {}", container.name)]);
        let none = limit(&rig, LimitKind::Memory, "", "1g");
        let error = rig.prepare(&none).await.unwrap_err();
        assert!(error.to_string().contains("has no such limit"), "{error}");
    }
}

async fn a_mounted_configuration_is_edited_where_it_stands(docker: &PrivateDocker) {
    for alone in [false, true] {
        let container = docker.postgres(&[], "work_mem = 4MB\nmax_connections = 20", alone);
        let rig = Rig::new(docker, &container).await;
        let before = fs::read(container.conf()).unwrap();
        for (parameter, from, to, activation) in [
            ("work_mem", "4MB", "16MB", Activation::Reload),
            ("max_connections", "20", "40", Activation::Restart),
        ] {
            let plan = plan(Place::PostgresqlConf(container.conf()), parameter, from, to, activation);
            let started = container.inspect("{{.State.StartedAt}}");
            let intent = rig.prepare(&plan).await.unwrap();
            assert_eq!(intent.in_place, alone);
            rig.bring(&plan, &intent, Arm::B).await.unwrap();
            assert_eq!(rig.show(parameter).await, to, "mounted alone: {alone}");
            let restarted = container.inspect("{{.State.StartedAt}}") != started;
            assert_eq!(restarted, activation == Activation::Restart);
            rig.bring(&plan, &intent, Arm::A).await.unwrap();
            assert_eq!(rig.show(parameter).await, from);
            assert_eq!(fs::read(container.conf()).unwrap(), before, "undone to the byte");
            let undo = rig.actuator.undo_commands(&plan, &intent).join("\n");
            assert_eq!(undo.contains("cp "), alone, "{undo}");
            assert_eq!(undo.contains("docker restart"), activation == Activation::Restart, "{undo}");
        }
    }
}

async fn what_is_not_there_is_said(docker: &PrivateDocker) {
    let engine = |name: &str, socket: &Path| {
        Engine::new(&ContainerConfig { name: name.into(), socket: EngineSocket::Path(socket.to_owned()) })
    };
    let error = engine("nobody", &docker.socket()).state().await.unwrap_err();
    assert!(matches!(&error, DockerError::NoContainer { container, .. } if container == "nobody"), "{error}");
    assert!(error.to_string().contains("there is no container nobody at "), "{error}");
    let error = engine("x", Path::new("/nowhere/docker.sock")).state().await.unwrap_err();
    assert_eq!(error.to_string(), "no container engine answers: /nowhere/docker.sock is not there");
    assert!(error.hint().is_some());
}

async fn an_engine_that_went_away(docker: &PrivateDocker) {
    let container = docker.postgres(&["--cpus", "1"], "shared_buffers = 64MB", false);
    let rig = Rig::new(docker, &container).await;
    let plan = limit(&rig, LimitKind::Cpus, "1", "1.5");
    let intent = rig.prepare(&plan).await.unwrap();
    rig.bring(&plan, &intent, Arm::B).await.unwrap();
    docker.down();
    let error = rig.actuator.look(&intent, &plan.place, None).await.unwrap_err();
    assert!(matches!(error, ActuateError::Docker(_)), "{error}");
    rig.show("work_mem").await;
    // The undo waits for it; the second begins while the first has found nobody.
    let undone = rig.actuator.write(&intent, Arm::A, &plan.place, None);
    let engine_is_back = async { tokio::task::block_in_place(|| docker.up()) };
    let (undone, ()) = tokio::join!(undone, engine_is_back);
    undone.unwrap();
    assert_eq!(rig.limits(), "0 0 1000000000 0");
}
