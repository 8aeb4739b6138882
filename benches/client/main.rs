//! What the client costs: `cargo bench --bench client -- routes`, `… -- ids [redis-url]`.

mod ids;
mod routes;

fn main() {
    let arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect::<Vec<_>>();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["ids"] => ids::run(),
        ["routes"] => routes::run(),
        ["ids", redis] => runtime.block_on(ids::leased(redis)),
        _ => {
            eprintln!("usage: cargo bench --bench client -- [routes | ids [redis-url]]");
            std::process::exit(2);
        }
    }
}
