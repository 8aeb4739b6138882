//! A real Chromium, driven by its own driver (WebDriver): no library between.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long the page may take to show something, on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// One window. It finds nothing but this machine.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// One request, one answer: head and body.
pub fn http(port: u16, method: &str, path: &str, host: &str, body: &str) -> Result<(String, String), String> {
    let failed = |e: std::io::Error| format!("{method} {path}: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(failed)?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let _ = write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).map_err(failed)?;
    // The driver keeps its connections, whatever it is asked: read what it says it sends.
    let (mut all, mut part) = (Vec::new(), [0; 65_536]);
    loop {
        let text = String::from_utf8_lossy(&all);
        let length = text.to_lowercase().split_once("content-length:").and_then(|(_, l)| l.split_once("\r\n")?.0.trim().parse::<usize>().ok());
        let begun = all.windows(4).position(|w| w == b"\r\n\r\n");
        if begun.zip(length).is_some_and(|(at, length)| all.len() >= at + 4 + length) {
            break;
        }
        match stream.read(&mut part).map_err(failed)? {
            0 => break,
            read => all.extend_from_slice(&part[..read]),
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or(format!("{method} {path}: no answer"))?;
    Ok((head.to_owned(), body.to_owned()))
}

impl Browser {
    /// Chromium without a screen.
    pub fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "chromedriver", &format!("--port={port}"), "--log-level=OFF"]);
        let driver = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("setpriv");
        let mut browser = Self { driver, port, session: String::new() };
        let begun = Instant::now();
        while let Err(why) = browser.call("GET", "/status", &Value::Null) {
            assert!(begun.elapsed() < Duration::from_secs(30), "chromedriver (Debian's chromium-driver; tests/run installs it): {why}");
            std::thread::sleep(Duration::from_millis(50));
        }
        // Root has no sandbox; a container has little shared memory.
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": args}}}});
        let session = browser.call("POST", "/session", &wanted).expect("a session");
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("an id"));
        browser.size(1360, 860, false);
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (_, answer) = http(self.port, method, path, "localhost", &body)?;
        let answer: Value = serde_json::from_str(&answer).map_err(|e| format!("{path}: {e}: {answer}"))?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{path}: {error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body).unwrap_or_else(|e| panic!("{e}"))
    }

    fn devtools(&self, command: &str, params: Value) -> Value {
        self.ask("/goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// The window's size in CSS pixels, and whether the person likes it dark.
    pub fn size(&self, width: u32, height: u32, dark: bool) {
        self.devtools("Emulation.setDeviceMetricsOverride", json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}));
        let scheme = if dark { "dark" } else { "light" };
        // What moves is in another place in every picture.
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    pub fn open(&self, url: &str) {
        self.ask("/url", &json!({"url": url}));
    }

    /// What a function's body returns.
    pub fn js(&self, body: &str) -> Value {
        self.ask("/execute/sync", &json!({"script": body, "args": []}))
    }

    /// Waits until the expression is true.
    pub fn until(&self, what: &str, expression: &str) {
        self.until_within(what, expression, SOON);
    }

    /// The same, with another limit.
    pub fn until_within(&self, what: &str, expression: &str, limit: Duration) {
        let begun = Instant::now();
        while self.js(&format!("return Boolean({expression})")) != Value::Bool(true) {
            assert!(begun.elapsed() < limit, "{what}: not within {limit:?}: {expression}\n{}", self.text("body"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The text of the first element that a selector finds.
    pub fn text(&self, selector: &str) -> String {
        self.js(&format!("return document.querySelector({})?.textContent ?? ''", json!(selector))).as_str().unwrap_or_default().to_owned()
    }

    /// Keys, one after the other: characters, or their names.
    pub fn press(&self, keys: &[&str]) {
        let code = |key: &str| match key {
            "Enter" => "\u{E007}".to_owned(),
            "Escape" => "\u{E00C}".to_owned(),
            "Tab" => "\u{E004}".to_owned(),
            "Left" => "\u{E012}".to_owned(),
            "Up" => "\u{E013}".to_owned(),
            "Right" => "\u{E014}".to_owned(),
            "Down" => "\u{E015}".to_owned(),
            other => other.to_owned(),
        };
        let pressed: Vec<Value> = keys.iter().flat_map(|k| [json!({"type": "keyDown", "value": code(k)}), json!({"type": "keyUp", "value": code(k)})]).collect();
        self.ask("/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": pressed}]}));
    }

    /// What the browser complained about since it was asked last: violations of the policy, errors of scripts.
    pub fn complaints(&self) -> Vec<String> {
        let told = self.ask("/se/log", &json!({"type": "browser"}));
        told.as_array().into_iter().flatten().map(|l| l["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The window as a PNG.
    pub fn screenshot(&self, path: &Path) {
        let shot = self.devtools("Page.captureScreenshot", json!({"format": "png"}));
        std::fs::write(path, base64(shot["data"].as_str().expect("data"))).expect("written");
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|c| *c != b'=').map(digit).collect();
    let whole = |four: &[u32]| {
        let bits = four.iter().enumerate().fold(0, |all, (n, d)| all | d << (18 - 6 * n));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(whole).collect()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call("DELETE", &self.session, &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
