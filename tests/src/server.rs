use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;

use crate::port::free_port;

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Runs the server as its child, says its process id, and when this process is gone, kills it and removes its folder.
/// That happens whether this process drops the server, panics, exits with the server in a static, or is killed: its
/// end of the pipe closes. Its status is that of the server.
const SUPERVISOR: &str = r#"
dir=$1; shift
"$@" >>"$dir/log" 2>&1 </dev/null &
echo $!
exec 2>/dev/null
word=$(cat)
kill -9 $!
wait $!
status=$?
[ "$word" = keep ] || rm -rf "$dir"
exit $status
"#;

/// A program and its arguments, for a server on this port and in this folder.
pub type CommandLine = dyn Fn(u16, &Path) -> Vec<String> + Send + Sync;

/// How to run a server.
pub struct Program {
    /// The server.
    pub command: Box<CommandLine>,
    /// Whether the server on this port answers.
    pub ready: fn(u16) -> bool,
    /// Run before the first start, in the same way as the server; the port means nothing yet.
    pub prepare: Option<Box<CommandLine>>,
    /// Who runs the server when we are root, which some servers refuse to be.
    pub user: Option<&'static str>,
}

/// A server of our own.
pub struct Server {
    program: Program,
    port: u16,
    running: Option<Running>,
    // Dropped after `running`.
    dir: TempDir,
}

struct Running {
    supervisor: Child,
    pid: Pid,
}

impl Server {
    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it cannot be started: the message has its log.
    pub fn start(program: Program) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("cacheme-test-")
            .tempdir()
            .expect("a temporary folder");
        if let Some(user) = runner(&program) {
            chown(dir.path(), Some(user.uid), Some(user.gid)).expect("the folder is ours to give");
        }
        let mut server = Self {
            program,
            port: 0,
            running: None,
            dir,
        };
        if let Some(prepare) = &server.program.prepare {
            let mut child = server.supervise(&prepare(0, server.dir.path()));
            wait_for_end(&mut child, &server.dir.path().join("log"));
        }
        // Another program may take a port that was free a moment before.
        for _ in 0..5 {
            server.port = free_port();
            if server.try_restart() {
                return server;
            }
        }
        panic!("the server does not start:\n{}", server.log());
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its data.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Lets it end by itself, with all it was told written.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn stop(&mut self) {
        let pid = self.running.as_ref().expect("the server runs").pid;
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        while !has_ended(pid) {
            assert!(
                start.elapsed() < START_LIMIT,
                "the server does not end:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
        self.running = None;
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and data.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn restart(&mut self) {
        self.kill();
        assert!(
            self.try_restart(),
            "the server does not start again:\n{}",
            self.log()
        );
    }

    /// Stops it in the middle of whatever it does; its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        // The signal is on its way when it is sent.
        let pid = self.running.as_ref().expect("the server runs").pid;
        let has_stopped = |pid| matches!(state(pid), Some('T' | 'Z') | None);
        wait_until(|| with_children(pid).into_iter().all(has_stopped));
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("the server runs");
        for pid in with_children(running.pid) {
            // A child may have ended meanwhile.
            let _ = kill(pid, signal);
        }
    }

    fn try_restart(&mut self) -> bool {
        let mut supervisor = self.supervise(&(self.program.command)(self.port, self.dir.path()));
        let stdout = supervisor.stdout.take().expect("it is piped");
        let mut pid = String::new();
        BufReader::new(stdout)
            .read_line(&mut pid)
            .expect("the supervisor answers");
        let pid = Pid::from_raw(pid.trim().parse().expect("a process id"));
        self.running = Some(Running { supervisor, pid });
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if (self.program.ready)(self.port) {
                return true;
            }
            if has_ended(pid) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.running = None;
        false
    }

    fn supervise(&self, command: &[String]) -> Child {
        let mut supervisor = Command::new("sh");
        supervisor
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(self.dir.path())
            .args(command)
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if let Some(user) = runner(&self.program) {
            supervisor.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            supervisor.env("HOME", self.dir.path());
        }
        supervisor.spawn().expect("sh runs")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Stopped first, so that it starts no child that is not listed: they belong to nobody once it is gone.
        let _ = kill(self.pid, Signal::SIGSTOP);
        wait_until(|| matches!(state(self.pid), Some('T' | 'Z') | None));
        let family = with_children(self.pid);
        for pid in &family {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        end(&mut self.supervisor);
        // What it listened on is free when the last of them is gone.
        wait_until(|| family.iter().all(|pid| has_ended(*pid)));
    }
}

/// Waits for what the kernel does in its own time after a signal, which may take long on a busy machine but never for ever.
fn wait_until(is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() && start.elapsed() < START_LIMIT {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a supervisor whose folder is still wanted. Says whether what it ran has ended well.
fn end(supervisor: &mut Child) -> bool {
    if let Some(mut stdin) = supervisor.stdin.take() {
        // It may be gone already.
        let _ = stdin.write_all(b"keep");
    }
    supervisor.wait().is_ok_and(|status| status.success())
}

/// Whether something accepts connections there.
pub(crate) fn accepts(port: u16) -> Option<TcpStream> {
    let address = ([127, 0, 0, 1], port).into();
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    Some(stream)
}

fn runner(program: &Program) -> Option<User> {
    let name = program.user.filter(|_| geteuid().is_root())?;
    let by_name = |name| User::from_name(name).ok().flatten();
    by_name(name).or_else(|| by_name("nobody"))
}

/// Waits until the program that `child` supervises has ended well.
fn wait_for_end(child: &mut Child, log: &Path) {
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut pid = String::new();
    stdout.read_line(&mut pid).expect("the supervisor answers");
    let pid = Pid::from_raw(pid.trim().parse().expect("a process id"));
    let log = || fs::read_to_string(log).unwrap_or_default();
    let start = Instant::now();
    while !has_ended(pid) {
        assert!(
            start.elapsed() < START_LIMIT,
            "preparing does not end:\n{}",
            log()
        );
        thread::sleep(Duration::from_millis(10));
    }
    assert!(end(child), "preparing fails:\n{}", log());
}

/// Whether the process is gone, or a zombie that its supervisor did not yet look at.
fn has_ended(pid: Pid) -> bool {
    matches!(state(pid), None | Some('Z'))
}

/// What the process does, in the letters of `proc(5)`; none if it is gone.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// The process and those it started itself, as PostgreSQL does for each connection.
fn with_children(pid: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children.map(Pid::from_raw)).collect()
}
