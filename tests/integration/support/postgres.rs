//! A private Postgres for one test: real binaries, a folder and a loopback port of its own, gone when dropped.

use rustix::process::Pid;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub(crate) struct PrivatePostgres {
    folder: TempDir,
    bin: PathBuf,
    /// Its loopback port.
    pub(crate) port: u16,
}

impl PrivatePostgres {
    /// Starts the system's Postgres with `extra` lines at the end of `postgresql.conf`.
    pub(crate) fn start(extra: &str) -> Self {
        Self::start_from(&system_bin(), extra)
    }

    /// Starts the Postgres whose programs are in `bin`.
    pub(crate) fn start_from(bin: &Path, extra: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-test-").tempdir().unwrap();
        Self::start_in(folder, bin, &[], extra)
    }

    /// The same in a folder of the test's own, made with more options of `initdb`.
    pub(crate) fn start_in(folder: TempDir, bin: &Path, options: &[&str], extra: &str) -> Self {
        give_to_unprivileged(folder.path());
        let server = Self { folder, bin: bin.to_owned(), port: free_port() };
        let data = server.data().display().to_string();
        let mut arguments = vec!["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync"];
        arguments.extend(options);
        server.must("initdb", &arguments);
        let conf = server.conf();
        let mut text = fs::read_to_string(&conf).unwrap();
        text.push_str(&format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\n{extra}\n",
            server.port
        ));
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&conf, text).unwrap();
        server.pg_ctl("start");
        server
    }

    /// `pg_ctl ACTION -w` on this server.
    pub(crate) fn pg_ctl(&self, action: &str) {
        let (status, said) = self.controlled(action);
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "pg_ctl {action}: {said}\n{log}");
    }

    /// The same where somebody else may stop the server again before pg_ctl has seen it start.
    pub(crate) fn try_pg_ctl(&self, action: &str) {
        let _ = self.controlled(action);
    }

    fn controlled(&self, action: &str) -> (ExitStatus, String) {
        let (data, log) =
            (self.data().display().to_string(), self.folder.path().join("log").display().to_string());
        let mut arguments = vec![action, "-w", "-t", "60", "-D", &data, "-l", &log];
        if action != "start" {
            arguments.extend(["-m", "immediate"]);
        }
        self.run("pg_ctl", &arguments)
    }

    /// `pg_ctl start -w`, for a server that may be up, down, or on its way; whether it worked does not matter.
    /// Its words go to a file of this test's user, as where a service manager has redirected them: its own user may
    /// not open that by name.
    pub(crate) fn try_start(&self) {
        let _ = self.run("pg_ctl", &["start", "-w", "-t", "20", "-D", &self.data().display().to_string()]);
    }

    /// The postmaster's process, as its pid file has it.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its `postgresql.conf`.
    pub(crate) fn conf(&self) -> PathBuf {
        self.data().join("postgresql.conf")
    }

    /// The folder of its programs.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// How to connect as its superuser.
    pub(crate) fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", self.port)
    }

    fn must(&self, program: &str, arguments: &[&str]) {
        let (status, output) = self.run(program, arguments);
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {output}\n{log}");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> (ExitStatus, String) {
        // Output goes to a file: the server would inherit a pipe and keep it open.
        let output = self.folder.path().join("output");
        let file = fs::OpenOptions::new().create(true).append(true).open(&output).unwrap();
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        if let Some((uid, gid)) = unprivileged() {
            command.uid(uid).gid(gid);
        }
        let status = command.status().unwrap_or_else(|error| panic!("{program}: {error}"));
        (status, fs::read_to_string(&output).unwrap_or_default())
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if self.data().join("postmaster.pid").exists() {
            let mut command = Command::new(self.bin.join("pg_ctl"));
            command.args(["stop", "-m", "immediate", "-w", "-D"]).arg(self.data());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Some((uid, gid)) = unprivileged() {
                command.uid(uid).gid(gid);
            }
            let _ = command.status();
        }
    }
}

/// The programs of the newest Postgres that the system has.
pub(crate) fn system_bin() -> PathBuf {
    let debian = folders("/usr/lib/postgresql").map(|(name, folder)| (name, folder.join("bin")));
    let brew = ["/opt/homebrew/opt", "/usr/local/opt"].into_iter().flat_map(folders);
    let brew = brew
        .filter_map(|(name, path)| Some((name.strip_prefix("postgresql@")?.to_owned(), path.join("bin"))));
    let newest = debian
        .chain(brew)
        .filter_map(|(name, bin)| Some((name.parse::<u32>().ok()?, bin)))
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .max();
    if let Some((_, bin)) = newest {
        return bin;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").is_file())
        .expect("Postgres' server programs are needed: scripts/setup.sh installs them")
}

fn folders(inside: &str) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(inside).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
}

/// The major versions to test on: those that `scripts/postgres_versions.sh` finds builds of for this platform.
pub(crate) fn versions() -> &'static [u32] {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) { &[12, 14, 17, 18] } else { &[17, 18] }
}

/// Another major version's programs, as `scripts/postgres_versions.sh` lays them out.
pub(crate) fn version_bin(major: u32) -> PathBuf {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(".leverd/postgres/{major}/native/bin"));
    // The real path: the unprivileged user may not pass through the checkout's folders, /root for one.
    let real = fs::canonicalize(&bin).unwrap_or(bin);
    assert!(real.join("postgres").is_file(), "no Postgres {major}: run scripts/postgres_versions.sh");
    real
}

/// A loopback port for a server that is about to start.
pub(crate) fn free_port() -> u16 {
    leverd::sandbox::free_port().unwrap()
}

/// Postgres refuses to run as root: the user to run it as, where this is root.
pub(crate) fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let row = ["postgres:", "nobody:"]
        .iter()
        .find_map(|user| passwd.lines().find(|line| line.starts_with(user)))?;
    let mut fields = row.split(':').skip(2).map(|field| field.parse::<u32>());
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// Makes a folder the unprivileged user's.
pub(crate) fn give_to_unprivileged(path: &Path) {
    if let Some((uid, gid)) = unprivileged() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
}
