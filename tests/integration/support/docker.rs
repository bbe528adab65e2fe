//! A private container engine for a test: a real `dockerd` on a socket of its own, with an image made of this host's
//! own Postgres and C library. Gone when dropped.
//!
//! It makes no firewall rule. [`PrivateDocker::postgres`] shares the host's network and listens on loopback; who makes a
//! network of containers publishes its ports on loopback.

use super::image::Root;
use super::postgres::{free_port, give_to_unprivileged, unprivileged, version_bin};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The version whose programs are in the image.
const MAJOR: u32 = 17;
const IMAGE: &str = "leverd-test-postgres";

/// A running engine with the image.
pub(crate) struct PrivateDocker {
    folder: TempDir,
    dockerd: Mutex<Option<Child>>,
}

/// A Postgres in a container of it.
pub(crate) struct PostgresContainer<'a> {
    docker: &'a PrivateDocker,
    folder: TempDir,
    /// The container's name.
    pub(crate) name: String,
    /// Its loopback port.
    pub(crate) port: u16,
}

impl PrivateDocker {
    /// Starts it, with the image of [`Self::postgres`]; `None` where this user may not: an engine needs root.
    pub(crate) fn start() -> Option<Self> {
        let docker = Self::empty()?;
        docker.make_image();
        Some(docker)
    }

    /// The same without an image.
    pub(crate) fn empty() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not run: a container engine needs root");
            return None;
        }
        // Not below a long path: a socket's name has 108 bytes at most.
        let folder = tempfile::Builder::new().prefix("leverd-docker-").tempdir().unwrap();
        let docker = Self { folder, dockerd: Mutex::new(None) };
        docker.up();
        Some(docker)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn up(&self) {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let log = fs::OpenOptions::new().create(true).append(true).open(at("dockerd.log")).unwrap();
        let child = Command::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("dockerd.pid")])
            .args(["--host", &format!("unix://{}", at("docker.sock"))])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--live-restore"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("dockerd is needed: scripts/setup.sh installs it");
        *self.dockerd.lock().unwrap() = Some(child);
        let until = Instant::now() + Duration::from_secs(60);
        while !self.run(&["version"]).status.success() {
            let log = fs::read_to_string(at("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < until, "dockerd does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the daemon as a service manager does; containers go on (`--live-restore`).
    pub(crate) fn down(&self) {
        let Some(mut dockerd) = self.dockerd.lock().unwrap().take() else { return };
        let pid = rustix::process::Pid::from_child(&dockerd);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = dockerd.wait();
    }

    /// `docker ARGUMENTS`, which must succeed; what it printed.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {words}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// How its clients find it: the value of `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).args(arguments);
        command.stdin(Stdio::null()).output().expect("the docker client comes with dockerd")
    }

    /// A shell, the C library and one Postgres, as an image.
    fn make_image(&self) {
        let root = Root::new();
        for folder in ["/data", "/conf"] {
            root.own(folder, 0, 0o755);
        }
        let native = version_bin(MAJOR).parent().unwrap().to_owned();
        root.tree(&native, "/native");
        root.libraries_of(&native.join("bin/postgres"));
        root.program(Path::new("sh"), "/bin/sh");
        let (uid, gid) = unprivileged().unwrap();
        root.write("/etc/passwd", &format!("postgres:x:{uid}:{gid}::/data:/bin/sh\n"));
        root.import(self, IMAGE, &[]);
    }

    /// Runs a Postgres with these limits (`--memory 1g`, …) and lines of `postgresql.conf`. Its configuration stands in
    /// a folder of the host that is mounted at `/conf`, or alone, where `alone`.
    pub(crate) fn postgres(&self, limits: &[&str], conf: &str, alone: bool) -> PostgresContainer<'_> {
        let folder = tempfile::Builder::new().prefix("leverd-container-").tempdir().unwrap();
        let port = free_port();
        let name = format!("leverd-test-{port}");
        let (data, confs) = (folder.path().join("data"), folder.path().join("conf"));
        for part in [&data, &confs] {
            fs::create_dir(part).unwrap();
            give_to_unprivileged(part);
        }
        give_to_unprivileged(folder.path());
        initdb(&data);
        let text =
            format!("listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n{conf}\n");
        let file = confs.join("postgresql.conf");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&file, text).unwrap();
        give_to_unprivileged(&file);
        let (uid, gid) = unprivileged().unwrap();
        let mount = if alone {
            format!("{}:/conf/postgresql.conf", file.display())
        } else {
            format!("{}:/conf", confs.display())
        };
        let (data, user) = (format!("{}:/data", data.display()), format!("{uid}:{gid}"));
        let mut arguments = vec!["run", "--detach", "--name", &name, "--network", "host", "--user", &user];
        arguments.extend(["--stop-signal", "SIGINT"]);
        arguments.extend(["--volume", &data, "--volume", &mount, "--shm-size", "256m"]);
        arguments.extend(["--health-cmd", "[ -f /data/postmaster.pid ]", "--health-interval", "1s"]);
        arguments.extend(limits);
        arguments.extend([IMAGE, "/native/bin/postgres", "-c", "config_file=/conf/postgresql.conf"]);
        arguments.extend(["-c", "data_directory=/data", "-c", "hba_file=/data/pg_hba.conf"]);
        arguments.extend(["-c", "ident_file=/data/pg_ident.conf"]);
        self.docker(&arguments);
        PostgresContainer { docker: self, folder, name, port }
    }
}

impl Drop for PrivateDocker {
    fn drop(&mut self) {
        if self.dockerd.lock().unwrap().is_none() {
            self.up();
        }
        let left = self.docker(&["ps", "--all", "--quiet"]);
        for id in left.lines() {
            let _ = self.run(&["rm", "--force", id]);
        }
        let _ = self.run(&["network", "prune", "--force"]);
        self.down();
        // What an engine mounts below its folders would keep them from going.
        for line in fs::read_to_string("/proc/mounts").unwrap_or_default().lines().rev() {
            let Some(point) = line.split(' ').nth(1) else { continue };
            if Path::new(point).starts_with(self.folder.path()) {
                let _ = Command::new("umount").arg(point).status();
            }
        }
    }
}

impl PostgresContainer<'_> {
    /// How to connect as its superuser.
    pub(crate) fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", self.port)
    }

    /// Its `postgresql.conf` as the host has it.
    pub(crate) fn conf(&self) -> PathBuf {
        self.folder.path().join("conf/postgresql.conf")
    }

    /// How it stands, and what it wrote.
    pub(crate) fn log(&self) -> String {
        let output = self.docker.run(&["logs", &self.name]);
        let words = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        format!("{}\n{}", self.inspect("{{.State.Status}} {{.State.Error}}"), words.concat())
    }

    /// One value of `docker inspect`.
    pub(crate) fn inspect(&self, template: &str) -> String {
        self.docker.docker(&["inspect", "--format", template, &self.name])
    }
}

impl Drop for PostgresContainer<'_> {
    fn drop(&mut self) {
        let _ = self.docker.run(&["rm", "--force", &self.name]);
    }
}

fn initdb(data: &Path) {
    let mut command = Command::new(version_bin(MAJOR).join("initdb"));
    command
        .args(["-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "--encoding=UTF8", "-D"])
        .arg(data);
    command.current_dir("/");
    if let Some((uid, gid)) = unprivileged() {
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, gid);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}
