//! Writes rows over several connections until it is stopped, and keeps what became of each.
//!
//! A row's `id` is never used twice; `n` is AUTO_INCREMENT, so that a row that was applied twice would show. A client
//! like those that shardpair is for: it gives up connecting after 100 ms, gives up waiting for an answer after a while,
//! and connects again at once. The benchmark and the demo use the same one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder};
use tokio::task::JoinHandle;

/// A client gives up connecting after this.
pub const CONNECT: Duration = Duration::from_millis(100);
/// After a refusal: at once, but not in a loop that takes the servers' processor.
const AGAIN: Duration = Duration::from_millis(2);

/// What it writes to.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS writes (n BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, run BIGINT UNSIGNED NOT NULL, \
                         id BIGINT UNSIGNED NOT NULL, KEY (run, id))";

/// Where to write, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub host: IpAddr,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
}

impl Target {
    fn opts(&self) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(self.host.to_string())
            .tcp_port(self.port)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            .db_name(Some(&self.database))
            .prefer_socket(false)
            .tcp_nodelay(true)
            .stmt_cache_size(0)
            .max_allowed_packet(Some(1 << 20))
            .wait_timeout(Some(28_800))
            .into()
    }

    /// One connection, within `deadline`.
    pub async fn connect(&self, deadline: Duration) -> Result<Conn, String> {
        match tokio::time::timeout(deadline, Conn::new(self.opts())).await {
            Ok(connected) => connected.map_err(|e| e.to_string()),
            Err(_) => Err(format!("no connection within {deadline:?}")),
        }
    }
}

impl Target {
    /// One connection, by a client that tries again as long as `patience` lasts. Tries that failed are told, with how far
    /// they came: to a TCP connection, or not even that.
    pub async fn connect_patiently(&self, patience: Duration) -> Result<Conn, String> {
        let begun = Instant::now();
        loop {
            let tcp = tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect((self.host, self.port))).await;
            let why = match (self.connect(Duration::from_secs(1)).await, tcp) {
                (Ok(conn), _) => return Ok(conn),
                (Err(why), Ok(Ok(_))) => format!("{why}; TCP alone: connected"),
                (Err(why), tcp) => format!("{why}; TCP alone: {tcp:?}"),
            };
            println!("{}:{} after {:?}: {why}", self.host, self.port, begun.elapsed());
            if begun.elapsed() > patience {
                return Err(why);
            }
        }
    }
}

/// What is written to: a server, or several that are tried in turn.
pub trait Service: Clone + Send + Sync + 'static {
    type Conn: Send;
    /// Connects; of several servers `turn` names one: it grows with each that didn't do.
    fn open(&self, turn: usize, deadline: Duration) -> impl Future<Output = Result<Self::Conn, String>> + Send;
    /// One statement, and what became of it.
    fn write(conn: &mut Self::Conn, sql: &str) -> impl Future<Output = Outcome> + Send;
}

impl Service for Target {
    type Conn = Conn;

    async fn open(&self, _turn: usize, deadline: Duration) -> Result<Conn, String> {
        self.connect(deadline).await
    }

    async fn write(conn: &mut Conn, sql: &str) -> Outcome {
        judge(conn.query_drop(sql).await)
    }
}

/// How it writes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub connections: u32,
    /// Between an answer and the next row.
    pub pause: Duration,
    /// A connection that gives no answer for this long is dropped.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { connections: 4, pause: Duration::from_millis(2), answer: Duration::from_secs(1) }
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said OK: it must never be lost.
    Acked,
    /// The server said no, before it did anything: it must not be there.
    Refused(String),
    /// No answer, or one that leaves it open: it may be there, once.
    InDoubt(String),
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Write {
    pub id: u64,
    pub begun: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// What all connections share.
struct Shared {
    pace: Pace,
    run: u64,
    stop: AtomicBool,
    acked: AtomicU64,
    refused_connections: AtomicU64,
}

/// See the module.
pub struct Writer {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Vec<Write>>>,
    begun: (Instant, SystemTime),
}

/// Waits until so many `more` rows have been counted from now on.
pub(super) async fn grows(acked: &AtomicU64, more: u64, within: Duration) -> Result<(), String> {
    let (from, begun) = (acked.load(Relaxed), Instant::now());
    loop {
        let counted = acked.load(Relaxed) - from;
        if counted >= more {
            return Ok(());
        }
        if begun.elapsed() > within {
            return Err(format!("{counted} of {more} rows acknowledged within {within:?}"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Writer {
    /// Makes the table and begins.
    pub async fn start(target: &Target, pace: Pace) -> Result<Self, String> {
        let mut conn = target.connect_patiently(Duration::from_secs(5)).await?;
        conn.query_drop(TABLE).await.map_err(|e| e.to_string())?;
        Self::begin(target, pace)
    }

    /// Begins; the table is there.
    pub fn begin(service: &impl Service, pace: Pace) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?;
        let shared = Arc::new(Shared {
            pace,
            run: now.as_micros() as u64,
            stop: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            refused_connections: AtomicU64::new(0),
        });
        let begun = (Instant::now(), SystemTime::now());
        let tasks = (0..pace.connections).map(|number| tokio::spawn(connection(service.clone(), shared.clone(), number))).collect();
        Ok(Self { shared, tasks, begun })
    }

    /// Rows acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Relaxed)
    }

    /// Waits until `more` rows have been acknowledged from now on.
    pub async fn progress(&self, more: u64, within: Duration) -> Result<(), String> {
        grows(&self.shared.acked, more, within).await
    }

    /// Ends, when every row in flight has been answered or given up.
    pub async fn stop(self) -> Log {
        self.shared.stop.store(true, Relaxed);
        let mut writes = Vec::new();
        for task in self.tasks {
            writes.extend(task.await.expect("a writer doesn't panic"));
        }
        let refused_connections = self.shared.refused_connections.load(Relaxed);
        Log { run: self.shared.run, begun: self.begun, ended: Instant::now(), writes, refused_connections }
    }
}

async fn connection<S: Service>(service: S, shared: Arc<Shared>, number: u32) -> Vec<Write> {
    let (mut writes, mut conn) = (Vec::new(), None);
    let (mut sequence, mut turn) = (0_u64, 0);
    while !shared.stop.load(Relaxed) {
        let Some(mut open) = conn.take() else {
            match service.open(turn, CONNECT).await {
                Ok(open) => conn = Some(open),
                Err(_) => {
                    turn += 1;
                    shared.refused_connections.fetch_add(1, Relaxed);
                    tokio::time::sleep(AGAIN).await;
                }
            }
            continue;
        };
        sequence += 1;
        let (id, begun) = (u64::from(number) << 40 | sequence, Instant::now());
        let sql = format!("INSERT INTO writes (run, id) VALUES ({}, {id})", shared.run);
        let outcome = match tokio::time::timeout(shared.pace.answer, S::write(&mut open, &sql)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::InDoubt(format!("no answer within {:?}", shared.pace.answer)),
        };
        let acked = outcome == Outcome::Acked;
        writes.push(Write { id, begun, ended: Instant::now(), outcome });
        if acked {
            shared.acked.fetch_add(1, Relaxed);
            conn = Some(open);
            tokio::time::sleep(shared.pace.pause).await;
        } else {
            // Dropped, not asked to end: the server may be deaf.
            drop(open);
            turn += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }
    writes
}

/// Read-only, offline, locked, no such table, full: refused before anything was written. All else leaves it open.
pub fn judge(answer: Result<(), Error>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Acked,
        Err(Error::Server(e)) if matches!(e.code, 1290 | 1836 | 3032 | 1205 | 1142 | 1146 | 1114) => Outcome::Refused(e.to_string()),
        Err(error) => Outcome::InDoubt(error.to_string()),
    }
}

/// What a writer did.
pub struct Log {
    pub run: u64,
    pub begun: (Instant, SystemTime),
    pub ended: Instant,
    pub writes: Vec<Write>,
    pub refused_connections: u64,
}

/// A time without any acknowledged row.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub from: SystemTime,
    pub to: SystemTime,
    pub length: Duration,
}

impl Log {
    /// Rows that the server said OK to.
    pub fn acked(&self) -> usize {
        self.writes.iter().filter(|w| w.outcome == Outcome::Acked).count()
    }

    /// The longest time between two acknowledged rows (or from the last one to the end).
    pub fn longest_gap(&self) -> Gap {
        self.longest_gap_between(self.begun.0, self.ended)
    }

    /// The longest of those that end between two moments; one that had begun before counts whole.
    pub fn longest_gap_between(&self, from: Instant, to: Instant) -> Gap {
        let acked = self.writes.iter().filter(|w| w.outcome == Outcome::Acked).map(|w| w.ended);
        let mut times: Vec<Instant> = [self.begun.0, self.ended].into_iter().chain(acked).filter(|at| *at <= to.max(self.begun.0)).collect();
        times.push(to);
        times.sort();
        let gaps = times.windows(2).filter(|pair| pair[1] >= from);
        let longest = gaps.max_by_key(|pair| pair[1] - pair[0]).map_or((from, from), |pair| (pair[0], pair[1]));
        let wall = |at: Instant| self.begun.1 + (at - self.begun.0);
        Gap { from: wall(longest.0), to: wall(longest.1), length: longest.1 - longest.0 }
    }

    /// In one line.
    pub fn summary(&self) -> String {
        let of = |wanted: fn(&Outcome) -> bool| self.writes.iter().filter(|w| wanted(&w.outcome)).count();
        format!(
            "{} acknowledged, {} refused, {} in doubt, {} connections not made, longest gap {} ms",
            self.acked(),
            of(|o| matches!(o, Outcome::Refused(_))),
            of(|o| matches!(o, Outcome::InDoubt(_))),
            self.refused_connections,
            self.longest_gap().length.as_millis()
        )
    }

    /// What is wrong with the table, seen from this log: acknowledged rows that are not there exactly once, and rows
    /// that nobody wrote or that were refused.
    pub async fn problems(&self, conn: &mut Conn) -> Result<Vec<String>, String> {
        let sql = format!("SELECT id, COUNT(*) FROM writes WHERE run = {} GROUP BY id", self.run);
        let rows: Vec<(u64, u64)> = conn.query(sql).await.map_err(|e| e.to_string())?;
        Ok(self.compare(&rows.into_iter().collect()))
    }

    /// The same, for rows that were read: how often each id was found.
    pub fn compare(&self, found: &BTreeMap<u64, u64>) -> Vec<String> {
        let mut problems = Vec::new();
        for write in &self.writes {
            let times = found.get(&write.id).copied().unwrap_or(0);
            let name = (write.id >> 40, write.id & ((1 << 40) - 1));
            match &write.outcome {
                Outcome::Acked if times == 0 => problems.push(format!("LOST: {name:?} was acknowledged and is not there")),
                Outcome::Refused(why) if times > 0 => problems.push(format!("PHANTOM: {name:?} was refused ({why}) and is there")),
                _ if times > 1 => problems.push(format!("DOUBLE: {name:?} is there {times} times")),
                _ => {}
            }
        }
        let known: std::collections::BTreeSet<u64> = self.writes.iter().map(|w| w.id).collect();
        problems.extend(found.keys().filter(|id| !known.contains(id)).map(|id| format!("PHANTOM: {id:#x} was never written")));
        problems
    }
}
