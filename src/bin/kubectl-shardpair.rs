//! `kubectl shardpair`: see `shardpair::plugin`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shardpair::plugin::main()
}
