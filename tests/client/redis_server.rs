//! A real Redis (or Valkey) on a loopback port.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One server without a file: what it forgets is gone.
pub struct Redis {
    pub port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// SHARDPAIR_REDIS_SERVER names another one: a Valkey, say.
fn binary() -> String {
    let found = |name: &String| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let wanted = std::env::var("SHARDPAIR_REDIS_SERVER").map_or_else(|_| vec!["redis-server".to_owned(), "valkey-server".to_owned()], |name| vec![name]);
    wanted.iter().find(|name| found(name)).unwrap_or_else(|| panic!("none of {wanted:?} is installed: tests/run does it")).clone()
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 30_000 + (std::process::id() % 80) as u16 * 20;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("shardpair-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut redis = Self { port, dir, arguments: arguments.iter().map(|a| (*a).to_owned()).collect(), child: None };
        redis.run();
        redis.answers().await;
        redis
    }

    /// Another's server: only its address.
    pub fn address_only(port: u16) -> Self {
        Self { port, dir: PathBuf::from("/nonexistent"), arguments: Vec::new(), child: None }
    }

    /// Starts the process (again), empty.
    pub fn run(&mut self) {
        let log = std::fs::File::create(self.dir.join("log")).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", &binary(), "--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.dir).args(&self.arguments).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("setpriv"));
    }

    /// Waits until it accepts connections.
    pub async fn answers(&self) {
        let begun = Instant::now();
        while !self.replies().await {
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(20), "Redis doesn't answer:\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// To PING with anything but that it still loads its file.
    async fn replies(&self) -> bool {
        let mut answer = [0; 8];
        let asking = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(b"PING\r\n").await?;
            stream.read_exact(&mut answer[..5]).await
        };
        matches!(tokio::time::timeout(Duration::from_secs(1), asking).await, Ok(Ok(_))) && !answer.starts_with(b"-LOAD")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub async fn connection(&self) -> ConnectionManager {
        manager(&self.url(), Duration::from_secs(10)).await
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// STOP, CONT.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").arg(format!("-{signal}")).arg(pid).status().expect("kill").success());
    }
}

pub async fn manager(url: &str, answer: Duration) -> ConnectionManager {
    let limits = ConnectionManagerConfig::new().set_connection_timeout(Some(Duration::from_secs(1))).set_response_timeout(Some(answer)).set_number_of_retries(1);
    redis::Client::open(url).expect("an address").get_connection_manager_with_config(limits).await.expect("a connection")
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
