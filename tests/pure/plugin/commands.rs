//! The command line itself, the bundle of `report`, and the guide to every reason and event.

use clap::CommandFactory;
use serde_json::json;
use shardpair::pair::guide::{Class, guide, reason};
use shardpair::pair::step::Reason;
use shardpair::plugin::report::{masked, redacted};
use shardpair::plugin::tar::Tar;
use shardpair::plugin::Args;

#[test]
fn the_command_line_is_consistent() {
    Args::command().debug_assert();
    let verbs: Vec<String> = Args::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for verb in ["status", "explain", "switchover", "promote", "expand", "approve", "rollback", "pause", "resume", "route", "mysql", "dashboard", "events", "report", "completion"] {
        assert!(verbs.iter().any(|v| v == verb), "{verb} is missing");
    }
    for command in Args::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{} says nothing of itself", command.get_name());
    }
}

#[test]
fn every_reason_has_a_remedy_that_is_a_sentence() {
    for known in Reason::ALL {
        let (class, remedy) = guide(*known);
        assert!(remedy.ends_with('.'), "{known:?}: {remedy}");
        assert!(class < Class::Refusal || remedy != "Nothing.", "{known:?} refuses and leaves the person alone");
        assert_eq!(reason(known.as_str()), Some(*known));
    }
    assert_eq!(reason("NoSuchReason"), None);
}

#[test]
fn a_bundle_holds_no_secret() {
    let pod = json!({
        "metadata": {"name": "p", "managedFields": [{"manager": "x"}], "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"password\":\"hunter2\"}"}},
        "spec": {
            "serviceAccountName": "sa", "automountServiceAccountToken": false,
            "containers": [{"env": [
                {"name": "DB_PASSWORD", "value": "hunter2"},
                {"name": "MODE", "value": "fast"},
                {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
            ]}],
            "volumes": [{"secret": {"secretName": "shop-operator"}}],
            "imagePullSecrets": [{"name": "pull"}],
        },
        "data": {"my.cnf": "[mysqld]\nport=3306\npassword=hunter2\n", "password": "hunter2"},
    });
    let clean = redacted(pod);
    let text = clean.to_string();
    assert!(!text.contains("hunter2"), "{text}");
    for kept in ["shop-operator", "\"fast\"", "port=3306", "\"pull\"", "\"sa\"", "secretKeyRef"] {
        assert!(text.contains(kept), "{kept} was taken out: {text}");
    }
    assert_eq!(masked("a\nCREATE USER x IDENTIFIED BY 'hunter2'\nb\n"), "a\nCREATE USER x IDENTIFIED BY (taken out)\nb\n");
    assert_eq!(masked("{\"token\": \"hunter2\"}"), "{\"token\":(taken out)");
    assert_eq!(masked("restore the operator Secret"), "restore the operator Secret");
}

#[test]
fn a_bundle_is_a_tar_that_tar_reads() {
    let mut tar = Tar::default();
    tar.add("r/a.txt", "one\n", 1_700_000_000);
    tar.add(&format!("r/{}é", "x".repeat(97)), &"y".repeat(513), 0);
    tar.add("r/empty", "", 0);
    let file = std::env::temp_dir().join(format!("shardpair-tar-{}.tar", std::process::id()));
    std::fs::write(&file, tar.finish()).expect("written");
    let listed = std::process::Command::new("tar").arg("-tvf").arg(&file).output().expect("tar");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let one = std::process::Command::new("tar").arg("-xOf").arg(&file).arg("r/a.txt").output().expect("tar");
    let _ = std::fs::remove_file(&file);
    assert!(listed.status.success() && text.lines().count() == 3, "{text}{}", String::from_utf8_lossy(&listed.stderr));
    assert!(text.contains("2023-11-1") && text.contains("513"), "{text}");
    assert_eq!(one.stdout, b"one\n");
}
