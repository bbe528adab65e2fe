"""Private servers for a bench: PostgreSQL and MariaDB, each in a folder of its own, as an unprivileged user where this
is root.

A server is stopped through the process that was started here, and through nothing else. PostgreSQL listens on a Unix
socket alone, MariaDB on one and on loopback, because not every MySQL client speaks over a socket.
"""

import contextlib
import glob
import json
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from bench_common import fail
from bench_process import environment

DATABASE = "bench"
USER = "bench"
# MariaDB's; it listens on loopback alone, and its rows are made up.
PASSWORD = "bench"
# One to a page; and as much WAL as the settings below keep.
WARM_ROW_BYTES = 7900
MOST_WARM_MB = 4000
# Below the ports that Linux and macOS give to outgoing connections.
FIRST_PORT, LAST_PORT = 20_000, 31_999
READY_WITHIN_S = 60
STOPPED_WITHIN_S = 60
# A socket's path may have some 100 bytes.
LONGEST_FOLDER = 80

# The same for source and target. What a server does by itself would fall into whose turn it happens to be.
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "512MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
    "max_locks_per_transaction": "256",
    "autovacuum": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "error",
    "log_checkpoints": "off",
}
MARIADB_SETTINGS = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=512M",
    "--innodb-log-file-size=512M",
    "--innodb-flush-log-at-trx-commit=2",
    "--max-allowed-packet=64M",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--default-time-zone=+00:00",
]
# Where a PATH seldom leads.
MARIADB_FOLDERS = ("/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb/bin", "/usr/local/opt/mariadb/bin")


class SqlError(Exception):
    """What a server answered to a statement of ours."""


@contextlib.contextmanager
def work_folder():
    """A folder that the servers' user may pass through; gone afterwards. WORK_DIR names another disk for it."""
    with tempfile.TemporaryDirectory(prefix="leverd-bench-", dir=os.environ.get("WORK_DIR")) as name:
        folder = pathlib.Path(name).resolve()
        if len(str(folder)) > LONGEST_FOLDER:
            fail(f"{folder} is too long for a Unix socket: WORK_DIR=/tmp names another one")
        folder.chmod(0o755)
        yield folder


def owner():
    """As whom a server runs: the same user as the sandbox's, where this is root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid != 0:
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    fail("servers do not run as root, and there is neither a user postgres nor a user nobody")


def free_port():
    for _ in range(1000):
        port = random.randint(FIRST_PORT, LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    fail(f"no port between {FIRST_PORT} and {LAST_PORT} is free")


def write_config(file, sections):
    """A configuration of leverd's; JSON's values are YAML's, too."""
    text = "".join(f"{name}: {json.dumps(values)}\n" for name, values in sections.items() if values)
    file.write_text(text, encoding="utf-8")


class PrivateServer:
    """A server in a folder of its own."""

    STOP_SIGNAL = signal.SIGTERM

    def __init__(self, name, folder):
        self.name, self.folder, self.port = name, folder / name, free_port()
        self.owner, self.process = owner(), None
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.folder.mkdir()
        if self.owner:
            os.chown(self.folder, self.owner["user"], self.owner["group"])
        self.variables = environment(self.folder)

    def prepare(self, command):
        """Makes the data folder."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            **self.owner,
        )
        if done.returncode != 0:
            fail(f"{self.name}: {command[0]} failed: {last_words(done.stdout.decode(errors='replace'))}")

    def start(self, command):
        # The session of its own keeps a Ctrl-C for the bench alone, which stops its servers in order.
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self.owner,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.sql("SELECT 1;", database=None)
                return
            except SqlError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                fail(f"{self.name} does not start: {last_words(self.log.read_text(errors='replace'))}")
            time.sleep(0.1)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.STOP_SIGNAL)
        try:
            self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, command, text, timeout_s):
        """What the client says to this text, which it reads as a script."""
        done = subprocess.run(
            [str(word) for word in command],
            input=text,
            capture_output=True,
            encoding="utf-8",
            env=self.variables,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise SqlError(f"{self.name}: {last_words(done.stderr)}")
        return done.stdout

    def rows(self, text, database=DATABASE):
        """The answer's rows, each of them a list of texts."""
        return [line.split("\t") for line in self.sql(text, database).splitlines() if line]


class Postgres(PrivateServer):
    """A PostgreSQL; its tables are in the database `bench`, its superuser is of the same name."""

    # Fast: it does not wait for those who are connected.
    STOP_SIGNAL = signal.SIGINT

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.bin = postgres_programs()
        self.prepare(
            [self.bin / "initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        )
        settings = {**POSTGRES_SETTINGS, "unix_socket_directories": str(self.folder), "port": str(self.port)}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self.start([self.bin / "postgres", "-D", self.data, *options])

    def address(self, database):
        return ["-h", str(self.folder), "-p", str(self.port), "-U", USER, "-d", database or "postgres"]

    def conninfo(self):
        """libpq's key-value form."""
        return f"host={self.folder} port={self.port} user={USER} dbname={DATABASE}"

    def pgloader_url(self):
        return f"pgsql://{USER}@unix:{self.folder}:{self.port}/{DATABASE}?sslmode=disable"

    def endpoint(self):
        """As leverd's configuration names it."""
        return {
            "type": "postgres",
            "host": str(self.folder),
            "port": self.port,
            "database": DATABASE,
            "user": USER,
            "schema": "public",
            "ssl_mode": "disable",
        }

    def psql(self, *arguments):
        return [str(self.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *self.address(DATABASE), *arguments]

    def sql(self, text, database=DATABASE, timeout_s=7200):
        client = [self.bin / "psql", "-X", "-A", "-t", "-q", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        return self.ask([*client, *self.address(database), "-f", "-"], text, timeout_s)

    def empty(self):
        """A new database; whoever is left in the old one is thrown out."""
        self.sql(
            f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE);\nCREATE DATABASE {DATABASE} TEMPLATE template0;\n", None
        )

    def warm_up(self, megabytes):
        """So much WAL was written once: who comes first would make its files, and all others find them made."""
        rows = int(min(megabytes, MOST_WARM_MB) * 1_000_000 // WARM_ROW_BYTES)
        self.empty()
        self.sql("CREATE TABLE warm (row text);\nALTER TABLE warm ALTER COLUMN row SET STORAGE PLAIN;\n")
        self.sql(f"INSERT INTO warm SELECT repeat('x', {WARM_ROW_BYTES}) FROM generate_series(1, {rows});\n")
        self.empty()
        self.settle()

    def settle(self):
        """Nothing of one contender's is left to be written in the next one's time, and nobody is still reading."""
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{DATABASE}' AND pid <> pg_backend_pid();\nCHECKPOINT;\n",
            None,
        )

    def version(self):
        return self.sql("SHOW server_version;", None).strip()


class MariaDB(PrivateServer):
    """A MariaDB; its tables are in the database `bench`."""

    def __init__(self, name, folder):
        super().__init__(name, folder)
        found = mariadb_programs()
        if not found:
            fail("MariaDB is needed: scripts/setup.sh --for bench installs it")
        server, install, self.client = found
        self.socket = self.folder / "mysql.sock"
        # `normal`: root on the socket needs no password, whoever this is. `force`: whatever this host is called.
        self.prepare(
            [install, "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal", "--force"]
        )
        places = [f"--datadir={self.data}", f"--socket={self.socket}", f"--port={self.port}"]
        places += [f"--pid-file={self.folder / 'pid'}", f"--tmpdir={self.folder}"]
        self.start([server, "--no-defaults", *places, *MARIADB_SETTINGS])
        try:
            self.sql(
                f"CREATE DATABASE {DATABASE};\nDROP USER IF EXISTS ''@'localhost';\n"
                f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO {USER}@'%';\n",
                None,
            )
        except SqlError:
            self.stop()
            raise

    def pgloader_url(self):
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def endpoint(self):
        """As leverd's configuration names it."""
        return {
            "type": "mariadb",
            "host": "127.0.0.1",
            "port": self.port,
            "database": DATABASE,
            "user": USER,
            "password": PASSWORD,
            "ssl_mode": "disable",
        }

    def sql(self, text, database=DATABASE, timeout_s=7200):
        options = ["--no-defaults", f"--socket={self.socket}", "--user=root", "--default-character-set=utf8mb4"]
        command = [self.client, *options, "--batch", "--skip-column-names", "--raw"]
        return self.ask([*command, *([database] if database else [])], text, timeout_s)

    def settle(self):
        """Nothing to do: it is only read, and who reads it goes with the connection."""

    def version(self):
        return self.sql("SELECT version();", None).strip()


def postgres_programs():
    """The folder of the newest PostgreSQL's programs."""
    places = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
    needed = ("initdb", "postgres", "psql", "pg_dump", "pg_restore", "vacuumdb")
    found = [path for place in places for path in glob.glob(place)]
    whole = [path for path in found if all(os.access(os.path.join(path, name), os.X_OK) for name in needed)]
    if whole:
        return pathlib.Path(max(whole, key=major))
    on_path = shutil.which("initdb")
    if not on_path:
        fail("PostgreSQL's programs are needed: scripts/setup.sh --for bench installs them")
    return pathlib.Path(on_path).resolve().parent


def major(path):
    number = re.search(r"(\d+)/bin$", path)
    return int(number.group(1)) if number else 0


def mariadb_programs():
    """Server, installer and client; None where one of them is missing. An Oracle MySQL is another program."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *MARIADB_FOLDERS])
    server = shutil.which("mariadbd", path=path) or shutil.which("mysqld", path=path)
    install = shutil.which("mariadb-install-db", path=path) or shutil.which("mysql_install_db", path=path)
    client = shutil.which("mariadb", path=path) or shutil.which("mysql", path=path)
    if not (server and install and client):
        return None
    version = subprocess.run([server, "--no-defaults", "--version"], capture_output=True, text=True, timeout=30)
    return (server, install, client) if "MariaDB" in version.stdout else None


def last_words(text):
    return " / ".join(text.strip().splitlines()[-5:])[-800:]
