//! Real mysqld 9.7 processes on loopback ports, run by our entry script as their container would run them.
//!
//! One volume is initialised by the script per run of this binary and copied for each server. A server's processes live
//! in their own PID namespace, so that its end is the end of all of them, also when the test itself is killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use shardpair::api::names;
use shardpair::mysql::config::{Params, base_config, render};
use shardpair::mysql::error::Error;
use shardpair::mysql::facts;
use shardpair::mysql::replication::{self, Source};
use shardpair::mysql::role::{self, OpenAs};
use shardpair::mysql::{Credentials, Endpoint, Session, accounts, heartbeat};
use shardpair::pair::facts::Facts;
use shardpair::pair::settings::Ack;

pub const SOON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

pub fn operator() -> Credentials {
    Credentials { user: "shardpair".into(), password: r#"op'er\ator"pw"#.into() }
}

pub fn replicator() -> Credentials {
    Credentials { user: "replication".into(), password: "repl-pässword".into() }
}

pub fn application() -> Credentials {
    Credentials { user: "app".into(), password: "app-password".into() }
}

/// One server and its volume.
pub struct Server {
    pub name: String,
    pub dir: PathBuf,
    pub host: String,
    pub port: u16,
    child: Option<Child>,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rootfs() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        let made = Command::new(repository().join("tests/cluster/lib/mysql-rootfs")).stderr(Stdio::inherit()).output();
        let made = made.expect("tests/cluster/lib/mysql-rootfs runs");
        assert!(made.status.success(), "no MySQL root file system");
        let path = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        std::fs::create_dir_all(path.join("etc/shardpair")).expect("a mount point");
        path
    })
}

fn base_dir() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = std::env::temp_dir().join("shardpair-mysql-tests");
        // What earlier runs left, if their process is gone.
        for old in std::fs::read_dir(&base).into_iter().flatten().flatten() {
            let alive = old.file_name().to_str().is_some_and(|pid| Path::new("/proc").join(pid).exists());
            if !alive {
                let _ = std::fs::remove_dir_all(old.path());
            }
        }
        let base = base.join(std::process::id().to_string());
        std::fs::create_dir_all(&base).expect("a temp dir");
        base
    })
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 80) as u16 * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The volume that our entry script initialised, stopped.
async fn template() -> &'static Path {
    static TEMPLATE: tokio::sync::OnceCell<PathBuf> = tokio::sync::OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            let mut server = Server::prepare("template");
            server.run(true);
            // Says that initialisation went through, and that its accounts work.
            server.session().await.close().await;
            server.power_cut();
            let kept = base_dir().join("template-volume");
            copy(&server.dir.join("volume"), &kept);
            let _ = std::fs::remove_file(kept.join("data/auto.cnf"));
            kept
        })
        .await
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--reflink=auto", "--sparse=auto"]).arg(from).arg(to).status();
    assert!(copied.expect("cp").success(), "copying {} failed", from.display());
}

impl Server {
    /// Directories and configuration of a server that has never run; its volume is empty.
    pub fn prepare(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = base_dir().join(format!("{name}-{number}"));
        for sub in ["root", "volume", "etc/accounts"] {
            std::fs::create_dir_all(dir.join(sub)).expect("a directory");
        }
        let owned = Command::new("chown").arg("999:999").arg(dir.join("volume")).status();
        assert!(owned.expect("chown").success());
        let port = free_port();
        let mut base = base_config(&Params::container(number, Ack::Received));
        base.insert("port".into(), port.to_string());
        base.insert("bind_address".into(), "127.0.0.1".into());
        let small = [
            ("innodb_buffer_pool_size", "16M"), ("innodb_log_buffer_size", "1M"), ("innodb_redo_log_capacity", "16M"),
            ("max_connections", "60"), ("table_open_cache", "200"), ("table_definition_cache", "400"),
            ("replica_parallel_workers", "2"), ("performance_schema", "OFF"), ("innodb_use_native_aio", "OFF"),
        ];
        let small: BTreeMap<String, String> = small.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        std::fs::write(dir.join("etc/my.cnf"), render(&base, &small)).expect("my.cnf");
        let (op, re) = (operator(), replicator());
        for (file, text) in [("operator-username", op.user), ("operator-password", op.password), ("replication-username", re.user), ("replication-password", re.password)] {
            std::fs::write(dir.join("etc/accounts").join(file), text).expect("a secret");
        }
        Self { name: name.into(), dir, host: "127.0.0.1".into(), port, child: None }
    }

    /// A server that runs and answers, with no role yet.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// The same, with more my.cnf entries.
    pub async fn start_with(name: &str, entries: &[(&str, &str)]) -> Self {
        Self::prepare(name).started(entries).await
    }

    /// A server on MySQL's own ports, as in its pod: on a loopback address that nobody else has.
    pub async fn start_at(name: &str, host: &str, entries: &[(&str, &str)]) -> Self {
        let mut server = Self::prepare(name);
        (server.host, server.port) = (host.into(), names::PORT as u16);
        let own = [("bind_address", host), ("admin_address", host), ("port", "3306")];
        server.started(&[&own, entries].concat()).await
    }

    async fn started(self, entries: &[(&str, &str)]) -> Self {
        let template = template().await;
        let mut server = self;
        let volume = server.dir.join("volume");
        std::fs::remove_dir(&volume).expect("an empty volume");
        copy(template, &volume);
        let mut cnf = std::fs::read_to_string(server.dir.join("etc/my.cnf")).expect("my.cnf");
        entries.iter().for_each(|(name, value)| cnf.push_str(&format!("{name}={value}\n")));
        std::fs::write(server.dir.join("etc/my.cnf"), cnf).expect("my.cnf");
        server.run(false);
        server.session().await.close().await;
        server
    }

    /// Starts the container.
    pub fn run(&mut self, first: bool) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private", "bash"])
            .arg(repository().join("tests/mysql/container.sh"))
            .args([rootfs(), &self.dir, &repository().join("src/manifests/entry.sh")])
            .env("SHARDPAIR_MEMBER", &self.name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        if first {
            command.env("SHARDPAIR_FIRST", "1");
        }
        self.child = Some(command.spawn().expect("setpriv and unshare"));
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint { member: self.name.clone(), host: self.host.clone(), port: self.port }
    }

    pub fn source(&self) -> Source {
        Source { host: self.host.clone(), port: self.port }
    }

    /// A session of the operator's, as soon as the server lets one in.
    pub async fn session(&self) -> Session {
        self.session_as(&operator()).await
    }

    pub async fn session_as(&self, who: &Credentials) -> Session {
        let begun = Instant::now();
        loop {
            match Session::connect(&self.endpoint(), who, SOON).await {
                Ok(session) => return session,
                Err(error) if begun.elapsed() > PATIENCE => panic!("{error}\n{}", self.log_tail()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// From a session of its own. A server that is about to restart (a clone has ended) may let one in and close it at once.
    pub async fn facts(&self) -> Facts {
        let begun = Instant::now();
        loop {
            let mut session = self.session().await;
            match facts::read(&mut session, SOON).await {
                Ok(read) => {
                    session.close().await;
                    return read;
                }
                Err(Error::Broken { .. }) if begun.elapsed() < PATIENCE => {}
                Err(error) => panic!("facts: {error}\n{}", self.log_tail()),
            }
        }
    }

    /// The entry script's process: the first of the container.
    pub fn entry_pid(&self) -> Option<u32> {
        children(self.child.as_ref()?.id()).first().copied()
    }

    /// The process of mysqld.
    pub fn mysqld_pid(&self) -> Option<u32> {
        let named = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "mysqld");
        children(self.entry_pid()?).into_iter().find(named)
    }

    /// Sends mysqld a signal.
    pub fn signal_mysqld(&self, signal: &str) {
        send(signal, self.mysqld_pid().expect("a mysqld"));
    }

    /// Sends the entry script a signal.
    pub fn signal_entry(&self, signal: &str) {
        send(signal, self.entry_pid().expect("an entry script"));
    }

    /// Everything of the container dies at once, without a word.
    pub fn power_cut(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(first) = children(child.id()).first() {
                send("KILL", *first);
            }
            let _ = child.wait();
        }
    }

    /// Waits for the container's end: its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        let child = self.child.as_mut().expect("a container");
        loop {
            if let Some(status) = child.try_wait().expect("a status") {
                self.child = None;
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the container goes on\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(4000);
        format!("---- log of {}\n{}", self.name, log.get(from..).unwrap_or(&log))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        self.power_cut();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status();
    sent.expect("kill");
}

/// Waits for a condition; panics with `what` when it doesn't come.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub const AS_PRIMARY: OpenAs = OpenAs { ack: true, interleave: Some((2, 1)), stop_channel: false };

/// A and B in Sync: A writable and waiting for B, with the application's account, database `d` and table `d.t`.
pub async fn pair() -> (Server, Server) {
    // Once without performance_schema and once with: the facts come from both.
    let with = [("performance_schema", "ON"), ("performance_schema_instrument", "'%=OFF'")];
    let (a, b) = tokio::join!(Server::start("a"), Server::start_with("b", &with));
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    role::open_primary(&mut on_a, OpenAs { ack: false, ..AS_PRIMARY }, SOON).await.expect("open");
    heartbeat::create_schema(&mut on_a, SOON).await.expect("schema");
    accounts::bootstrap_primary(&mut on_a, &["d".to_owned()], &application(), SOON).await.expect("accounts");
    on_a.exec("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20), n INT)", SOON).await.expect("a table");
    role::become_standby(&mut on_b, SOON).await.expect("standby");
    replication::attach(&mut on_b, &a.source(), &replicator(), SOON).await.expect("attach");
    sync(&mut on_a, &mut on_b).await;
    eventually("the acker is registered", async || facts::read(&mut on_a, SOON).await.expect("facts").source.clients == 1).await;
    (a, b)
}

/// From now on the first waits for the second, which holds everything.
pub async fn sync(primary: &mut Session, standby: &mut Session) {
    role::require_acks(primary, SOON).await.expect("acks");
    let executed = replication::state(primary, SOON).await.expect("state").executed;
    replication::wait_executed(standby, &executed, PATIENCE).await.expect("in sync");
}

/// How many rows of `d.t` match.
pub async fn count(session: &mut Session, condition: &str) -> u32 {
    let sql = format!("SELECT count(*) FROM d.t WHERE {condition}");
    session.scalar(&sql, SOON).await.expect("count").and_then(|n| n.parse().ok()).expect("a number")
}
