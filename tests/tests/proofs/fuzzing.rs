//! Fuzzing, in CI's form: the corpus, and some seconds of new inputs.

use std::time::Duration;

use ganger_tests::fuzz::{Campaign, Target, campaign, replay_corpus};

fn fuzz(target: Target) {
    assert!(replay_corpus(target) > 0, "there is a corpus");
    let plan = Campaign { target, time: Duration::from_secs(2), seed: fastrand::u64(..) };
    let sums = campaign(plan).unwrap_or_else(|finding| panic!("seed {}: {finding:?}", plan.seed));
    println!("{}: {sums}", target.name());
}

/// P13: what a peer writes, however it is cut, is read as the protocol says, with memory in proportion to what came.
#[test]
fn the_reader_of_frames_withstands_anything() {
    fuzz(Target::Inbox);
}

/// P13: heads, failures and pages that somebody made up are understood or refused.
#[test]
fn decoders_withstand_anything() {
    fuzz(Target::Messages);
}

/// P1, P2, P3, P6, P13: valid frames in wrong order, with wrong ids, broken ones, and lies in the page break nothing in the
/// scheduler; every job settles once, with a reply that was given for it.
#[test]
fn the_scheduler_withstands_anything() {
    fuzz(Target::Scheduler);
}

/// The worker's half withstands a supervisor that writes anything.
#[test]
fn the_session_withstands_anything() {
    fuzz(Target::Session);
}
