//! Percentiles and tables, for people and as JSON.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::measure::Run;
use super::support::spread;

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn spread(mut times: Vec<Duration>) -> (Duration, Duration, Duration) {
    times.sort();
    spread::spread(&times)
}

/// One run in one line.
pub fn line(run: &Run) -> String {
    let parts: Vec<String> = run.phases.parts.iter().map(|(name, took)| format!("{name} {}", ms(*took))).collect();
    let lost = if run.problems.is_empty() { String::new() } else { format!("; PROBLEMS: {:#?}", run.problems) };
    format!("gap {} ms, later {} ms, Sync after {:.1} s, {} rows ({}){lost}", ms(run.gap), ms(run.return_gap), run.to_sync.as_secs_f64(), run.acked, parts.join(", "))
}

/// The parts of all runs of a kind, by name and place, in the order of the run that has most.
fn parts(runs: &[&Run]) -> Vec<(String, Vec<Duration>)> {
    let numbered = |run: &Run| {
        let mut seen = std::collections::BTreeMap::<String, u32>::new();
        let name = |(part, took): &(String, Duration)| {
            let times = seen.entry(part.clone()).or_insert(0);
            *times += 1;
            (if *times == 1 { part.clone() } else { format!("{part} ({times})") }, *took)
        };
        run.phases.parts.iter().map(name).collect::<Vec<_>>()
    };
    let all: Vec<Vec<(String, Duration)>> = runs.iter().map(|run| numbered(run)).collect();
    let mut order: Vec<String> = Vec::new();
    let mut longest: Vec<&Vec<(String, Duration)>> = all.iter().collect();
    longest.sort_by_key(|parts| std::cmp::Reverse(parts.len()));
    for (name, _) in longest.into_iter().flatten() {
        if !order.contains(name) && name != "reconnect" {
            order.push(name.clone());
        }
    }
    order.push("reconnect".to_owned());
    let times = |name: &String| all.iter().flatten().filter(|(n, _)| n == name).map(|(_, took)| *took).collect();
    order.iter().map(|name| (name.clone(), times(name))).collect()
}

/// What came out for a kind.
pub fn table(runs: &[Run], kind: &str) {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.kind == kind).collect();
    let lost = runs.iter().flat_map(|r| &r.problems).count();
    println!("\n{kind}: {} runs, {} rows acknowledged, {lost} lost or wrong", runs.len(), runs.iter().map(|r| r.acked).sum::<usize>());
    println!("{:<28}{:>9}{:>9}{:>9}  (ms; in so many runs)", "", "p50", "p99", "max");
    let row = |name: &str, times: Vec<Duration>| {
        let count = times.len();
        let (p50, p99, max) = spread(times);
        println!("{name:<28}{:>9}{:>9}{:>9}  {count}", ms(p50), ms(p99), ms(max));
    };
    row("gap", runs.iter().map(|r| r.gap).collect());
    row("longest later, until Sync", runs.iter().map(|r| r.return_gap).collect());
    row("fault to Sync", runs.iter().map(|r| r.to_sync).collect());
    for (name, times) in parts(&runs) {
        row(&format!("  {name}"), times);
    }
}

/// Everything, for machines.
pub fn write(path: &Path, about: &Value, runs: &[Run]) {
    let run = |r: &Run| {
        let parts: Vec<Value> = r.phases.parts.iter().map(|(name, took)| json!({"name": name, "ms": ms(*took)})).collect();
        json!({"kind": r.kind, "gapMs": ms(r.gap), "returnGapMs": ms(r.return_gap), "toSyncMs": ms(r.to_sync), "acked": r.acked, "problems": r.problems, "parts": parts})
    };
    let text = serde_json::to_string_pretty(&json!({"setting": about, "runs": runs.iter().map(run).collect::<Vec<_>>()})).unwrap_or_default();
    match std::fs::write(path, text) {
        Ok(()) => println!("\nall runs: {}", path.display()),
        Err(error) => eprintln!("{}: {error}", path.display()),
    }
}
