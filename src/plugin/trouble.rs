//! What can go wrong between a person and the cluster: one line, which says what to do. Pure.

use std::fmt;

/// A failure in one line, with its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What failed, on what, and what to do.
    pub text: String,
    /// 1: failed; 2: wrong use.
    pub code: u8,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Trouble {
    /// It failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { text: one_line(&text.into()), code: 1 }
    }

    /// The command was wrong.
    pub fn misuse(text: impl Into<String>) -> Self {
        Self { text: one_line(&text.into()), code: 2 }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The verb and the things that a request was about, for its failure.
#[derive(Clone, Copy, Debug)]
pub struct Doing<'a> {
    /// `list`, `get`, `patch`, `create`, …
    pub verb: &'a str,
    /// `shardpairs.shardpair.io`, `secrets`, …
    pub what: &'a str,
    /// None: all namespaces.
    pub namespace: Option<&'a str>,
}

/// The API server's answer, in words.
pub fn of_api(doing: Doing, error: &kube::Error) -> Trouble {
    let place = doing.namespace.map_or("in all namespaces".to_owned(), |n| format!("in namespace {n}"));
    let Doing { verb, what, .. } = doing;
    match error {
        kube::Error::Api(status) if status.code == 401 => Trouble::failed("the API server doesn't know you: log in again, or choose another --context"),
        kube::Error::Api(status) if status.code == 403 => {
            let role = if matches!(verb, "get" | "list") { "view" } else { "edit" };
            Trouble::failed(format!("you may not {verb} {what} {place}: ask for it (the chart's ClusterRole shardpair-{role} allows it)"))
        }
        kube::Error::Api(status) if status.code == 404 && verb == "list" => Trouble::failed(format!("{what} isn't served here: install shardpair (helm install), or choose another --context")),
        kube::Error::Api(status) if status.code == 409 => Trouble::failed(format!("{what} {place} was changed by somebody else at the same time: look again, then repeat")),
        // CEL and schema refusals say themselves what to do.
        kube::Error::Api(status) if status.code == 422 => Trouble::failed(format!("refused: {}", status.message)),
        kube::Error::Api(status) => Trouble::failed(format!("can't {verb} {what} {place}: {}", status.message)),
        kube::Error::SerdeError(error) => Trouble::failed(format!("{what} {place} can't be read ({error}): the plugin and the CRDs are of different versions, update the older one")),
        other => Trouble::failed(format!("no answer from the API server ({}): check the network and --context", root(other))),
    }
}

/// The innermost cause: `Connection refused`, not five layers around it.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
