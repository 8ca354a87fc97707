//! Thumbnails of every picture of a folder, made in worker processes.
//!
//! `cargo run --release --example thumbnails` paints sample pictures first, spoiled ones among them;
//! `cargo run --release --example thumbnails -- FOLDER` works on pictures of yours. One binary plays both roles:
//! `worker.rs` is the worker's, everything else the supervisor's.

mod album;
mod args;
mod calls;
mod picture;
mod progress;
mod report;
mod tally;
mod watch;
mod work;
mod worker;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use env_logger::Env;
use ganger::{Group, Program, Supervisor};
use ganger_worker::Worker;

use album::{Album, Keep, Scratch};
use args::Args;
use report::Report;
use tally::Expected;
use watch::Watch;
use work::Painted;

/// How long workers may take to be ready, at the start and at the end.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let ended = match Worker::inherited() {
        Ok(Some(worker)) => worker::serve(worker).map(|()| ExitCode::SUCCESS).map_err(Box::from),
        Ok(None) => supervise(&Args::parse()),
        Err(error) => Err(Box::from(error)),
    };
    ended.unwrap_or_else(|error: Box<dyn Error>| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

fn supervise(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    // RUST_LOG=info shows what the supervisor has to say, and what the workers print.
    env_logger::Builder::from_env(Env::default().default_filter_or("off")).init();
    match &args.folder {
        Some(folder) => {
            let out = args.out.clone().unwrap_or_else(|| folder.join("thumbnails"));
            let album = Album::open(folder, &out)?;
            let (supervisor, mut watch) = start(args)?;
            Ok(shrink_all(&supervisor, &mut watch, &album, args, Expected::NoFailure))
        }
        None => {
            let scratch = Scratch::new(if args.keep { Keep::Yes } else { Keep::No })?;
            let (supervisor, mut watch) = start(args)?;
            if work::paint(&supervisor, &mut watch, &scratch.path, args.samples)? == Painted::Interrupted {
                eprintln!("interrupted before all samples were painted");
                return Ok(ExitCode::from(tally::INTERRUPTED));
            }
            let out = args.out.clone().unwrap_or_else(|| scratch.path.join("thumbnails"));
            let album = Album::open(&scratch.path, &out)?;
            let code = shrink_all(&supervisor, &mut watch, &album, args, Expected::WhatWasSpoiled);
            eprintln!("{}", scratch.fate());
            Ok(code)
        }
    }
}

fn start(args: &Args) -> Result<(Supervisor, Watch), Box<dyn Error>> {
    let group = Group::new("thumbs", Program::this()).workers(args.workers);
    // The first Ctrl-C lets the pictures in hand be finished, the second ends everything at once.
    let (supervisor, events) = Supervisor::builder(group).handle_signals().start_with_events()?;
    supervisor.wait_online(PATIENCE)?;
    Ok((supervisor, Watch::new(events, args.workers)))
}

fn shrink_all(
    supervisor: &Supervisor,
    watch: &mut Watch,
    album: &Album,
    args: &Args,
    expected: Expected,
) -> ExitCode {
    let healthy_at_start = supervisor.health().is_healthy();
    let begun = Instant::now();
    let tally = work::shrink(supervisor, watch, album, args.size);
    let took = begun.elapsed();
    // The last picture may have taken its worker with it; the replacement needs a moment.
    watch.wait_complete(PATIENCE);
    let health = supervisor.health();
    let report = Report { album, tally: &tally, took, deaths: watch.deaths, healthy_at_start, health };
    eprintln!();
    // Who reads no further, as `head`, is no reason to fail.
    let _ = std::io::stdout().write_all(report.to_string().as_bytes());
    supervisor.soft_kill().wait();
    tally.exit_code(album, expected)
}
