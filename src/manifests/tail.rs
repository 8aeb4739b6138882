//! What a returning member had beyond the primary, kept as a readable file (invariant 8): a Secret, since it holds rows.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::names;
use crate::api::pair::ShardPair;

/// Cuts a text at ends of lines into parts of at most `largest` bytes (a line that is longer is cut within).
pub fn parts(text: &str, largest: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > largest {
        let mut end = largest;
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let end = rest[..end].rfind('\n').map_or(end, |at| at + 1);
        let (part, left) = rest.split_at(end);
        parts.push(part);
        rest = left;
    }
    parts.push(rest);
    parts
}

/// Secret `<member>-tail-<epoch>` with the one key `tail.txt`; further parts end in `-2`, `-3`, …. Nobody owns them: they
/// stay until a person deletes them.
pub fn build(pair: &ShardPair, member: &str, epoch: i64, number: usize, text: &str) -> Secret {
    let name = match number {
        0 => format!("{member}-tail-{epoch}"),
        n => format!("{member}-tail-{epoch}-{}", n + 1),
    };
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: pair.namespace(),
            labels: Some(super::pairs([
                ("app.kubernetes.io/managed-by", "shardpair".to_owned()),
                (names::LABEL_CLUSTER, pair.spec.cluster.clone()),
                (names::LABEL_SHARD, pair.spec.shard.to_string()),
                (names::LABEL_MEMBER, member.to_owned()),
            ])),
            annotations: Some(super::pairs([("shardpair.io/pair", format!("{} {}", ShardPair::kind(&()), pair.name_any()))])),
            ..ObjectMeta::default()
        },
        data: Some([("tail.txt".to_owned(), ByteString(text.as_bytes().to_vec()))].into()),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn parts_end_with_lines_and_lose_nothing() {
        let text = (0..100).map(|i| format!("line {i} ä\n")).collect::<String>();
        let cut = parts(&text, 50);
        assert!(cut.len() > 10 && cut.iter().all(|p| p.len() <= 50 && p.ends_with('\n')));
        assert_eq!(cut.concat(), text);
        assert_eq!(parts("", 50), [""]);
        assert_eq!(parts(&"ä".repeat(60), 51).concat(), "ä".repeat(60));
    }
}
