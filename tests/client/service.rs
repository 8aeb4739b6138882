//! The routing service as a process, with maps from files or from Kubernetes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `shards` shards by `function`, at 127.0.0.1 and these ports (or 3306).
pub fn map(epoch: i64, function: &str, moduli: &[(u32, u32)], ports: &[u16]) -> String {
    let line = |(id, (modulus, residue)): (usize, &(u32, u32))| {
        let port = ports.get(id).copied().unwrap_or(3306);
        format!(r#"{{"id":{id},"modulus":{modulus},"residue":{residue},"vip":"127.0.0.1","port":{port}}}"#)
    };
    let shards = moduli.iter().enumerate().map(line).collect::<Vec<_>>().join(",");
    let tables = r#"[{"name":"d.t","key":"id","class":"Sharded"},{"name":"d.all","class":"Reference"}]"#;
    format!(r#"{{"version":1,"cluster":"shop","epoch":{epoch},"strategy":"Hash","function":"{function}","tables":{tables},"shards":[{shards}]}}"#)
}

/// Equal parts.
pub fn uniform(epoch: i64, function: &str, shards: u32) -> String {
    map(epoch, function, &(0..shards).map(|r| (shards, r)).collect::<Vec<_>>(), &[])
}

/// A file that is replaced at once, as a mounted ConfigMap's.
pub struct MapFile(pub PathBuf);

impl MapFile {
    pub fn new(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("shardpair-map-{}-{name}.json", std::process::id())));
        file.write(text);
        file
    }

    pub fn write(&self, text: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, &self.0).expect("renamed");
    }
}

impl Drop for MapFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub struct Service {
    child: Child,
    pub port: u16,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

impl Service {
    pub async fn start(maps: &[(&str, &MapFile)]) -> Self {
        Self::start_at(free_port(), maps).await
    }

    pub async fn start_at(port: u16, maps: &[(&str, &MapFile)]) -> Self {
        let files = maps.iter().flat_map(|(name, file)| ["--map-file".to_owned(), format!("{name}={}", file.0.display())]);
        Self::run(port, &files.collect::<Vec<_>>(), None).await
    }

    /// With the maps of a namespace of that Kubernetes.
    pub async fn of_kubernetes(kubeconfig: &Path, namespace: &str) -> Self {
        Self::run(free_port(), &["--watch-namespace".to_owned(), namespace.to_owned()], Some(kubeconfig)).await
    }

    async fn run(port: u16, arguments: &[String], kubeconfig: Option<&Path>) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_shardpair"), "route", "--listen", &format!("127.0.0.1:{port}")]).args(arguments);
        command.envs(kubeconfig.map(|path| ("KUBECONFIG", path)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("setpriv");
        let service = Self { child, port };
        let begun = Instant::now();
        while !service.try_get("/readyz").await.is_ok_and(|(status, _, _)| status == 200) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the service isn't ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service
    }

    pub fn url(&self, cluster: &str) -> String {
        format!("http://127.0.0.1:{}/v1/clusters/{cluster}", self.port)
    }

    pub async fn get(&self, path: &str) -> (u16, String, String) {
        self.try_get(path).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    async fn try_get(&self, path: &str) -> std::io::Result<(u16, String, String)> {
        self.ask("GET", path, &[], "").await
    }

    /// Status, headers, body.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<(u16, String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let headers = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<String>();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Ok((status, head.to_ascii_lowercase(), body.to_owned()))
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}
