//! Servers of the tests' own: on a free port, with their own data, gone afterwards.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// A directory that is removed in the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cacheme-databases-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub(crate) struct Server {
    command: Command,
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
    directory: Directory,
}

impl Server {
    /// PostgreSQL with a superuser `app`, whose password is `s3cret`, and a database of the same name.
    pub(crate) fn postgres() -> Self {
        let directory = Directory::new();
        let bin = Path::new("/usr/lib/postgresql/15/bin");
        let password = directory.path().join("password");
        std::fs::write(&password, "s3cret").unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        own(directory.path(), "postgres");
        run(account(Command::new(bin.join("initdb")), "postgres")
            .args(["--no-sync", "--auth=scram-sha-256", "--username=app", "--pwfile"])
            .arg(&password)
            .arg("--pgdata")
            .arg(&data));
        let port = free_port();
        let mut command = account(Command::new(bin.join("postgres")), "postgres");
        command
            .arg("-D")
            .arg(&data)
            .args([
                "-p",
                &port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
            ])
            .args(["-c", "track_activities=on", "-c", "unix_socket_directories="]);
        let server = Self::start(command, port, directory);
        run(Command::new(bin.join("createdb"))
            .env("PGPASSWORD", "s3cret")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "app", "app"]));
        server
    }

    /// MariaDB with a user `app`, whose password is `s3cret`, and a database of the same name.
    pub(crate) fn mariadb() -> Self {
        let directory = Directory::new();
        let data = directory.path().join("data");
        own(directory.path(), "mysql");
        run(Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg("--user=mysql")
            .arg(format!("--datadir={}", data.display())));
        let init = directory.path().join("init.sql");
        std::fs::write(
            &init,
            "CREATE DATABASE IF NOT EXISTS app;\n\
             CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 's3cret';\n\
             GRANT ALL ON app.* TO app@'%';\n",
        )
        .unwrap();
        let port = free_port();
        let mut command = Command::new("mariadbd");
        command
            .args([
                "--no-defaults",
                "--user=mysql",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
            ])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", directory.path().join("socket").display()))
            .arg(format!("--init-file={}", init.display()))
            .arg(format!("--port={port}"))
            .args([
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-log-file-size=512M",
            ]);
        Self::start(command, port, directory)
    }

    fn start(mut command: Command, port: u16, directory: Directory) -> Self {
        let log = directory.path().join("log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap();
        let mut server = Self {
            command,
            child,
            port,
            log,
            directory,
        };
        server.wait_until_up();
        server
    }

    /// Where other files of the server can be.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn wait_until_up(&mut self) {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || start.elapsed() > START {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{:?} did not start ({ended:?}):\n{log}", self.command);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Freezes the server with all its processes; it answers nothing until [`thaw`](Self::thaw).
    pub(crate) fn freeze(&self) {
        self.signal_all("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        run(Command::new("kill")
            .arg(signal)
            .arg(id.to_string())
            .args(children.split_whitespace()));
    }

    /// Ends the server at once, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        // PostgreSQL's own processes outlive its first one unless it tells them; the others know the signal as well.
        run(Command::new("kill").args(["-QUIT", &self.child.id().to_string()]));
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if start.elapsed() > Duration::from_secs(5) {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again, on the same port and with its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = self.command.spawn().unwrap();
        self.wait_until_up();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = Command::new("kill")
                .args(["-CONT", &self.child.id().to_string()])
                .status();
            self.kill();
        }
    }
}

/// The command as this user, if we are the superuser, as whom database servers refuse to run.
fn account(mut command: Command, user: &str) -> Command {
    if let Some((user, group)) = ids(user) {
        command.uid(user).gid(group);
    }
    command
}

fn own(path: &Path, user: &str) {
    if let Some((user, group)) = ids(user) {
        run(Command::new("chown")
            .arg("-R")
            .arg(format!("{user}:{group}"))
            .arg(path));
    }
}

/// User and group of the account, if we are the superuser.
fn ids(user: &str) -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", user]), id(&["-g", user])))
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
