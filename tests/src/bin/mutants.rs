//! Plants mistakes and sees who finds them: `mutants [--list] [--only NAME] [--sample N] [--seeds N] [--jobs N]`.

fn main() -> std::process::ExitCode {
    match ganger_tests::mutation::Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => ganger_tests::mutation::run(&arguments),
        Err(message) => {
            eprintln!("{message}");
            std::process::ExitCode::from(2)
        }
    }
}
