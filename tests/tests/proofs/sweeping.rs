//! Byte sweeps, in CI's form: small frames at every byte, large ones at a stride.

use ganger_tests::harness::scenario;
use ganger_tests::sweep::{Phase, memory, processes};

/// P3, P5, P6: in memory, between the shipped scheduler and the worker's session.
#[test]
fn a_cut_anywhere_in_memory() {
    for phase in Phase::ALL {
        let small = memory::sweep(phase, 64, 1);
        assert!(small.cuts > 70, "{small}");
        let large = memory::sweep(phase, 300_000, 9_973);
        assert!(large.cuts > 90, "{large}");
    }
}

/// P5: real processes, cut inside a request.
#[test]
fn a_cut_inside_a_request() {
    scenario(|| {
        for phase in [Phase::RequestIdle, Phase::RequestStarted, Phase::RequestReplying] {
            let counts = processes::sweep(phase, 64, 5);
            assert_eq!(counts.requeued, counts.cuts);
            let _ = processes::sweep(phase, 300_000, 100_003);
        }
    });
}

/// P3, P6: real processes, cut inside a reply.
#[test]
fn a_cut_inside_a_reply() {
    scenario(|| {
        for phase in [Phase::ReplyUnstarted, Phase::ReplyRunning, Phase::ReplyReturned] {
            let counts = processes::sweep(phase, 64, 5);
            assert_eq!(counts.answered, 1, "the whole reply, and no other");
            let _ = processes::sweep(phase, 300_000, 100_003);
        }
    });
}
