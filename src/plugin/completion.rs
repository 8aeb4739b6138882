//! `completion SHELL`: for the name that kubectl gives it and for its own.

use clap::CommandFactory;
use clap_complete::Shell;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub struct Completion {
    /// bash, zsh, fish, …
    #[arg(value_enum)]
    shell: Shell,
    /// The script that kubectl itself asks for completions of plugins: save it as kubectl_complete-shardpair on the PATH.
    #[arg(long)]
    kubectl: bool,
}

/// Prints it.
pub fn run(args: &Completion) {
    if args.kubectl {
        print!("{}", for_kubectl());
        return;
    }
    let mut command = super::Args::command();
    clap_complete::generate(args.shell, &mut command, "kubectl-shardpair", &mut std::io::stdout());
}

/// kubectl runs `kubectl_complete-shardpair WORDS… LAST` and reads one candidate a line, then `:4` (no files).
fn for_kubectl() -> String {
    let command = super::Args::command();
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    format!(
        "#!/bin/sh\n# Completion of `kubectl shardpair`: verbs, then names of pairs and clusters.\nif [ $# -le 1 ]; then\n  printf '%s\\n' {}\nelse\n  kubectl get shp,shc -o custom-columns=N:.metadata.name --no-headers 2>/dev/null\nfi\necho ':4'\n",
        verbs.join(" ")
    )
}
