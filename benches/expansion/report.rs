//! Tables for people, JSON for machines.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::measure::{Figures, Turn};
use super::support::lanes::Felt;
use super::support::spread;

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    spread::spread(&values)
}

fn row(name: &str, values: Vec<f64>) {
    let (count, (p50, p99, max)) = (values.len(), spread(values));
    println!("{name:<44}{p50:>10.1}{p99:>10.1}{max:>10.1}  {count}");
}

fn errors(felt: &[&Felt]) -> usize {
    felt.iter().flat_map(|f| f.errors.values()).sum()
}

/// What came out.
pub fn table(all: &[Figures]) {
    for f in all {
        println!("\n{} -> {} shards, {} MB each, {} writes/s wanted: {} rows acknowledged, {} lost or wrong", f.size.shards, 2 * f.size.shards, f.size.mb, f.size.rate, f.acked, f.problems.len());
        println!("{:<44}{:>10}{:>10}{:>10}  (in so many)", "milliseconds", "p50", "p99", "max");
        for (name, turns) in [("flip", &f.flips), ("way back", &f.backs)] {
            let each = |of: fn(&Turn) -> Duration| turns.iter().map(|t| ms(of(t))).collect::<Vec<_>>();
            row(&format!("{name}: all shards"), each(|t| t.took));
            row(&format!("{name}: pause, as the pairs tell it"), turns.iter().flat_map(|t| &t.pauses).map(|s| s * 1000.0).collect());
            row(&format!("{name}: longest gap of keys that move"), each(|t| t.moving.gap));
            row(&format!("{name}: longest gap of keys that stay"), each(|t| t.staying.gap));
            row(&format!("{name}: p99 of writes of keys that stay"), each(|t| t.staying.p99));
            println!("{:<44}{:>10}", format!("{name}: errors of keys that stay"), errors(&turns.iter().map(|t| &t.staying).collect::<Vec<_>>()));
        }
        println!("{:<44}{:>10.1}", "before: p99 of writes of keys that stay", ms(f.before.p99));
        println!("{:<44}{:>10.1}", "seconds to Prepared", f.to_prepared.as_secs_f64());
        row("  of which each CLONE", f.copies.clones.iter().map(|s| s * 1000.0).collect());
        if let Some(dump) = f.copies.dump {
            println!("{:<44}{:>10.1}", "seconds of mysqldump | mysql, one shard", dump.as_secs_f64());
        }
        println!("{:<44}{:>10.1}  ({} rows deleted)", "seconds from Prepared to Complete", f.to_complete.as_secs_f64(), f.rows_purged);
        f.problems.iter().take(20).for_each(|p| println!("PROBLEM: {p}"));
    }
}

/// Everything, for machines.
pub fn write(path: &Path, all: &[Figures]) {
    let felt = |f: &Felt| json!({"acked": f.acked, "gapMs": ms(f.gap), "p50Ms": ms(f.p50), "p99Ms": ms(f.p99), "errors": f.errors});
    let turn = |t: &Turn| json!({"tookMs": ms(t.took), "pauseSeconds": t.pauses, "moving": felt(&t.moving), "staying": felt(&t.staying)});
    let one = |f: &Figures| {
        json!({
            "shards": f.size.shards, "mb": f.size.mb, "rate": f.size.rate, "acked": f.acked, "problems": f.problems,
            "toPreparedSeconds": f.to_prepared.as_secs_f64(), "toCompleteSeconds": f.to_complete.as_secs_f64(), "rowsPurged": f.rows_purged,
            "cloneSeconds": f.copies.clones, "dumpSeconds": f.copies.dump.map(|d| d.as_secs_f64()), "before": felt(&f.before),
            "flips": f.flips.iter().map(turn).collect::<Vec<Value>>(), "waysBack": f.backs.iter().map(turn).collect::<Vec<Value>>(),
        })
    };
    let text = serde_json::to_string_pretty(&all.iter().map(one).collect::<Vec<_>>()).unwrap_or_default();
    match std::fs::write(path, text) {
        Ok(()) => println!("\nall of it: {}", path.display()),
        Err(error) => eprintln!("{}: {error}", path.display()),
    }
}
