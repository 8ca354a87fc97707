//! Compares latencies with and without mad peers: `madpeers [--rounds N] [--jobs N]`; exit status 1 above 1.2.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, default| {
        let value = words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        value.and_then(|word| word.parse().ok()).unwrap_or(default)
    };
    let compared = ganger_tests::madpeers::compare(number("--rounds", 5), number("--jobs", 100_000));
    compared.iter().for_each(|one| println!("{one}"));
    if compared.iter().all(|one| one.ratio() <= 1.2) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
