//! The worker program of the greeter example. Its supervisor is in `main.rs`.

mod calls;

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use calls::{Greet, LANGUAGE, LEARNED, NameError, PONDERING, Ponder, Stumble};
use ganger_worker::{Context, Failure, RetryHint, Worker};

fn main() -> Result<(), Box<dyn Error>> {
    let mut worker = Worker::connect()?;
    let hello = Arc::new(Mutex::new(String::from("Hello")));
    let (spoken, learned) = (Arc::clone(&hello), hello);
    let control = worker.control();
    worker
        .on_call(move |greet: Greet, _cx| reply(&spoken.lock().expect("nobody panics with it"), &greet))
        .on_call(stumble)
        .on_call(ponder)
        .on_event(LANGUAGE, move |word: String| {
            *learned.lock().expect("nobody panics with it") = word;
            control.emit(LEARNED, &()).expect("the supervisor reads");
        })
        .on_soft_kill(|done| {
            println!("no more requests come"); // a line in the supervisor's log, under this worker's name
            done.done();
        });
    Ok(worker.serve()?)
}

/// A handler gives a reply or a failure; the failure may carry details, and a word about trying again.
fn reply(hello: &str, greet: &Greet) -> Result<String, Failure> {
    let length = greet.name.chars().count();
    if !(1..=20).contains(&length) {
        let failure = Failure::new("a name has 1 to 20 letters");
        return Err(failure.with_details(&NameError { length }).with_retry(RetryHint::Never));
    }
    Ok(format!("{hello}, {}!", greet.name))
}

/// The context tells which attempt this is.
fn stumble(Stumble { times }: Stumble, cx: &Context) -> Result<u16, Failure> {
    if cx.attempt() <= times {
        eprintln!("stumbling at attempt {}", cx.attempt());
        std::process::abort();
    }
    Ok(cx.attempt())
}

/// A handler that takes long looks now and then whether anybody still waits.
fn ponder(_: Ponder, cx: &Context) -> Result<(), Failure> {
    cx.worker().emit(PONDERING, &cx.id())?;
    while !cx.cancelled() {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
