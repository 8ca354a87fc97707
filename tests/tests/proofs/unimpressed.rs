//! Slow and mad peers, in CI's form: figures of a shared machine are shown, not judged, but every job is answered.

use ganger_tests::harness::scenario;
use ganger_tests::madpeers;

/// P13: workers that never read, flood or do not leave cost the others' jobs nothing but time, and little of that.
#[test]
fn mad_peers_are_nobody_elses_problem() {
    scenario(|| {
        let comparison = madpeers::compare(2, 200);
        println!("{comparison}");
        assert!(comparison.replaced > 0, "nobody was mad");
        // A peer that could hold up the loop would hold it up by far more than this.
        assert!(comparison.ratio() < 20.0, "{comparison}");
    });
}
