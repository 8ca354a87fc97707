//! Hello, world in one file: the program starts itself again as its own workers.
//!
//! `cargo run --release --example hello -- Ada Grace`

use std::error::Error;

use ganger::{Call, Program, Supervisor};
use ganger_worker::Worker;
use serde::{Deserialize, Serialize};

/// A call is a type that both roles know; its value is the argument.
#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Call for Greet {
    const NAME: &'static str = "greet";
    type Reply = String;
}

fn main() -> Result<(), Box<dyn Error>> {
    // Started by a supervisor, this process is a worker.
    if let Some(mut worker) = Worker::inherited()? {
        worker.on_call(|greet: Greet, _cx| Ok(format!("Hello, {}!", greet.name)));
        return Ok(worker.serve()?);
    }
    // Started by you, it is the supervisor of two workers.
    let supervisor = Supervisor::builder(Program::this()).workers(2).start()?;
    let response = supervisor.enqueue(Greet { name: "world".into() })?.wait()?;
    println!("{} ({} took {:.1?})", response.data, response.worker, response.run_time);
    for greeting in supervisor.map(std::env::args().skip(1).map(|name| Greet { name })) {
        println!("{}", greeting?.data);
    }
    supervisor.soft_kill().wait(); // everything accepted is done, every worker has left
    Ok(())
}
