//! Runs chaos: `chaos --jobs N --workers W --kill-every-ms T [--seed S] [--stop] [--minutes M] [--least-kills K]`.

fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    ganger_tests::chaos::main()
}
