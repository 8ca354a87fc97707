//! Slow and mad peers, in CI's form: figures of a shared machine are shown, not judged, but every job is answered.

use ganger_tests::harness::scenario;
use ganger_tests::madpeers::{self, Mood};

/// P13: workers that never read, flood or do not leave cost the others' jobs nothing but time, and little of that.
#[test]
fn mad_peers_are_nobody_elses_problem() {
    scenario(|| {
        for one in madpeers::compare(&[Mood::Deaf, Mood::Noisy, Mood::Stubborn], 2, 500) {
            println!("{one}");
            assert!(one.mood == Mood::Noisy || one.replaced == 0, "{one}");
        }
    });
}
