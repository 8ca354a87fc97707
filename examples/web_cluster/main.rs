//! A web server whose workers are replaced, all of them, again and again, while clients are at it; and nobody notices.
//!
//! `cargo run --release --example web_cluster` serves on loopback for half a minute, begins a rolling restart every
//! second, puts its own load on, and prints what the clients saw. One binary plays both roles: `worker.rs` is the
//! worker's, everything else the supervisor's.
//!
//! The supervisor keeps the socket that listens, so that whoever connects waits in its queue until some worker accepts.
//! The pages are in the store that supervisor and workers share, and change all the time; each worker answers from a copy
//! of its own, which follows.
//!
//! A worker that is to leave accepts no more, answers each connection that it keeps once more, with `Connection: close`,
//! and ends when all are closed. The next worker is there before that.

mod args;
mod client;
mod editor;
mod load;
mod report;
mod roll;
mod tally;
mod worker;

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use env_logger::Env;
use ganger::{Group, Program, Supervisor};
use ganger_worker::Worker;

use args::Args;
use editor::Editor;
use load::Load;
use report::Report;

/// What the group is called, and its listener.
const GROUP: &str = "web";
pub(crate) const LISTENER: &str = "http";

fn main() -> ExitCode {
    let ended = match Worker::inherited() {
        Ok(Some(worker)) => worker::serve(worker).map(|()| ExitCode::SUCCESS),
        Ok(None) => supervise(&Args::parse()),
        Err(error) => Err(Box::from(error)),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

fn supervise(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    // RUST_LOG=info shows each worker come and go.
    env_logger::Builder::from_env(Env::default().default_filter_or("warn")).init();
    let listener = TcpListener::bind(args.listen)?;
    let address = listener.local_addr()?;
    let group = Group::new(GROUP, Program::this()).workers(args.workers).listener(LISTENER, listener);
    let supervisor = Supervisor::builder(group).start()?;
    let editor = Editor::begin(&supervisor)?;
    supervisor.wait_online(Duration::from_secs(10))?;

    let begun = Instant::now();
    let load = Load::begin(address, args.clients, &editor.editions)?;
    let rolls = roll::every(&supervisor, args)?;
    let tally = load.end()?;
    let changes = editor.end()?;
    let report = Report { args, address, took: begun.elapsed(), rolls, changes, tally };
    println!("{report}");
    supervisor.soft_kill().wait();
    Ok(if report.is_flawless() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
