//! A tour of the API with two programs: this one supervises, `worker.rs` works, `calls.rs` is what both know.
//!
//! Both have to be built: `cargo build --release --examples`, then `cargo run --release --example greeter`.

mod calls;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use calls::{Greet, LANGUAGE, LEARNED, NameError, PONDERING, Ponder, Stumble};
use ganger::{EnqueueError, Event, Events, Job, JobError, JobId, Program, StartError, Supervisor, decode};
use serde::de::DeserializeOwned;

/// What every part of the tour gives.
type Shown = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    match tour() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tour() -> Shown {
    let program = Program::beside("greeter-worker");
    let (supervisor, events) = match Supervisor::builder(program).workers(2).start_with_events() {
        Err(error @ StartError::Program { .. }) => {
            return Err(format!("{error} `cargo build --release --examples` builds it.").into());
        }
        started => started?,
    };
    supervisor.wait_online(Duration::from_secs(10))?;

    a_call(&supervisor)?;
    an_error_answer(&supervisor)?;
    retries(&supervisor)?;
    a_timeout(&supervisor)?;
    a_cancel(&supervisor, &events)?;
    a_map(&supervisor)?;
    a_broadcast(&supervisor, &events)?;
    println!("\n{}", supervisor.health());
    the_end(&supervisor)?;
    farewells(&events);
    Ok(())
}

fn greet(name: &str) -> Greet {
    Greet { name: name.into() }
}

/// Enqueue gives a handle; the handle gives the response.
fn a_call(supervisor: &Supervisor) -> Shown {
    let handle = supervisor.enqueue(greet("world"))?;
    let response = handle.wait()?;
    println!("a call       {} (by {} in {:.1?})", response.data, response.worker, response.run_time);
    Ok(())
}

/// A handler's failure comes back with its message and details. The worker goes on.
fn an_error_answer(supervisor: &Supervisor) -> Shown {
    let error = supervisor.enqueue(greet(""))?.wait().expect_err("nobody has an empty name");
    let failure = error.failure().ok_or("the handler said why")?;
    println!("an error     {} (details: {:?})", failure.message, failure.details::<NameError>());
    Ok(())
}

/// A worker that dies is replaced. Whether its job is tried again is the job's own choice; without retries the
/// error tells how the worker died.
fn retries(supervisor: &Supervisor) -> Shown {
    let response = supervisor.enqueue(Job::new(Stumble { times: 1 }).retries(1))?.wait()?;
    println!("a retry      attempt {} came through", response.data);
    match supervisor.enqueue(Stumble { times: 1 })?.wait() {
        Err(JobError::WorkerLost { report, .. }) => println!("no retry     {report}"),
        other => return Err(format!("it should have been lost, not {other:?}").into()),
    }
    Ok(())
}

/// One attempt may take 50 ms here. The handler is told to stop, and has the group's cancel grace to do so; a worker
/// that does not would be killed.
fn a_timeout(supervisor: &Supervisor) -> Shown {
    let job = Job::new(Ponder).run_timeout(Duration::from_millis(50));
    let error = supervisor.enqueue(job)?.wait().expect_err("it ponders for ever");
    println!("a timeout    {error}");
    Ok(())
}

/// The event of the worker tells that the handler runs; then the job is cancelled.
fn a_cancel(supervisor: &Supervisor, events: &Events) -> Shown {
    let handle = supervisor.enqueue(Ponder)?;
    while wait_for::<JobId>(events, PONDERING)? != handle.id() {}
    handle.cancel();
    let error = handle.wait().expect_err("it was cancelled");
    println!("a cancel     {error}");
    Ok(())
}

/// The payload of the next event that a worker emits under this name.
fn wait_for<T: DeserializeOwned>(events: &Events, wanted: &str) -> Result<T, Box<dyn Error>> {
    loop {
        match events.recv_timeout(Duration::from_secs(10))? {
            Event::Custom { name, payload, .. } if *name == *wanted => return Ok(decode(&payload)?),
            _ => {}
        }
    }
}

/// A job for each item, some of them under way at a time, the results in order.
fn a_map(supervisor: &Supervisor) -> Shown {
    let names = ["Ada", "Grace", "Barbara", "Frances"];
    for result in supervisor.map(names.map(greet)) {
        println!("a map        {}", result?.data);
    }
    Ok(())
}

/// An event to every worker. Events are one-way; here the workers tell in an event of their own that they heard.
fn a_broadcast(supervisor: &Supervisor, events: &Events) -> Shown {
    let workers = supervisor.broadcast(LANGUAGE, "Bonjour")?;
    for _ in 0..workers {
        wait_for::<()>(events, LEARNED)?;
    }
    println!("a broadcast  {workers} workers say: {}", supervisor.enqueue(greet("world"))?.wait()?.data);
    Ok(())
}

/// What was accepted is done, then the workers leave. What comes too late is given back.
fn the_end(supervisor: &Supervisor) -> Shown {
    let last = supervisor.enqueue(greet("and goodbye"))?;
    let ticket = supervisor.soft_kill();
    println!("the end      {}", last.wait()?.data);
    match supervisor.enqueue(greet("latecomer")) {
        Err(EnqueueError::ShuttingDown { job }) => {
            println!("too late     {} is given back", job.call().name);
        }
        other => return Err(format!("it should have been refused, not {other:?}").into()),
    }
    ticket.wait();
    Ok(())
}

/// The workers' exits are in the events, as everything that happened; the events end with the supervisor.
fn farewells(events: &Events) {
    for event in events {
        if let Event::WorkerExited { report } = event {
            println!("an event     {report}");
        }
    }
}
