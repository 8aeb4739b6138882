//! Where the time of a move goes: from the operator's log, which has a line `done` with name and duration of each step.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::support::cluster::{OPERATOR_LABEL, SYSTEM};
use super::support::output;

/// A step that the operator took during a move.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub begun: SystemTime,
    pub took: Duration,
}

/// A move in parts; the parts are what lies between known points in time.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    /// Name and duration, in order: detect, the steps (with what lies between two of them as `between`), reconnect.
    pub parts: Vec<(String, Duration)>,
}

/// The steps that were logged from `fault` to `first_write`, in order.
pub async fn of(ns: &str, fault: SystemTime, first_write: SystemTime) -> Phases {
    let since = Timestamp::try_from(fault).expect("a time").to_string();
    let args = ["-n", SYSTEM, "logs", "-l", OPERATOR_LABEL, "--tail=-1", "--since-time", &since];
    let logged = output("kubectl", &args).await;
    let text = String::from_utf8_lossy(&logged.stdout);
    let mut steps: Vec<Step> = text.lines().filter_map(|line| parse(line, ns)).filter(|s| s.begun >= fault && s.begun < first_write).collect();
    steps.sort_by_key(|s| s.begun);
    Phases { parts: parts(&steps, fault, first_write) }
}

fn parts(steps: &[Step], fault: SystemTime, first_write: SystemTime) -> Vec<(String, Duration)> {
    let mut parts = Vec::new();
    let mut at = fault;
    for step in steps {
        let before = step.begun.duration_since(at).unwrap_or_default();
        if parts.is_empty() {
            parts.push(("detect".to_owned(), before));
        } else if before >= Duration::from_millis(1) {
            parts.push((format!("before {}", step.name), before));
        }
        parts.push((step.name.clone(), step.took));
        at = step.begun + step.took;
    }
    if !steps.is_empty() {
        parts.push(("reconnect".to_owned(), first_write.duration_since(at).unwrap_or_default()));
    }
    parts
}

/// `2026-11-22T02:01:02.345678Z  INFO …: done pair="shop-0" step="PointVip" ms=12`, or the same as JSON.
fn parse(line: &str, ns: &str) -> Option<Step> {
    let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let (at, pair, name, ms) = match &json {
        Some(object) => {
            let fields = &object["fields"];
            let told = fields["namespace"].as_str().is_none_or(|n| n == ns);
            if !told || fields["message"] != "done" {
                return None;
            }
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            (text(&object["timestamp"])?, text(&fields["pair"])?, text(&fields["step"])?, fields["ms"].as_f64()?)
        }
        None => {
            if !line.contains(" done ") || value(line, "namespace").is_some_and(|n| n != ns) {
                return None;
            }
            (line.split_whitespace().next()?.to_owned(), value(line, "pair")?, value(line, "step")?, value(line, "ms")?.parse().ok()?)
        }
    };
    let ended = SystemTime::from(at.parse::<Timestamp>().ok()?);
    let took = Duration::from_secs_f64(ms / 1000.0);
    (pair == "shop-0").then(|| Step { name, begun: ended - took, took })
}

fn value(line: &str, key: &str) -> Option<String> {
    let from = line.find(&format!(" {key}="))? + key.len() + 2;
    let value = line[from..].split_whitespace().next()?;
    Some(value.trim_matches('"').to_owned())
}
