//! Tables from results: pure.

use super::results::{Commit, Copied, Fault, Measured, Purged, Results, Run};
use super::spread::spread;

/// 50th, 99th percentile and the largest, of what was measured in milliseconds.
pub fn of(mut ms: Vec<f64>) -> (f64, f64, f64) {
    ms.sort_by(f64::total_cmp);
    spread(&ms)
}

fn time(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 99_950.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

/// What lies between `<!-- NAME: begin -->` and `<!-- NAME: end -->` is replaced; none: a marker is missing.
pub fn between_markers(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

/// Stacks with runs of that fault, by their median gap.
pub fn fastest_first(results: &Results, fault: Fault) -> Vec<(&Measured, Vec<&Run>)> {
    let of_fault = results.stacks.iter().map(|stack| (stack, stack.runs.iter().filter(|run| run.fault == fault).collect::<Vec<_>>()));
    let mut stacks: Vec<_> = of_fault.filter(|(_, runs)| !runs.is_empty()).collect();
    let median = |runs: &[&Run]| of(runs.iter().map(|run| run.gap_ms).collect()).0;
    stacks.sort_by(|a, b| median(&a.1).total_cmp(&median(&b.1)));
    stacks
}

/// Everything that docs/benchmarks.md has from a run.
pub fn tables(results: &Results) -> String {
    let mut text = setting(results);
    for fault in Fault::ALL {
        text += &table(results, fault);
    }
    text += &stacks(results);
    if !results.commits.is_empty() {
        text += &commits(&results.commits);
    }
    if !results.copies.is_empty() {
        text += &copies(&results.copies);
    }
    if !results.purges.is_empty() {
        text += &purges(&results.purges);
    }
    text
}

fn setting(results: &Results) -> String {
    let s = &results.setting;
    format!(
        "Measured {}: {} cores ({}), {}, kernel {}, load before {}, commit {}, `benches/peers/run {}`, {} minutes.\n\n",
        s.date, s.cores, s.cpu, s.memory, s.kernel, s.load_before, s.commit, s.command, s.minutes
    )
}

fn table(results: &Results, fault: Fault) -> String {
    let rows = fastest_first(results, fault);
    if rows.is_empty() {
        return String::new();
    }
    let head = "| stack | runs | gap p50 | p99 | max | later, max | lost | wrong | differing | redundant after p50 | max |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    let body: String = rows.iter().map(|(stack, runs)| row(stack, runs)).collect();
    format!("### {}\n\n{head}{body}\n", fault.title())
}

fn row(stack: &Measured, runs: &[&Run]) -> String {
    let (p50, p99, max) = of(runs.iter().map(|r| r.gap_ms).collect());
    let (_, _, later) = of(runs.iter().map(|r| r.later_ms).collect());
    let back: Vec<f64> = runs.iter().filter_map(|r| r.redundant_ms).collect();
    let never = runs.len() - back.len();
    let (back50, _, backmax) = of(back.clone());
    let redundant = match (back.len(), never) {
        (0, _) => "never | never".to_owned(),
        (_, 0) => format!("{} | {}", time(back50), time(backmax)),
        (_, never) => format!("{} | never ({never})", time(back50)),
    };
    let sum = |of: fn(&Run) -> u64| runs.iter().map(|r| of(r)).sum::<u64>();
    let helped = if runs.iter().any(|r| r.healed_first) { " (*)" } else { "" };
    let (lost, wrong, differing) = (sum(|r| r.lost), sum(|r| r.wrong), sum(|r| r.differing));
    let name = if stack.about.engine == "MySQL" { stack.name.clone() } else { format!("{} ({})", stack.name, stack.about.engine) };
    let cells = format!("{}{helped} | {} | {} | {} | {lost} | {wrong} | {differing} | {redundant}", time(p50), time(p99), time(max), time(later));
    format!("| {name} | {} | {cells} |\n", runs.len())
}

/// Settings, versions, and what was left out.
fn stacks(results: &Results) -> String {
    let mut text = "### Stacks as they were set up\n\n| stack | versions | settings |\n|---|---|---|\n".to_owned();
    let mut notes = String::new();
    let mut seen = Vec::new();
    for stack in &results.stacks {
        // shardpair is measured several times, set up the same.
        if !stack.about.title.is_empty() && !seen.contains(&(&stack.about.title, &stack.about.settings)) {
            seen.push((&stack.about.title, &stack.about.settings));
            let name = stack.name.split(", ").next().unwrap_or_default();
            text += &format!("| {name}: {} | {} | {} |\n", stack.about.title, stack.about.versions, stack.about.settings);
        }
        for note in &stack.notes {
            let short: String = note.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
            notes += &format!("- {}: {}\n", stack.name, short.replace('|', "\\|"));
        }
    }
    let notes = if notes.is_empty() { String::new() } else { format!("\nWhat went wrong with stacks themselves in this run:\n\n{notes}") };
    format!("{text}{notes}\n")
}

fn commits(commits: &[Commit]) -> String {
    let mut text = "### What a commit costs\n\nOne-row inserts, autocommit, sysbench on the same machine.\n\n| replication | threads | inserts a second | p50 | p99 |\n|---|---|---|---|---|\n".to_owned();
    for c in commits {
        text += &format!("| {} | {} | {:.0} | {} | {} |\n", c.way, c.threads, c.per_second, time(c.p50_ms), time(c.p99_ms));
    }
    text + "\n"
}

fn copies(copies: &[Copied]) -> String {
    let mut text = "### Moving half of a shard\n\nshardpair moves no rows at the flip: its line is how long writes of the moving keys wait. The others' writes would have to stop, or be \
                    caught up, for as long as the copy takes.\n\n| way | GB | takes |\n|---|---|---|\n"
        .to_owned();
    for c in copies {
        text += &format!("| {} | {} | {} |\n", c.way, c.gb, time(c.seconds * 1000.0));
    }
    text + "\n"
}

fn purges(purges: &[Purged]) -> String {
    let mut text = "### Deleting the foreign half\n\nOn a pair in Sync, beside four writers (benches/purge); p50 and p99 are those writers'.\n\n| way | rows a transaction | rows a second | p50 | p99 |\n|---|---|---|---|---|\n".to_owned();
    for p in purges {
        let limit = if p.limit == 0 { "-".to_owned() } else { p.limit.to_string() };
        text += &format!("| {} | {limit} | {:.0} | {} | {} |\n", p.way, p.rows_per_second, time(p.p50_ms), time(p.p99_ms));
    }
    text + "\n"
}
