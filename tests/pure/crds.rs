//! The CRDs in `crds/` and in the chart are the ones that the types describe.
//!
//! `UPDATE_CRDS=1 cargo test --test pure crds` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use kube::ResourceExt;
use serde_json::Value;
use shardpair::api;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn same_or_update(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE_CRDS").is_some() {
        fs::create_dir_all(path.parent().expect("has a parent")).expect("directory");
        fs::write(path, wanted).expect("write");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "{} differs from the types: run UPDATE_CRDS=1 cargo test --test pure crds", path.display());
}

#[test]
fn the_directory_crds_holds_what_the_types_describe() {
    for crd in api::crds() {
        same_or_update(&root().join("crds").join(format!("{}.yaml", crd.name_any())), &api::crd_yaml(&crd));
    }
}

/// Everything under a schema that holds properties.
fn walk<'a>(schema: &'a Value, path: &str, seen: &mut Vec<(String, &'a Value)>) {
    seen.push((path.to_owned(), schema));
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(child, &format!("{path}.{name}"), seen);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), seen);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &format!("{path}{{}}"), seen);
    }
}

#[test]
fn every_schema_is_structural() {
    for crd in api::crds() {
        let crd = serde_json::to_value(crd).expect("plain data");
        let mut nodes = Vec::new();
        walk(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut nodes);
        for (path, node) in nodes {
            let typed = node["type"].is_string() || node["x-kubernetes-int-or-string"] == true;
            assert!(typed, "{path} has no type: {node}");
            for forbidden in ["$ref", "oneOf", "anyOf", "allOf", "const"] {
                let quantity = node["x-kubernetes-int-or-string"] == true;
                assert!(quantity || node[forbidden].is_null(), "{path} has {forbidden}: {node}");
            }
            assert!(node["x-kubernetes-preserve-unknown-fields"].is_null(), "{path} keeps unknown fields");
            assert!(!(node["properties"].is_object() && node["additionalProperties"].is_object()), "{path} has both kinds of properties");
        }
    }
}

#[test]
fn the_record_lies_flat_in_the_status_of_a_pair() {
    let crd = serde_json::to_value(&api::crds()[1]).expect("plain data");
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    for field in ["epoch", "primary", "standby", "mode", "members", "transition", "deposed", "rebuild", "lastMove", "conditions"] {
        assert!(status[field].is_object(), "status.{field} is missing");
    }
}
