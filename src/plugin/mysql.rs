//! `mysql PAIR [-e SQL]`: the mysql client in the primary's pod, with the application's account.
//!
//! The password never stands in a command line or in the API server's audit log: it goes in by standard input, as an option
//! file in the pod's memory that is opened and removed before the client starts.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::cli::Cli;
use super::find;
use super::seen::Seen;
use super::trouble::{Doing, Trouble, of_api};
use crate::api::{ShardPair, names};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Mysql {
    /// The pair: its name, or its shard's number.
    pair: String,
    /// Run these statements and end.
    #[arg(short, long, value_name = "SQL")]
    execute: Option<String>,
    /// On the standby instead (read-only).
    #[arg(long)]
    standby: bool,
    /// More arguments for mysql, after `--`.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Reads the option file from standard input, then runs the statements.
const RUN: &str = r#"exec mysql --defaults-extra-file=/dev/stdin "$@""#;
/// Keeps the option file for a moment, in memory.
const KEEP: &str = "umask 077; d=/run/mysqld; f=$(mktemp $d/client.XXXXXX) && cat >$f && echo $f";
/// Opens it, removes it, and starts the client on the open file.
const SHELL: &str = r#"f=$1; shift; exec 3<"$f"; rm -f "$f"; exec mysql --defaults-extra-file=/proc/self/fd/3 "$@""#;

/// Carries it out; its exit code is mysql's, as far as 0 and 1 tell.
pub async fn run(cli: &Cli, args: &Mysql) -> Result<(), Trouble> {
    let seen = cli.look().await?;
    let pair = find::pair(&seen, &args.pair)?;
    let member = member(pair, args.standby)?;
    let namespace = pair.namespace().unwrap_or_default();
    let secret = names::app_secret(&pair.spec.cluster);
    let read = cli.api::<Secret>(&namespace).get(&secret).await;
    let read = read.map_err(|e| of_api(Doing { verb: "get", what: &format!("secret {secret}"), namespace: Some(&namespace) }, &e))?;
    let text = |key: &str| read.data.as_ref().and_then(|d| d.get(key)).and_then(|v| String::from_utf8(v.0.clone()).ok());
    let (Some(user), Some(password)) = (text("username"), text("password")) else {
        return Err(Trouble::failed(format!("Secret {secret} has no username or no password: restore it")));
    };
    let options = options(&user, &password)?;
    let place = Place { cli, namespace, pod: names::pod(&member) };
    let mut more = database(&seen, pair, &args.more);
    cli.note(&format!("{member}, {} of {}", if args.standby { "standby" } else { "primary" }, pair.name_any()));
    match &args.execute {
        Some(sql) => {
            more.extend(["-e".to_owned(), sql.clone()]);
            ended(place.feed(place.exec(&["-i"], RUN, &more), &options, false)?.0)
        }
        None => {
            let kept = place.feed(place.exec(&["-i"], KEEP, &[]), &options, true)?;
            if !kept.0 {
                return Err(Trouble::failed(format!("{member}: the client can't be started: is the pod running?")));
            }
            more.insert(0, kept.1.trim().to_owned());
            let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            let flags: &[&str] = if terminal { &["-i", "-t"] } else { &["-i"] };
            let status = place.exec(flags, SHELL, &more).status().map_err(|e| no_kubectl(&e))?;
            ended(status.success())
        }
    }
}

/// The member that is meant. Pure.
pub fn member(pair: &ShardPair, standby: bool) -> Result<String, Trouble> {
    let record = pair.status.clone().unwrap_or_default().record;
    let name = pair.name_any();
    match standby {
        true => record.standby.ok_or_else(|| Trouble::failed(format!("{name} has no standby now: `kubectl shardpair explain {name}` tells why"))),
        false if record.primary.is_empty() => Err(Trouble::failed(format!("{name} has no primary yet: `kubectl shardpair explain {name}` tells why"))),
        false => Ok(record.primary),
    }
}

/// The first database of the cluster is the one that is used, unless another is named after `--`.
fn database(seen: &Seen, pair: &ShardPair, more: &[String]) -> Vec<String> {
    let first = seen.cluster_of(pair).and_then(|c| c.spec.databases.first().cloned());
    let named = more.iter().any(|m| !m.starts_with('-') || m.starts_with("--database") || m.starts_with("-D"));
    let chosen = first.filter(|_| !named).map(|d| format!("--database={d}"));
    more.iter().cloned().chain(chosen).collect()
}

/// An option file: the password quoted as MySQL reads it. Pure.
pub fn options(user: &str, password: &str) -> Result<String, Trouble> {
    if user.contains(['\n', '\r', '\0']) || password.contains(['\n', '\r', '\0']) {
        return Err(Trouble::failed("the account's name or password has a line break: choose another one"));
    }
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    Ok(format!("[client]\nuser={}\npassword={}\nsocket=/run/mysqld/mysqld.sock\n", quote(user), quote(password)))
}

struct Place<'a> {
    cli: &'a Cli,
    namespace: String,
    pod: String,
}

impl Place<'_> {
    fn exec(&self, flags: &[&str], script: &str, arguments: &[String]) -> Command {
        let mut command = self.cli.kubectl(&self.namespace);
        command.arg("exec").args(flags).arg(&self.pod).args(["-c", names::CONTAINER, "--", "sh", "-c", script, "mysql"]).args(arguments);
        command
    }

    /// Runs it with `input`: whether it succeeded, and with `keep` what it said.
    fn feed(&self, mut command: Command, input: &str, keep: bool) -> Result<(bool, String), Trouble> {
        command.stdin(Stdio::piped());
        if keep {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|e| no_kubectl(&e))?;
        if let Some(mut pipe) = child.stdin.take() {
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|e| Trouble::failed(e.to_string()))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

fn no_kubectl(error: &std::io::Error) -> Trouble {
    Trouble::failed(format!("kubectl can't be run ({error}): put it on the PATH"))
}

fn ended(well: bool) -> Result<(), Trouble> {
    if well { Ok(()) } else { Err(Trouble::failed("mysql ended with an error, see above")) }
}
