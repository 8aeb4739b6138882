//! The documents that are made from the code: `UPDATE_DOCS=1 cargo test --test pure documents` writes them anew. And what alerts,
//! dashboard and runbooks ask for is what the operator tells.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use shardpair::api::events;
use shardpair::controller::metrics::series::{self, Kind};
use shardpair::expansion::step::Reason as PlanReason;
use shardpair::pair::guide::{Class, event, guide};
use shardpair::pair::step::Reason;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn same_or_update(path: &str, wanted: &str) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&full, wanted).expect("written");
    }
    let found = fs::read_to_string(&full).unwrap_or_default();
    assert!(found == wanted, "{path} differs from the code: UPDATE_DOCS=1 cargo test --test pure documents");
}

#[test]
fn the_table_of_metrics_is_the_operators_own() {
    let mut text = String::from(
        "# Metrics\n\n<!-- Made from src/controller/metrics/series.rs: UPDATE_DOCS=1 cargo test --test pure documents -->\n\nServed at `/metrics` on port 8080 of the operator, in the OpenMetrics format. Only the process that leads tells of pairs; \
         the series of a pair end with it. Labels are bounded: `namespace`, `pair`, `member`, `plan`, `shard`, and typed words (`role`, `kind`, `reason`: see [events.md](events.md)). \
         Counters of MySQL's start anew with its process, those of moves and refusals with the leading operator.\n\n\
         Alerts are in `charts/shardpair/files/alerts.yaml` (with the chart: `metrics.prometheusRule.enabled`), their runbooks in [operations.md](operations.md); the \
         Grafana dashboard is `charts/shardpair/files/dashboard.json` (`metrics.dashboard.enabled`).\n\n\
         How often: what a pair decides, its members' connectability and lag twice a second; MySQL's counters every 10 s, sizes of files every 60 s, both in a session of \
         their own, so that an answer that is late is never taken for a silent member. `disk_free_bytes` is the volume's size less what MySQL's files take; what else is on a \
         shared file system only kubelet knows (`kubelet_volume_stats_available_bytes`).\n\n| series | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for s in series::all() {
        let name = match s.kind {
            Kind::Gauge => format!("shardpair_{}", s.name),
            Kind::Counter => format!("shardpair_{}_total", s.name),
            Kind::Histogram => format!("shardpair_{}", s.name),
        };
        let kind = format!("{:?}", s.kind).to_lowercase();
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {} |", s.labels.join(", "), s.help);
    }
    same_or_update("docs/metrics.md", &text);
}

const CONDITIONS: &[(&str, &str, &str, &str)] = &[
    ("Ready", "ShardCluster, ShardPair", "Everything is as the spec wants it; of a pair: writes are possible, the standby could take over, no stranger on the VIP.", "Read its reason below."),
    ("Available", "ShardCluster, ShardPair", "Writes are possible.", "Not True for more than a failover takes (a second): the reason says what is in the way."),
    ("Redundant", "ShardCluster, ShardPair", "Every acknowledged write is on two members, and the standby could take over.", "Bring the standby back: until then a loss of the primary is waited out."),
    ("Reconciling", "ShardCluster", "Objects are being made or changed. Present only while it holds.", "Wait."),
    ("Stalled", "ShardCluster, ExpansionPlan", "Nothing goes on without a person. Present only while it holds.", "Do what its message says."),
    ("Progressing", "ExpansionPlan", "The plan is under way, or waits for approval.", "`kubectl shardpair expand` shows how far it is."),
    ("Complete", "ExpansionPlan", "The plan is done: all shards have their own keys, and nothing else.", "Nothing."),
];

#[test]
fn the_table_of_events_and_conditions_is_the_codes_own() {
    let mut text = String::from(
        "# Events and conditions\n\n<!-- Made from src/pair/step.rs, src/pair/guide.rs and src/api/events.rs: UPDATE_DOCS=1 cargo test --test pure documents -->\n\n\
         What is told, and what to do about it. `kubectl shardpair explain PAIR` says it of one pair, now.\n\n## Conditions\n| condition | of | True means | if it isn't |\n|---|---|---|---|\n",
    );
    for (name, of, meaning, todo) in CONDITIONS {
        let _ = writeln!(text, "| {name} | {of} | {meaning} | {todo} |");
    }
    text += "\n## Reasons\nOf a pair's conditions, of `shardpair_pair_state` and `shardpair_pair_refusals_total`. Class: *rest*, *work* (the operator does something), *wait* (it comes by itself), \
             *refusal* (a move isn't possible now), *alarm* (a person has to look).\n\n| reason | class | means | what to do |\n|---|---|---|---|\n";
    let mut reasons: Vec<_> = Reason::ALL.to_vec();
    reasons.sort_by_key(|r| (std::cmp::Reverse(guide(*r).0), r.as_str()));
    for r in reasons {
        let (class, todo) = guide(r);
        let _ = writeln!(text, "| {} | {} | {} | {todo} |", r.as_str(), class.as_str(), r.meaning());
    }
    let _ = writeln!(text, "| PrimaryOpen | rest | Of Available: the primary accepts writes. | Nothing. |\n| Settling | work | The last change is being taken in. | Nothing. |");
    text += "\n## Reasons of an expansion\nOf an ExpansionPlan's conditions Progressing and Stalled (for a person: nothing goes on without one).\n\n| reason | waits | means | what to do |\n|---|---|---|---|\n";
    for r in PlanReason::ALL {
        let waits = if r.needs_a_person() { "for a person" } else if r.rests() { "stands still" } else { "" };
        let _ = writeln!(text, "| {} | {waits} | {} | {} |", r.as_str(), r.meaning(), r.remedy());
    }
    text += "\n## Events\n| event | of | means | what to do |\n|---|---|---|---|\n";
    for (name, meaning) in events::ALL.iter().zip(events::MEANINGS) {
        let (of, meaning) = meaning.trim().split_once(": ").unwrap_or_else(|| panic!("{name}: {meaning} doesn't say whose it is"));
        let todo = event(name).unwrap_or_else(|| panic!("{name} has no line in pair::guide::event"));
        let _ = writeln!(text, "| {name} | {of} | {meaning} | {todo} |");
    }
    same_or_update("docs/events.md", &text);
}

/// Words of a text that are names of our series.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with("shardpair_")).map(str::to_owned).collect()
}

fn told() -> BTreeSet<String> {
    let mut all: BTreeSet<String> = series::all().iter().map(series::Series::queried).collect();
    for histogram in series::all().iter().filter(|s| s.kind == Kind::Histogram) {
        all.extend(["bucket", "sum"].map(|end| format!("shardpair_{}_{end}", histogram.name)));
    }
    all
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("charts/shardpair/files/alerts.yaml")).expect("YAML");
    file["groups"].as_array().expect("groups").iter().flat_map(|g| g["rules"].as_array().expect("rules").clone()).collect()
}

#[test]
fn alerts_and_dashboard_ask_only_for_what_is_told() {
    let known = told();
    let dashboard: Value = serde_json::from_str(&read("charts/shardpair/files/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let asked = panels.iter().flat_map(|p| p["targets"].as_array().cloned().unwrap_or_default()).map(|t| t["expr"].to_string());
    for expr in asked.chain(alerts().iter().map(|a| a["expr"].to_string())) {
        let names = named(&expr);
        assert!(!names.is_empty(), "{expr} asks for nothing of ours");
        assert!(names.is_subset(&known), "{expr}: not told: {:?}", names.difference(&known).collect::<Vec<_>>());
    }
    let ids: BTreeSet<u64> = panels.iter().map(|p| p["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
}

#[test]
fn every_alert_has_its_runbook_and_its_test() {
    let (operations, tests) = (read("docs/operations.md"), read("tests/prometheus/alerts-test.yaml"));
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        assert!(operations.contains(&format!("\n### {name}\n")), "{name} has no runbook in docs/operations.md");
        assert_eq!(alert["annotations"]["runbook"], format!("docs/operations.md#{}", name.to_lowercase()));
        assert!(tests.contains(&format!("- interval: 15s\n  name: {name}\n")), "{name} has no test in tests/prometheus/alerts-test.yaml");
    }
}

#[test]
fn the_alert_for_a_person_names_every_alarm() {
    let all = alerts();
    let alert = all.iter().find(|a| a["alert"] == "ShardpairNeedsAPerson").expect("the alert");
    let expr = alert["expr"].as_str().expect("text");
    let listed: BTreeSet<&str> = expr.split('"').nth(1).expect("a pattern").split('|').collect();
    let alarms: BTreeSet<&str> = Reason::ALL.iter().filter(|r| guide(**r).0 == Class::Alarm).map(|r| r.as_str()).collect();
    assert_eq!(listed, alarms);
}

#[test]
fn every_command_of_the_plugin_in_the_documents_is_one() {
    use clap::Parser;
    let mut commands = 0;
    for path in ["docs/operations.md", "docs/plugin.md", "docs/events.md", "README.md"] {
        for part in read(path).split('`').skip(1).step_by(2).flat_map(|code| code.lines().map(str::to_owned).collect::<Vec<_>>()) {
            let Some(said) = part.trim().strip_prefix("kubectl shardpair").filter(|w| !w.is_empty()) else { continue };
            // PAIR, CLUSTER, PLAN stand for names; what is in brackets may be left out; what is quoted is one word.
            let quoted = said.split('\'').enumerate().map(|(n, p)| if n % 2 == 1 { p.replace(' ', "_") } else { p.replace(['[', ']'], "") });
            let line = quoted.collect::<String>();
            let words: Vec<&str> = std::iter::once("kubectl-shardpair").chain(line.split_whitespace()).collect();
            let parsed = shardpair::plugin::Args::try_parse_from(&words);
            let told = parsed.as_ref().err().map(|e| e.kind());
            let names_a_verb = told.is_none_or(|k| matches!(k, clap::error::ErrorKind::MissingRequiredArgument | clap::error::ErrorKind::InvalidValue | clap::error::ErrorKind::ValueValidation | clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion));
            assert!(names_a_verb, "{path}: {part}: {told:?}");
            commands += 1;
        }
    }
    assert!(commands > 20, "only {commands} commands were found: is the test looking at the right place?");
}
