//! Runs the simulator: `simulate --seeds N [--from S] [--steps M] [--threads T] [--first] [--trace] [--check-determinism]`.

fn main() -> std::process::ExitCode {
    match ganger_tests::runner::Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => ganger_tests::runner::run(&arguments),
        Err(message) => {
            eprintln!("{message}");
            std::process::ExitCode::from(2)
        }
    }
}
