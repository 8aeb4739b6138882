//! What the documents show is true: every YAML is accepted, every field exists, every command is one that a test runs.

mod pages;
pub mod said;

use std::collections::BTreeSet;

use said::{DOCUMENTS, RunBy, blocks, commands, run_by, text_of};
use serde_json::Value;
use shardpair::api::{self, names};
use shardpair::routing::Map;

/// The schemas of the three kinds.
fn schemas() -> Vec<(String, Value)> {
    let schema = |crd: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let whole = serde_json::to_value(crd).expect("plain data");
        (crd.spec.names.kind.clone(), whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    };
    api::crds().iter().map(schema).collect()
}

/// The schema of a field; lists are gone into as `name[]` or without a word.
fn field<'a>(schema: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let Some((name, rest)) = path.split_first() else { return Some(schema) };
    let name = name.trim_end_matches("[]");
    let below = &schema["properties"][name];
    let below = if below.is_null() && schema["additionalProperties"].is_object() { &schema["additionalProperties"] } else { below };
    let below = if below["items"].is_object() && !rest.is_empty() { &below["items"] } else { below };
    if below.is_null() { None } else { field(below, rest) }
}

/// What a value has that its schema doesn't know.
fn unknown(path: &str, value: &Value, schema: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let below = [&schema["properties"][name], &schema["additionalProperties"]].into_iter().find(|s| s.is_object());
                let free = schema["x-kubernetes-preserve-unknown-fields"] == true;
                match below {
                    Some(below) => unknown(&format!("{path}.{name}"), inner, below, found),
                    None if free => {}
                    None => found.push(format!("{path}.{name}")),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| unknown(path, item, &schema["items"], found)),
        _ => {
            if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
                found.push(format!("{path}: {value} is none of {allowed:?}"));
            }
        }
    }
}

#[test]
fn every_yaml_in_the_documents_is_an_object_that_is_accepted() {
    let schemas = schemas();
    let schema_of = |kind: &str| &schemas.iter().find(|(k, _)| k == kind).unwrap_or_else(|| panic!("no kind {kind}")).1;
    let mut seen = 0;
    for path in DOCUMENTS {
        for block in blocks(path, "yaml") {
            let value: Value = serde_saphyr::from_str(&block).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
            // A part of one is a ShardCluster's.
            let kind = value["kind"].as_str().unwrap_or("ShardCluster");
            let mut found = Vec::new();
            for (name, part) in value.as_object().expect("an object").iter().filter(|(name, _)| !["apiVersion", "kind", "metadata"].contains(&name.as_str())) {
                unknown(name, part, &schema_of(kind)["properties"][name], &mut found);
            }
            assert!(found.is_empty(), "{path}: {found:?} in\n{block}");
            if kind == "ExpansionPlan" {
                serde_json::from_value::<api::ExpansionPlan>(value).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
            } else {
                let mut whole: Value = serde_saphyr::from_str(&text_of("examples/shardcluster.yaml")).expect("YAML");
                for (name, part) in value["spec"].as_object().expect("a spec") {
                    whole["spec"][name] = part.clone();
                }
                let cluster: api::ShardCluster = serde_json::from_value(whole).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
                api::valid::Valid::parse(&cluster).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
            }
            seen += 1;
        }
        for block in blocks(path, "json") {
            Map::parse(&block).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} were found");
}

#[test]
fn every_field_that_the_documents_name_exists() {
    let schemas = schemas();
    let mut seen = 0;
    for path in DOCUMENTS {
        for word in text_of(path).split('`').skip(1).step_by(2) {
            let Some(name) = word.split([' ', ':', '=', '{']).next().filter(|name| name.starts_with("spec.") || name.starts_with("status.")) else { continue };
            let parts: Vec<&str> = name.split('.').collect();
            assert!(schemas.iter().any(|(_, schema)| field(schema, &parts).is_some()), "{path}: `{word}`: no kind has {name}");
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} were found");
    assert!(schemas.iter().all(|(_, s)| field(s, &["spec", "mysql", "storage", "colour"]).is_none()), "one that isn't there is missed");
}

#[test]
fn every_command_in_the_documents_is_run_by_a_test() {
    let all = commands();
    assert!(all.len() > 60, "only {} were found", all.len());
    for (path, command) in &all {
        let by = run_by(command).unwrap_or_else(|| panic!("{path}: no test runs `{command}`: a line in tests/pure/snippets/said.rs says which one does"));
        if let RunBy::Test(file, what) = by {
            assert!(text_of(file).contains(what), "{path}: `{command}` is said to be run by {file}, which has no {what}");
        }
    }
    assert!(all.iter().any(|(_, c)| c.starts_with("helm install")) && all.iter().any(|(_, c)| c.contains("SHOW PROCESSLIST")), "blocks and sentences");
    assert_eq!(run_by("kubectl shardpair dance PAIR"), None);
}

#[test]
fn names_in_the_documents_commands_are_real() {
    let asks = [names::ASK_SWITCHOVER_TO, names::ASK_PROMOTE_WITH_DATA_LOSS, names::ASK_REPLACE, names::ASK_REBUILD, names::ASK_DISCARD_TAIL, names::PAUSED];
    let values: Value = serde_saphyr::from_str(&text_of("charts/shardpair/values.yaml")).expect("YAML");
    let kinds: BTreeSet<&str> = ["shp", "shc", "shc,shp", "xplan", "pod", "pods", "pvc", "endpointslices"].into();
    for (path, command) in commands() {
        let words: Vec<&str> = command.split_whitespace().collect();
        if let ["kubectl", "annotate", "shp", _, set] = words[..] {
            let key = set.split('=').next().unwrap_or_default();
            assert!(asks.contains(&key), "{path}: `{command}`: nobody reads {key}");
        }
        if let ["kubectl", "get" | "describe", kind, ..] = words[..] {
            assert!(kinds.contains(kind), "{path}: `{command}`: what is {kind}?");
        }
        for at in words.iter().enumerate().filter(|(_, w)| **w == "--set").map(|(n, _)| n) {
            let key = words[at + 1].split('=').next().unwrap_or_default();
            assert!(!key.split('.').fold(&values, |v, k| &v[k]).is_null(), "{path}: `{command}`: the chart has no value {key}");
        }
        for file in words.iter().filter(|w| w.starts_with("examples/") || w.starts_with("charts/")) {
            assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{path}: `{command}`: there is no {file}");
        }
    }
}

#[test]
fn the_rust_and_the_sql_in_the_documents_are_what_tests_run() {
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    for (language, file) in [("rust", "tests/client/examples.rs"), ("sql", "tests/client/invalidate.rs")] {
        let all: Vec<String> = DOCUMENTS.iter().flat_map(|path| blocks(path, language)).collect();
        assert!(!all.is_empty(), "{language}");
        let test = squeezed(&text_of(file));
        for block in all {
            // SQL is read out of the document by the test itself.
            let there = if language == "sql" { test.contains("docs/clients.md") } else { test.contains(&squeezed(&block)) };
            assert!(there, "{file} doesn't have\n{block}");
        }
    }
}
