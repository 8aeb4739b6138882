//! Commands that the documents tell people to type, and which test runs each. Also for tests/kubernetes, which runs those that it can.

use std::path::Path;

pub const DOCUMENTS: [&str; 15] = [
    "README.md",
    "charts/shardpair/README.md",
    "docs/architecture.md",
    "docs/clients.md",
    "docs/contributing.md",
    "docs/events.md",
    "docs/expansion.md",
    "docs/failover.md",
    "docs/failures.md",
    "docs/labels.md",
    "docs/limits.md",
    "docs/operations.md",
    "docs/page.md",
    "docs/plugin.md",
    "docs/security.md",
];

pub fn text_of(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Blocks of a language, as they stand.
pub fn blocks(path: &str, language: &str) -> Vec<String> {
    let begins = format!("{language}\n");
    text_of(path).split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(&begins).map(str::to_owned)).collect()
}

/// Every command of kubectl and helm, in a block or in a sentence: its document, and what to type, without comments and without what may be left out.
pub fn commands() -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for path in DOCUMENTS {
        let text = text_of(path).replace("\\\n", " ");
        for line in text.split('`').skip(1).step_by(2).flat_map(str::lines) {
            let line = line.split("  #").next().unwrap_or_default();
            let mut depth = 0_i32;
            let kept: String = line.chars().filter(|c| { depth += i32::from(*c == '['); let keep = depth == 0; depth -= i32::from(*c == ']'); keep }).collect();
            let words: Vec<&str> = kept.split_whitespace().collect();
            // A tool or a verb without what it needs is a name, not something to type.
            let whole = !matches!(words[..], [_] | [_, _] | ["kubectl", "shardpair", "mysql" | "replace" | "rebuild" | "promote" | "pause" | "resume"]);
            if matches!(words.first(), Some(&("kubectl" | "helm"))) && whole {
                all.push((path, words.join(" ")));
            }
        }
    }
    all
}

/// Who runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunBy {
    /// tests/kubernetes/commands.rs, as it stands: it only looks.
    AsItStands,
    /// tests/kubernetes/commands.rs, each in its turn: it changes something.
    InTurn,
    /// Another test: file, and what of it is there.
    Test(&'static str, &'static str),
}

const RULES: &[(&str, RunBy)] = &[
    ("kubectl shardpair status", RunBy::AsItStands),
    ("kubectl shardpair explain PAIR", RunBy::AsItStands),
    ("kubectl shardpair events", RunBy::AsItStands),
    ("kubectl shardpair report", RunBy::AsItStands),
    ("kubectl shardpair mysql PAIR", RunBy::AsItStands),
    ("kubectl shardpair route TABLE KEY", RunBy::AsItStands),
    ("kubectl shardpair completion SHELL", RunBy::AsItStands),
    ("kubectl get ", RunBy::AsItStands),
    ("kubectl describe ", RunBy::AsItStands),
    ("kubectl logs ", RunBy::AsItStands),
    ("kubectl wait --for=condition=Ready shc/shop", RunBy::AsItStands),
    ("kubectl apply -f examples/", RunBy::AsItStands),
    ("kubectl shardpair switchover PAIR", RunBy::InTurn),
    ("kubectl shardpair rebuild PAIR", RunBy::InTurn),
    ("kubectl shardpair replace PAIR", RunBy::InTurn),
    ("kubectl shardpair pause ", RunBy::InTurn),
    ("kubectl shardpair resume ", RunBy::InTurn),
    ("kubectl shardpair promote PAIR --accept-data-loss", RunBy::Test("tests/kubernetes/plugin.rs", "\"promote\", \"shop-0\", \"--accept-data-loss\"")),
    ("kubectl shardpair expand", RunBy::Test("tests/pure/plugin/steering.rs", "fn a_plan_is_")),
    ("kubectl shardpair approve", RunBy::Test("tests/pure/plugin/steering.rs", "approve::raised")),
    ("kubectl shardpair rollback", RunBy::Test("tests/pure/plugin/steering.rs", "approve::lowered")),
    ("kubectl shardpair dashboard", RunBy::Test("tests/kubernetes/page.rs", "\"dashboard\"")),
    ("kubectl drain NODE", RunBy::Test("tests/kubernetes/switchover.rs", "&[\"drain\", &node")),
    ("kubectl annotate shp ", RunBy::Test("tests/kubernetes/support/shop.rs", "fn annotate")),
    ("kubectl wait --for=condition=Complete xplan/", RunBy::Test("tests/kubernetes/expansion.rs", "Phase::Complete")),
    ("kubectl apply --server-side --force-conflicts --field-manager=helm -f charts/shardpair/files/crds", RunBy::Test("tests/kubernetes/upgrade.rs", "follow(\"**`conflict with")),
    ("helm upgrade --install shardpair charts/shardpair -n shardpair-system --create-namespace --take-ownership", RunBy::Test("tests/kubernetes/upgrade.rs", "follow(\"**`cannot be imported")),
    ("helm upgrade shardpair charts/shardpair -n shardpair-system --reset-then-reuse-values", RunBy::Test("tests/kubernetes/upgrade.rs", "follow(\"## Upgrading\")")),
    ("helm upgrade shardpair charts/shardpair -n shardpair-system --reuse-values --set page.enabled=true", RunBy::Test("tests/kubernetes/page.rs", "&[\"upgrade\", \"shardpair\", \"charts/shardpair\"")),
    ("helm install shardpair charts/shardpair -n shardpair-system --create-namespace --wait", RunBy::Test("tests/kubernetes/support/cluster.rs", "\"upgrade\", \"--install\", \"shardpair\", \"charts/shardpair\"")),
    ("helm test shardpair -n shardpair-system", RunBy::Test("tests/kubernetes/chart.rs", "&[\"test\", \"shardpair\"")),
];

/// None: nobody does.
pub fn run_by(command: &str) -> Option<RunBy> {
    RULES.iter().find(|(begins, _)| command.starts_with(begins)).map(|(_, by)| *by)
}
