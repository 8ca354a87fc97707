//! What the test worker does when it is asked to use the store.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ganger_worker::{Context, Failure, Replica, Revision, Watched, Worker};

use super::calls::{Ask, Count, Follow, HoldLock, Mirror, Mirrored, Seen, perform};
use crate::harness::{Arrival, PATIENCE, arrive};

/// Registers the handlers.
pub fn register(worker: &mut Worker) {
    worker.on_call(|ask: Ask, context| {
        let store = context.worker().store();
        Ok(ask.wishes.iter().map(|wish| perform(&store, wish)).collect())
    });
    worker.on_call(count);
    worker.on_call(hold_lock);
    worker.on_call(mirror);
    worker.on_call(follow);
}

#[allow(clippy::needless_pass_by_value, reason = "a handler is given its call")]
fn count(count: Count, context: &Context) -> Result<i64, Failure> {
    let store = context.worker().store();
    let mut file = None;
    if let Some(path) = &count.file {
        file = Some(OpenOptions::new().create(true).append(true).open(path)?);
    }
    let mut last = 0;
    for _ in 0..count.times {
        last = store.increment(&count.key, 1)?;
        if let Some(file) = &mut file {
            file.write_all(b"\n")?;
        }
    }
    Ok(last)
}

#[allow(clippy::needless_pass_by_value, reason = "a handler is given its call")]
fn hold_lock(hold: HoldLock, context: &Context) -> Result<u64, Failure> {
    let lock = context.worker().store().lock(&hold.name, Duration::from_millis(hold.wait_millis))?;
    wait_at(&hold.gate, context)?;
    let token = lock.token().0;
    lock.release()?;
    Ok(token)
}

#[allow(clippy::needless_pass_by_value, reason = "a handler is given its call")]
fn mirror(mirror: Mirror, context: &Context) -> Result<Mirrored, Failure> {
    static KEPT: OnceLock<Replica> = OnceLock::new();
    if KEPT.get().is_none() {
        let _ = KEPT.set(context.worker().replica(&mirror.prefix)?);
    }
    let replica = KEPT.get().ok_or_else(|| Failure::new("it was just kept"))?;
    replica.wait_for(Revision(mirror.at_least), PATIENCE)?;
    let entries = replica.list(&mirror.prefix).into_iter();
    Ok(Mirrored {
        revision: replica.revision().0,
        entries: entries.map(|entry| (entry.key, entry.version.0, entry.value.to_vec())).collect(),
        resyncs: replica.resyncs(),
    })
}

#[allow(clippy::needless_pass_by_value, reason = "a handler is given its call")]
fn follow(follow: Follow, context: &Context) -> Result<Vec<Seen>, Failure> {
    let watch = context.worker().store().watch(&follow.prefix)?;
    wait_at(&follow.gate, context)?;
    let mut seen = Vec::new();
    loop {
        match watch.recv_timeout(PATIENCE)? {
            Watched::Missed => seen.push((String::from("missed"), None)),
            Watched::Changed(change) => {
                seen.push((change.key.to_string(), change.value.map(|value| value.to_vec())));
                if *change.key == *follow.until {
                    return Ok(seen);
                }
            }
        }
    }
}

fn wait_at(gate: &Path, context: &Context) -> std::io::Result<()> {
    let worker = context.worker().name().to_owned();
    let arrival =
        Arrival { pid: std::process::id(), worker, job: Some(context.id()), attempt: context.attempt() };
    arrive(gate, &arrival)?.read_exact(&mut [0])
}
