//! The chart and the rendered manifests follow the code: same CRDs, RBAC within what was agreed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kube::ResourceExt;
use serde_json::Value;
use shardpair::api;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The documents of deploy/shardpair.yaml.
fn rendered() -> Vec<Value> {
    let text = read("deploy/shardpair.yaml");
    let documents = text.split("\n---\n").filter(|d| d.lines().any(|l| !l.trim().is_empty() && !l.starts_with('#') && l != "---"));
    documents.map(|d| serde_saphyr::from_str(d).unwrap_or_else(|e| panic!("{e}:\n{}", &d[..d.len().min(300)]))).collect()
}

#[test]
fn the_chart_installs_the_crds_that_the_types_describe() {
    for crd in api::crds() {
        let name = crd.name_any();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("charts/shardpair/files/crds/{name}.yaml"));
        if std::env::var_os("UPDATE_CRDS").is_some() {
            fs::write(&path, api::crd_yaml(&crd)).expect("write");
        }
        assert!(fs::read_to_string(&path).unwrap_or_default() == api::crd_yaml(&crd), "{} differs: UPDATE_CRDS=1 cargo test --test pure, then deploy/render", path.display());
    }
}

#[test]
fn the_rendered_manifests_hold_the_same_crds_and_keep_them() {
    let documents = rendered();
    for crd in api::crds() {
        let name = crd.name_any();
        let found = documents.iter().find(|d| d["kind"] == "CustomResourceDefinition" && d["metadata"]["name"] == *name);
        let mut found = found.unwrap_or_else(|| panic!("{name} is not in deploy/shardpair.yaml")).clone();
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{name}");
        found["metadata"] = serde_json::json!({"name": name});
        let wanted: Value = serde_saphyr::from_str(&api::crd_yaml(&crd)).expect("YAML");
        assert!(found == wanted, "{name} in deploy/shardpair.yaml differs: run deploy/render");
    }
}

#[test]
fn the_operator_may_do_what_it_does_and_no_more() {
    let mut lines = BTreeSet::new();
    for document in rendered().iter().filter(|d| d["kind"] == "ClusterRole" || d["kind"] == "Role") {
        // People's own roles give the operator nothing.
        if document["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true" {
            continue;
        }
        for rule in document["rules"].as_array().expect("rules") {
            let list = |key: &str| rule[key].as_array().into_iter().flatten().map(|v| v.as_str().expect("text")).collect::<Vec<_>>().join(",");
            let names = if rule["resourceNames"].is_array() { format!(" named {}", list("resourceNames")) } else { String::new() };
            lines.insert(format!("{} {}/{}{names}: {}", document["kind"].as_str().expect("kind"), list("apiGroups"), list("resources"), list("verbs")));
        }
    }
    assert!(lines.iter().all(|l| !l.contains('*')), "a wildcard: {lines:?}");
    insta::assert_snapshot!("rbac", lines.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Path, default and comment of every value of values.yaml, in its order.
fn values() -> Vec<(String, String, String)> {
    let (mut path, mut comment, mut all) = (Vec::<(usize, String)>::new(), String::new(), Vec::new());
    for line in read("charts/shardpair/values.yaml").lines().filter(|l| !l.trim().is_empty()) {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(words) = text.strip_prefix("# ") {
            comment = [comment.as_str(), words].join(" ").trim().to_owned();
            continue;
        }
        let (key, value) = text.split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
        path.retain(|(at, _)| *at < indent);
        path.push((indent, key.to_owned()));
        let name = path.iter().map(|(_, k)| k.as_str()).collect::<Vec<_>>().join(".");
        if !value.trim().is_empty() || name.starts_with("resources.") {
            all.push((name, value.trim().to_owned(), std::mem::take(&mut comment)));
        } else if name != "resources" {
            comment.clear();
        }
    }
    all
}

#[test]
fn the_charts_readme_lists_every_value() {
    let mut table = String::from("| value | default | what it is |\n|---|---|---|\n");
    for (name, default, comment) in values() {
        assert!(!comment.is_empty() || name == "resources.limits", "{name} has no comment in values.yaml");
        table += &format!("| `{name}` | `{default}` | {} |\n", comment.replace('|', "\\|"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/shardpair/README.md");
    let text = fs::read_to_string(&path).expect("README");
    let begin = text.find("-->\n").expect("the marker") + 4;
    let end = text.find("\n## Monitoring").expect("the next part");
    let wanted = format!("{}{table}{}", &text[..begin], &text[end..]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).expect("written");
    }
    assert!(fs::read_to_string(&path).expect("README") == wanted, "charts/shardpair/README.md differs from values.yaml: UPDATE_DOCS=1 cargo test --test pure chart");
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let schema: Value = serde_json::from_str(&read("charts/shardpair/values.schema.json")).expect("JSON");
    for (name, ..) in values() {
        let mut at = &schema;
        for part in name.split('.') {
            if at["properties"].is_null() {
                break; // an object of Kubernetes' own
            }
            at = &at["properties"][part];
            assert!(at.is_object(), "{name} is not in values.schema.json");
        }
    }
    let known: BTreeSet<String> = values().into_iter().map(|(n, ..)| n.split('.').next().unwrap_or_default().to_owned()).collect();
    let listed = schema["properties"].as_object().expect("properties").keys().filter(|k| *k != "global").cloned().collect();
    assert_eq!(known, listed);
}
