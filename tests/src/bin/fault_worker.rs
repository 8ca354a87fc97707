//! A worker with the worker library that has a fault: `fault_worker POINT JOB END`, once in the life of its pool.
//!
//! Only the first process to create the file that `GANGER_TESTS_ONCE` names has it; replacements work.

use std::fs::OpenOptions;

use ganger_tests::arg::explain_if_asked;
use ganger_worker::Worker;
use ganger_worker::testing::Fault;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    explain_if_asked("fault_worker: a worker that has a fault, for tests: they start it with POINT JOB END");
    let mut worker = Worker::connect()?;
    worker.on_raw("echo", |request| {
        let (bytes, responder) = request.into_parts();
        responder.respond(bytes);
    });
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [point, job, end] = &words[..]
        && is_first()
    {
        worker.inject(fault(point, end).at_job(job.parse()?));
    }
    Ok(worker.serve()?)
}

fn is_first() -> bool {
    let once = std::env::var_os("GANGER_TESTS_ONCE").expect("a file");
    OpenOptions::new().write(true).create_new(true).open(once).is_ok()
}

fn fault(point: &str, end: &str) -> Fault {
    let fault = match end {
        "die" => Fault::die(),
        "stop" => Fault::stop(),
        code => Fault::exit(code.parse().expect("a code")),
    };
    match point {
        "before-start" => fault.before_start(),
        "after-start" => fault.after_start(),
        "before-answer" => fault.before_answer(),
        "inside-answer" => fault.inside_answer(),
        "after-answer" => fault.after_answer(),
        other => panic!("no point {other}"),
    }
}
