//! What the documents tell people to type is typed: against a real cluster, each command as it stands there.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::said::{RunBy, commands, run_by};
use crate::support::shop::{BACK_IN_SYNC, Shop};
use crate::support::{root, secs, with_temp_ns_for};

/// Words as a shell takes them apart: what is in single quotes is one.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (n, part) in command.split('\'').enumerate() {
        if n % 2 == 1 {
            words.last_mut().expect("one").push_str(part);
            continue;
        }
        let mut pieces = part.split(' ');
        words.last_mut().expect("one").push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Runs it in a namespace, with the names that its capitals stand for.
async fn typed(ns: &str, command: &str, names: &[(&str, &str)]) -> Output {
    let known = |word: String| names.iter().find(|(capital, _)| *capital == word).map_or(word.clone(), |(_, name)| (*name).to_owned());
    let mut words: Vec<String> = words(command).into_iter().map(|word| match word.strip_suffix("-0") {
        Some(member) if member == "MEMBER" => format!("{}-0", known(member.to_owned())),
        _ => known(word),
    }).collect();
    // What never ends, and what only a container that died before has.
    words.retain(|word| !matches!(word.as_str(), "-w" | "--watch" | "--previous"));
    if words[1] == "apply" {
        // The namespace of the test has a cluster of that name already.
        words.extend(["--dry-run=server", "-n", "default"].map(str::to_owned));
    }
    let program = if words[0] == "kubectl" && words[1] == "shardpair" {
        words.remove(0);
        env!("CARGO_BIN_EXE_kubectl-shardpair").to_owned()
    } else {
        words[0].clone()
    };
    let mut arguments = words.split_off(1);
    if !arguments.contains(&"-n".to_owned()) {
        arguments.extend(["-n".to_owned(), ns.to_owned()]);
    }
    let mut run = Command::new("timeout");
    let place = if arguments[0] == "report" { std::env::temp_dir() } else { root().to_path_buf() };
    run.args(["150", &program]).args(&arguments).current_dir(place).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || run.output()).await.expect("no panic").expect("it runs")
}

async fn works(ns: &str, command: &str, names: &[(&str, &str)]) {
    let begun = std::time::Instant::now();
    let ran = typed(ns, command, names).await;
    assert!(ran.status.success(), "`{command}`: {}\n{}{}", ran.status, String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{:>6} ms  {command}", begun.elapsed().as_millis());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: SHARDPAIR_TESTS=all"]
async fn every_command_of_the_documents_works_as_it_stands() {
    with_temp_ns_for("commands", Duration::from_secs(480), async |client, ns| {
        let shop = Shop::one_shard(&client, &ns).await;
        let record = shop.record().await;
        let names = [("PAIR", "shop-0"), ("CLUSTER", "shop"), ("NAME", "shop"), ("MEMBER", record.primary.as_str()), ("TABLE", "shop.orders"), ("KEY", "42"), ("SHELL", "bash")];
        let all: BTreeSet<String> = commands().into_iter().map(|(_, command)| command).filter(|command| run_by(command) == Some(RunBy::AsItStands)).collect();
        for command in &all {
            works(&ns, &command.replace("POD", &format!("{}-0", record.primary)).replace("=NAME", "=shop").replace("=PAIR", "=shop-0"), &names).await;
        }
        assert!(all.len() > 20, "only {} commands were found", all.len());
        // In turn: each leaves a pair that is well to the next one.
        for command in ["kubectl shardpair pause CLUSTER", "kubectl shardpair resume CLUSTER", "kubectl shardpair pause PAIR", "kubectl shardpair resume PAIR"] {
            works(&ns, command, &names).await;
        }
        let epoch = shop.in_sync(record.epoch, BACK_IN_SYNC).await.epoch;
        works(&ns, "kubectl shardpair switchover PAIR", &names).await;
        let after = shop.in_sync(epoch + 1, BACK_IN_SYNC).await;
        works(&ns, "kubectl shardpair rebuild PAIR --yes", &names).await;
        shop.recorded("the rebuild has begun", secs(60), |r| r.rebuild.is_some() || r.epoch > after.epoch).await;
        let rebuilt = shop.in_sync(after.epoch, secs(180)).await;
        let replaced = rebuilt.standby.clone().expect("a standby");
        works(&ns, "kubectl shardpair replace PAIR --yes", &names).await;
        let new = shop.recorded("another standby", secs(60), |r| r.standby.as_ref().is_some_and(|s| *s != replaced)).await;
        shop.in_sync(new.epoch, secs(240)).await;
        let counted = shop.clusters().get("shop").await.expect("a cluster").status.and_then(|s| s.next_member);
        assert_eq!((new.standby.as_deref(), counted), (Some("shop-m2"), Some(3)), "its number was taken");
    })
    .await;
}
