use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use crate::server::{Program, Server, accepts};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
    /// MongoDB.
    MongoDb,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Redis => "REDIS",
            Self::Postgres => "POSTGRES",
            Self::MySql => "MYSQL",
            Self::MongoDb => "MONGODB",
        }
    }

    fn start(self) -> Server {
        match self {
            Self::Redis => redis(&[]),
            Self::Postgres => postgres(),
            Self::MySql => mariadb(),
            Self::MongoDb => mongodb(),
        }
    }

    /// The storage URL of a server that we started.
    pub fn url(self, server: &Server) -> String {
        let port = server.port();
        match self {
            Self::Redis => format!("redis://127.0.0.1:{port}"),
            Self::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Self::MySql => format!("mysql://root@127.0.0.1:{port}/test"),
            Self::MongoDb => format!("mongodb://127.0.0.1:{port}/test"),
        }
    }
}

/// The storage URL of a server that all tests of this process share: that of `CACHEME_TEST_<KIND>_URL`, or one that is
/// started now. Tests keep apart by their keys.
///
/// # Panics
///
/// When the server cannot be started.
pub fn shared_url(kind: Kind) -> String {
    static SHARED: OnceLock<Mutex<HashMap<Kind, Server>>> = OnceLock::new();
    if let Ok(url) = env::var(format!("CACHEME_TEST_{}_URL", kind.name())) {
        return url;
    }
    // A test that could not start its server poisons nothing: the next one fails by itself.
    let shared = SHARED.get_or_init(Mutex::default).lock();
    let mut shared = shared.unwrap_or_else(|poisoned| poisoned.into_inner());
    kind.url(shared.entry(kind).or_insert_with(|| kind.start()))
}

/// A Redis server of our own, with these arguments besides those it needs.
pub fn redis(arguments: &[&str]) -> Server {
    Server::start(redis_server(arguments))
}

/// How to run a Redis server.
pub fn redis_server(arguments: &[&str]) -> Program {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
    Program {
        command: Box::new(move |port, dir| {
            let port = port.to_string();
            let fixed = [
                "redis-server",
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ];
            let mut command: Vec<String> = fixed.map(Into::into).to_vec();
            command.push(text(dir));
            command.extend(arguments.iter().cloned());
            command
        }),
        ready: |port| {
            let mut answer = [0; 1];
            let asked = accepts(port).and_then(|mut stream| {
                stream.write_all(b"PING\r\n").ok()?;
                stream.read_exact(&mut answer).ok()
            });
            // An error is an answer too: it asks for a password.
            asked.is_some() && b"+-".contains(&answer[0])
        },
        prepare: None,
        user: None,
    }
}

/// A PostgreSQL server of our own, with the user `postgres` and no password.
pub fn postgres() -> Server {
    postgres_prepared_by(|data| {
        let fixed = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
            "-D",
            data,
        ];
        ("initdb", fixed.map(Into::into).into())
    })
}

/// A standby of that server, which follows it and takes no writes.
pub fn postgres_standby(of: &Server) -> Server {
    let port = of.port().to_string();
    postgres_prepared_by(move |data| {
        let fixed = [
            "-U",
            "postgres",
            "-h",
            "127.0.0.1",
            "-c",
            "fast",
            "-R",
            "-D",
            data,
            "-p",
            &port,
        ];
        ("pg_basebackup", fixed.map(Into::into).into())
    })
}

/// A server whose data folder is made by one of its programs, with these arguments.
fn postgres_prepared_by(
    prepare: impl Fn(&str) -> (&'static str, Vec<String>) + Send + Sync + 'static,
) -> Server {
    let bin = postgres_bin();
    let server = text(&bin.join("postgres"));
    Server::start(Program {
        prepare: Some(Box::new(move |_, dir| {
            let (program, arguments) = prepare(&text(&dir.join("data")));
            let mut command = vec![text(&bin.join(program))];
            command.extend(arguments);
            command
        })),
        command: Box::new(move |port, dir| {
            let (port, data, dir) = (port.to_string(), text(&dir.join("data")), text(dir));
            let fixed = [
                "-D",
                &data,
                "-p",
                &port,
                "-h",
                "127.0.0.1",
                "-k",
                &dir,
                "-F",
                "-c",
                "max_connections=200",
            ];
            [&server]
                .into_iter()
                .cloned()
                .chain(fixed.map(Into::into))
                .collect()
        }),
        ready: |port| {
            let port = port.to_string();
            let asked = Command::new(postgres_bin().join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port])
                .status();
            asked.is_ok_and(|status| status.success())
        },
        user: Some("postgres"),
    })
}

/// Where PostgreSQL is: on the path, or where Debian puts its newest version.
fn postgres_bin() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).find(|dir| {
        ["initdb", "postgres", "pg_isready"]
            .iter()
            .all(|program| dir.join(program).exists())
    });
    on_path.unwrap_or_else(|| {
        let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        versions.sort();
        let newest = versions.pop();
        newest
            .expect("PostgreSQL is installed, or CACHEME_TEST_POSTGRES_URL names a server")
            .join("bin")
    })
}

/// A PgBouncer before that server of PostgreSQL. It has `connections` and lends each for as long as `mode` says (a `session`, a
/// `transaction`); more lines of its configuration are `settings`.
pub fn pgbouncer(of: &Server, mode: &'static str, connections: u32, settings: &str) -> Server {
    let (target, settings) = (of.port(), settings.to_owned());
    Server::start(Program {
        prepare: None,
        command: Box::new(move |port, dir| {
            let config = format!(
                "[databases]\n* = host=127.0.0.1 port={target}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {users}\npool_mode = {mode}\n\
                 default_pool_size = {connections}\nmax_client_conn = 500\n{settings}\n",
                users = text(&dir.join("users.txt")),
            );
            fs::write(dir.join("users.txt"), "\"postgres\" \"\"\n").expect("our folder");
            fs::write(dir.join("pgbouncer.ini"), config).expect("our folder");
            vec![
                on_path_or("pgbouncer", "/usr/sbin/pgbouncer"),
                text(&dir.join("pgbouncer.ini")),
            ]
        }),
        ready: |port| accepts(port).is_some(),
        user: Some("postgres"),
    })
}

/// Several servers at once would need more locked memory than a user has.
const NO_NATIVE_AIO: &str = "--innodb-use-native-aio=0";

/// A MariaDB server of our own, with the user `root`, no password, and the database `test`. When there are files
/// `cert.pem` and `key.pem` in its folder, it speaks TLS as well from its next start on; with a `client-ca.pem` besides, it knows
/// certificates of clients by that authority.
pub fn mariadb() -> Server {
    Server::start(Program {
        prepare: Some(Box::new(|_, dir| {
            // The server makes its database when it starts, so that a test has nothing to wait for.
            fs::write(dir.join("init.sql"), "CREATE DATABASE IF NOT EXISTS test;\n").expect("our folder");
            let data = text(&dir.join("data"));
            // A server that starts removes the temporary tables of others in its temporary folder.
            let temporary = text(dir);
            [
                "mariadb-install-db",
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                NO_NATIVE_AIO,
            ]
            .map(Into::into)
            .into_iter()
            .chain([format!("--datadir={data}"), format!("--tmpdir={temporary}")])
            .collect()
        })),
        command: Box::new(|port, dir| {
            let option = |name: &str, file: &str| format!("--{name}={}", text(&dir.join(file)));
            let mut command = vec![
                on_path_or("mariadbd", "/usr/sbin/mariadbd"),
                "--no-defaults".into(),
                option("datadir", "data"),
                format!("--tmpdir={}", text(dir)),
                option("socket", "socket"),
                option("init-file", "init.sql"),
                option("pid-file", "pid"),
                format!("--port={port}"),
                "--bind-address=127.0.0.1".into(),
                "--max-connections=300".into(),
                "--max-allowed-packet=64M".into(),
                // What was committed outlives the process, if not the machine.
                "--innodb-flush-log-at-trx-commit=2".into(),
                NO_NATIVE_AIO.into(),
            ];
            if dir.join("cert.pem").exists() {
                command.extend([option("ssl-cert", "cert.pem"), option("ssl-key", "key.pem")]);
            }
            if dir.join("client-ca.pem").exists() {
                command.push(option("ssl-ca", "client-ca.pem"));
            }
            command
        }),
        ready: |port| {
            let mut greeting = [0; 5];
            let read = accepts(port).and_then(|mut stream| stream.read_exact(&mut greeting).ok());
            // The greeting after the four bytes of its head begins with the version of the protocol.
            read.is_some() && greeting[4] == 10
        },
        user: Some("mysql"),
    })
}

/// A server of our own that speaks the protocol of MongoDB: `mongod`, or else `secantusd-py`. What it knows ends with it.
pub fn mongodb() -> Server {
    Server::start(mongodb_server(false))
}

/// The same, with data that outlive it. From its next start on, it asks for passwords when there is a file `auth` in its
/// folder, and speaks TLS when there are `cert.pem` and `key.pem`; with a `client-ca.pem` besides, it asks clients for certificates
/// by that authority.
pub fn mongodb_on_disk() -> Server {
    Server::start(mongodb_server(true))
}

fn mongodb_server(on_disk: bool) -> Program {
    let mongod = find("mongod");
    Program {
        command: Box::new(move |port, dir| {
            let port = port.to_string();
            let mut command: Vec<String> = match &mongod {
                Some(mongod) => {
                    let dir = text(dir);
                    [
                        mongod,
                        "--port",
                        &port,
                        "--bind_ip",
                        "127.0.0.1",
                        "--dbpath",
                        &dir,
                    ]
                    .map(Into::into)
                    .into()
                }
                None => {
                    let secantus = find("secantusd-py").or_else(|| env::var("CACHEME_SECANTUSD").ok());
                    let secantus = secantus.expect(
                        "mongod or secantusd-py is on the path, or CACHEME_SECANTUSD or CACHEME_TEST_MONGODB_URL names one",
                    );
                    let data = if on_disk {
                        text(&dir.join("data"))
                    } else {
                        ":memory:".into()
                    };
                    [&secantus, "--port", &port, "--storage-path", &data]
                        .map(Into::into)
                        .into()
                }
            };
            if dir.join("auth").exists() {
                command.push("--auth".into());
            }
            if dir.join("client-ca.pem").exists() {
                let ca = text(&dir.join("client-ca.pem"));
                command.extend(match &mongod {
                    Some(_) => vec!["--tlsCAFile".into(), ca],
                    None => vec!["--tls-ca-file".into(), ca, "--tls-require-client-cert".into()],
                });
            }
            if dir.join("cert.pem").exists() {
                let file = |name: &str| text(&dir.join(name));
                command.extend(match &mongod {
                    Some(_) => {
                        let both = [file("cert.pem"), file("key.pem")]
                            .map(|file| fs::read(file).expect("it is there"));
                        fs::write(dir.join("both.pem"), both.concat()).expect("our folder");
                        [
                            "--tlsMode".into(),
                            "requireTLS".into(),
                            "--tlsCertificateKeyFile".into(),
                            file("both.pem"),
                        ]
                    }
                    None => [
                        "--tls-cert-file".into(),
                        file("cert.pem"),
                        "--tls-key-file".into(),
                        file("key.pem"),
                    ],
                });
            }
            command
        }),
        ready: |port| accepts(port).is_some(),
        prepare: None,
        user: None,
    }
}

/// Whether [`mongodb`] is the emulator in Python, which takes milliseconds for each key.
pub fn mongodb_is_emulated() -> bool {
    find("mongod").is_none()
}

fn find(program: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.exists())
        .map(|file| text(&file))
}

fn on_path_or(program: &str, otherwise: &str) -> String {
    find(program).unwrap_or_else(|| otherwise.into())
}

fn text(path: &Path) -> String {
    path.to_str().expect("paths of tests are UTF-8").into()
}
