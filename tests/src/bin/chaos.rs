//! Runs chaos; `--help` says how.

fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    ganger_tests::chaos::main()
}
