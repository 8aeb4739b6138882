//! An upgrade from the version before: every object that it accepted is accepted still, and no field it knew means something else.
//!
//! `previous-crds.txt` is the form of the CRDs of that version, a line a field; at a release it is written anew:
//! UPDATE_PREVIOUS=1 cargo test --test pure upgrade.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use kube::ResourceExt;
use serde_json::Value;
use shardpair::api;

/// What a field accepts.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    type_: String,
    required: bool,
    /// As the schema writes them: `enum=[…]`, `maximum=9`, …
    limits: BTreeMap<String, String>,
}

const LIMITS: [&str; 9] = ["enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "format"];

fn walk(path: &str, schema: &Value, required: bool, all: &mut BTreeMap<String, Field>) {
    let type_ = match &schema["type"] {
        Value::String(one) => one.clone(),
        _ if schema["x-kubernetes-int-or-string"] == true => "int-or-string".to_owned(),
        _ => "any".to_owned(),
    };
    let limits = LIMITS.iter().filter(|l| !schema[**l].is_null()).map(|l| ((*l).to_owned(), schema[*l].to_string().replace(' ', "\u{a0}"))).collect();
    all.insert(path.to_owned(), Field { type_, required, limits });
    let needed: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), inner, needed.contains(&name.as_str()), all);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], false, all);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], false, all);
    }
}

/// Every field of every kind and version.
fn form(crds: &[Value]) -> BTreeMap<String, Field> {
    let mut all = BTreeMap::new();
    for crd in crds {
        for version in crd["spec"]["versions"].as_array().expect("versions") {
            let root = format!("{}/{}", crd["metadata"]["name"].as_str().expect("a name"), version["name"].as_str().expect("a version"));
            walk(&root, &version["schema"]["openAPIV3Schema"], false, &mut all);
        }
    }
    all
}

fn written(form: &BTreeMap<String, Field>) -> String {
    let mut text = String::new();
    for (path, field) in form {
        let limits: String = field.limits.iter().map(|(k, v)| format!(" {k}={v}")).collect();
        let _ = writeln!(text, "{path} {}{}{limits}", field.type_, if field.required { " required" } else { "" });
    }
    text
}

fn read(text: &str) -> BTreeMap<String, Field> {
    let field = |line: &str| {
        let mut words = line.split(' ');
        let (path, type_) = (words.next().expect("a path").to_owned(), words.next().expect("a type").to_owned());
        let rest: Vec<&str> = words.collect();
        let limits = rest.iter().filter_map(|w| w.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        (path, Field { type_, required: rest.contains(&"required"), limits })
    };
    text.lines().map(field).collect()
}

/// Is what the old limit let through let through by the new one?
fn narrower(limit: &str, old: Option<&String>, new: Option<&String>) -> bool {
    let number = |text: &String| text.parse::<f64>().unwrap_or(f64::NAN);
    match (limit, old, new) {
        (_, _, None) => false,
        (_, None, Some(_)) => true,
        ("enum", Some(old), Some(new)) => {
            let list = |text: &String| serde_json::from_str::<Vec<Value>>(&text.replace('\u{a0}', " ")).expect("a list");
            let known = list(new);
            list(old).iter().any(|v| !known.contains(v))
        }
        (l, Some(old), Some(new)) if l.starts_with("min") => number(new) > number(old),
        (l, Some(old), Some(new)) if l.starts_with("max") => number(new) < number(old),
        (_, Some(old), Some(new)) => old != new,
    }
}

fn breaks(old: &BTreeMap<String, Field>, new: &BTreeMap<String, Field>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, was) in old {
        let Some(is) = new.get(path) else {
            found.push(format!("{path} is gone: what was written there would be dropped"));
            continue;
        };
        if is.type_ != was.type_ {
            found.push(format!("{path} was {}, is {}", was.type_, is.type_));
        }
        for limit in LIMITS.iter().filter(|l| narrower(l, was.limits.get(**l), is.limits.get(**l))) {
            found.push(format!("{path}: {limit} {:?} became {:?}", was.limits.get(*limit), is.limits.get(*limit)));
        }
    }
    for path in new.iter().filter(|(_, f)| f.required).map(|(path, _)| path) {
        let parent = path.rsplit_once(['.', '[', '{']).map_or("", |(p, _)| p).trim_end_matches(['[', '{']);
        if old.get(path).is_none_or(|was| !was.required) && old.contains_key(parent) {
            found.push(format!("{path} is required now: an object without it would be refused"));
        }
    }
    found
}

fn own() -> BTreeMap<String, Field> {
    let crds: Vec<Value> = api::crds().iter().map(|c| serde_saphyr::from_str(&api::crd_yaml(c)).unwrap_or_else(|e| panic!("{}: {e}", c.name_any()))).collect();
    form(&crds)
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pure/previous-crds.txt")
}

#[test]
fn what_the_version_before_accepted_is_accepted_still() {
    // A release writes its own form; PREVIOUS_CRDS=DIR that of the CRDs in a directory.
    if let Some(dir) = std::env::var_os("PREVIOUS_CRDS") {
        let texts = fs::read_dir(dir).expect("a directory").map(|f| fs::read_to_string(f.expect("a file").path()).expect("text"));
        let crds: Vec<Value> = texts.map(|t| serde_saphyr::from_str(&t).expect("YAML")).collect();
        fs::write(fixture(), written(&form(&crds))).expect("written");
    } else if std::env::var_os("UPDATE_PREVIOUS").is_some() {
        fs::write(fixture(), written(&own())).expect("written");
    }
    let before = read(&fs::read_to_string(fixture()).expect("the version before"));
    assert!(before.len() > 100, "only {} fields", before.len());
    let found = breaks(&before, &own());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_breaking_change_would_be_found() {
    let own = own();
    assert_eq!(read(&written(&own)), own, "what is written is read again");
    let pairs = "shardpairs.shardpair.io/v1alpha1";
    let broken = |change: &dyn Fn(&mut BTreeMap<String, Field>)| {
        let mut new = own.clone();
        change(&mut new);
        breaks(&own, &new)
    };
    assert!(broken(&|_| ()).is_empty());
    assert!(broken(&|n| drop(n.remove(&format!("{pairs}.spec.shard"))))[0].contains("is gone"));
    assert!(broken(&|n| n.get_mut(&format!("{pairs}.spec.shard")).expect("a field").type_ = "string".to_owned())[0].contains("was integer, is string"));
    assert!(broken(&|n| drop(n.get_mut(&format!("{pairs}.spec.shard")).expect("a field").limits.insert("maximum".into(), "7".into())))[0].contains("maximum"));
    assert!(broken(&|n| drop(n.get_mut(&format!("{pairs}.status.mode")).expect("a field").limits.insert("enum".into(), "[\"Sync\"]".into())))[0].contains("enum"));
    assert!(broken(&|n| n.get_mut(&format!("{pairs}.status.epoch")).expect("a field").required = true)[0].contains("is required now"));
    let wider = |n: &mut BTreeMap<String, Field>| drop(n.get_mut(&format!("{pairs}.spec.shard")).expect("a field").limits.insert("maximum".into(), "1000".into()));
    assert!(broken(&wider).is_empty(), "wider is no break");
}
