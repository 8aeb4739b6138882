//! Pages that tell what the code has: names, rights, ways to run the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::said::text_of;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, all: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            // What only tests of a file say is nobody's name.
            let text = std::fs::read_to_string(&path).expect("text");
            all.push_str(text.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
}

/// `shardpair.io/<name>` in quotes or backticks, but for versions of the API.
fn named(text: &str, quote: char) -> BTreeSet<String> {
    let words = text.split(quote).skip(1).step_by(2).filter_map(|w| w.strip_prefix("shardpair.io/"));
    words.filter(|w| !w.is_empty() && !w.starts_with("v1alpha1") && w.chars().all(|c| c.is_ascii_lowercase() || c == '-')).map(str::to_owned).collect()
}

#[test]
fn the_page_of_labels_has_every_name_in_the_code_and_no_other() {
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    // Quotes in other places: line by line.
    let ours: BTreeSet<String> = code.lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|line| named(line, '"')).collect();
    let page: BTreeSet<String> = text_of("docs/labels.md").lines().filter(|l| l.starts_with("| `")).flat_map(|line| named(line, '`')).collect();
    assert!(ours.len() > 15, "{ours:?}");
    assert_eq!(page, ours);
}

/// Resources and verbs, as the chart's rules have them.
fn chart_rights() -> BTreeMap<String, BTreeSet<String>> {
    let text = text_of("charts/shardpair/templates/rbac.yaml");
    let list = |line: &str| -> Vec<String> { line.split_once('[').map(|(_, l)| l.trim_end_matches(']').split(',').map(|w| w.trim().to_owned()).collect()).unwrap_or_default() };
    let (mut rights, mut resources) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        match line.split_once(':').map(|(key, _)| key) {
            Some("resources") => resources = list(line),
            Some("verbs") => resources.iter().for_each(|r| rights.entry(r.clone()).or_default().extend(list(line))),
            _ => {}
        }
    }
    rights
}

#[test]
fn the_page_of_security_tells_the_charts_rights() {
    let mut told = BTreeMap::<String, BTreeSet<String>>::new();
    let page = text_of("docs/security.md");
    let table = page.split("| the operator may |").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the table");
    for row in table.lines().skip(2) {
        let cell = row.split('|').nth(1).expect("a cell");
        for part in cell.split(';') {
            let resources = part.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
            let verbs = part.rsplit('`').next().unwrap_or_default().replace("in its own namespace", "");
            let verbs: BTreeSet<String> = verbs.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect();
            assert!(!resources.is_empty() && !verbs.is_empty(), "{row}");
            resources.into_iter().for_each(|r| told.entry(r).or_default().extend(verbs.clone()));
        }
    }
    assert_eq!(told, chart_rights());
}

#[test]
fn the_page_for_contributors_names_what_there_is() {
    let (page, runner, cargo) = (text_of("docs/contributing.md"), text_of("tests/run"), text_of("Cargo.toml"));
    let mut seen = 0;
    for code in page.split('`').skip(1).step_by(2) {
        let words: Vec<&str> = code.split_whitespace().filter(|w| !w.contains('=')).collect();
        match words[..] {
            ["tests/run", part] => assert!(runner.contains(&format!("{part}() {{")), "tests/run has no part {part}"),
            ["cargo", "test", "--test", target, ..] => assert!(cargo.contains(&format!("[[test]]\nname = \"{target}\"")), "there is no test {target}"),
            [path, ..] if path.contains('/') => assert!(root().join(path).exists(), "there is no {path}"),
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen > 15, "only {seen} were found");
}
