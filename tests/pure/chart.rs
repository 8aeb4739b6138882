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
        for rule in document["rules"].as_array().expect("rules") {
            let list = |key: &str| rule[key].as_array().into_iter().flatten().map(|v| v.as_str().expect("text")).collect::<Vec<_>>().join(",");
            let names = if rule["resourceNames"].is_array() { format!(" named {}", list("resourceNames")) } else { String::new() };
            lines.insert(format!("{} {}/{}{names}: {}", document["kind"].as_str().expect("kind"), list("apiGroups"), list("resources"), list("verbs")));
        }
    }
    assert!(lines.iter().all(|l| !l.contains('*')), "a wildcard: {lines:?}");
    insta::assert_snapshot!("rbac", lines.into_iter().collect::<Vec<_>>().join("\n"));
}
