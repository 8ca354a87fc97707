//! What handlers report.

use ganger_protocol::Failure;

use super::Halve;
use crate::request::RawRequest;
use crate::session::ProgressError;
use crate::testing::{Bench, Terms};

/// J17: reports come before the answer, in order, for the call that they are about.
#[test]
fn reports_come_before_the_answer() {
    let mut bench = Bench::start(|worker| {
        worker.concurrency(2);
        worker.on_call(|Halve(number), cx| {
            for done in 0..number {
                cx.progress(&done).map_err(Failure::from)?;
            }
            Ok(number / 2)
        });
    });
    let few = bench.send(&Terms::new(), &Halve(2)).expect("encodes");
    let more = bench.send(&Terms::new(), &Halve(5)).expect("encodes");
    let reports: Vec<u32> = std::iter::from_fn(|| bench.next_progress(&more)).collect();
    assert_eq!(reports, [0, 1, 2, 3, 4]);
    assert_eq!(std::iter::from_fn(|| bench.next_progress::<u32, _>(&few)).count(), 2);
    assert_eq!((bench.wait(few), bench.wait(more)), (Ok(1), Ok(2)));
    bench.soft_kill().expect("it leaves");
}

/// J17: what is too large or too fast is refused with the reason, and the job goes on.
#[test]
fn a_report_that_cannot_be_sent_is_told() {
    let mut bench = Bench::start(|worker| {
        worker.on_raw("hurry", |request: RawRequest| {
            let large = request.progress_raw(vec![0; (1 << 20) + 1]);
            assert!(
                matches!(large, Err(ProgressError::TooLarge { limit, .. }) if limit == 1 << 20),
                "{large:?}"
            );
            let last = std::iter::repeat_with(|| request.progress_raw(*b"x")).find(Result::is_err);
            assert!(matches!(last, Some(Err(ProgressError::TooFast))), "{last:?}");
            request.respond(*b"done");
        });
    });
    assert_eq!(bench.call_raw("hurry", b""), Ok(b"done".to_vec()));
    bench.soft_kill().expect("it leaves");
}
