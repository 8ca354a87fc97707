//! The leash.

use std::process::{Command, Stdio};

use ganger_tests::harness::scenario;

/// W13, P12, W3: supervisors killed by SIGKILL under load, with handlers busy in native code: a second later no
/// worker runs. One program plays host and workers. The long form: `cargo run --release -p ganger-tests --bin leash`.
#[test]
fn no_worker_outlives_its_supervisor() {
    scenario(|| {
        let mut leash = Command::new(env!("CARGO_BIN_EXE_leash"));
        let output =
            leash.args(["--times", "5", "--workers", "3"]).stdin(Stdio::null()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            text.contains("5 supervisors killed") && text.contains("15 workers") && text.contains("0 alive"),
            "{text}"
        );
    });
}
