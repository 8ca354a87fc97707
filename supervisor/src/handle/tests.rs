use std::sync::mpsc::channel;
use std::task::Wake as StdWake;
use std::thread::{self, Thread};

use super::*;
use crate::shared::QueueLimits;
use crate::testing::{answered, cancelled, finish, replied, rouse, shared, slot, supervisor};
use crate::{Call, Failure, JobError, decode};

/// Takes a number, answers with its square.
#[derive(serde::Serialize, serde::Deserialize)]
struct Square(u32);

impl Call for Square {
    const NAME: &'static str = "square";
    type Reply = u32;
}

fn handle() -> (Handle<Square>, JobSlot) {
    let slot = slot();
    (Handle::new(slot.clone(), shared(QueueLimits::default())), slot)
}

/// An executor of one task.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl StdWake for Unpark {
        fn wake(self: Arc<Unpark>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// J1: waiting with a timeout of zero, and looking, give the handle back until the job has ended.
#[test]
fn a_handle_that_is_not_ready_is_given_back() {
    let (handle, slot) = handle();
    let handle = handle.wait_timeout(Duration::ZERO).expect_err("not yet");
    let handle = handle.try_result().expect_err("not yet");
    assert_eq!(handle.status(), JobStatus::Queued);
    slot.set_stage(Stage::Sent);
    assert_eq!(handle.status(), JobStatus::Sent);
    slot.settle(answered(&49u32));
    assert_eq!(handle.status(), JobStatus::Settled);
    let response = handle.wait_timeout(Duration::ZERO).expect("it is here").expect("a reply");
    assert_eq!((response.data, &*response.worker, response.attempt), (49, "fake-0", 1));
}

/// J1: a timeout beyond the clock is for ever.
#[test]
fn an_endless_timeout_does_not_overflow() {
    let (handle, slot) = handle();
    slot.settle(answered(&1u32));
    assert_eq!(handle.wait_timeout(Duration::MAX).expect("here").expect("a reply").data, 1);
}

/// J1: `impl Future`.
#[test]
fn a_handle_can_be_awaited() {
    let (supervisor, fake) = supervisor(QueueLimits::default(), |shared, command| {
        if let Command::Enqueue(slot) = command {
            let Square(number) = decode(slot.payload()).expect("a square");
            finish(shared, &slot, answered(&(number * number)));
        }
    });
    let sum = block_on(async {
        let three = supervisor.enqueue(Square(3)).expect("accepted");
        let four = supervisor.enqueue(Square(4)).expect("accepted");
        three.await.expect("a reply").data + four.await.expect("a reply").data
    });
    assert_eq!(sum, 25);
    drop(supervisor);
    fake.join().expect("no panic");
}

/// J1: `then` before and after the job has ended.
#[test]
fn a_callback_is_called_with_the_result() {
    let (sender, receiver) = channel();
    let (early, slot) = handle();
    let told = sender.clone();
    early.then(move |result| told.send(result.expect("a reply").data).expect("open"));
    rouse(slot.settle(answered(&16u32)).expect("the callback"));
    assert_eq!(receiver.recv(), Ok(16));

    let (late, slot) = handle();
    slot.settle(cancelled());
    let shared = Arc::clone(&late.shared);
    late.then(move |result| {
        assert!(matches!(result, Err(JobError::Cancelled { .. })));
        sender.send(1).expect("open");
    });
    assert!(receiver.try_recv().is_err(), "it waits for the courier");
    drop(shared);
}

/// J7: cancelling asks the loop, until there is nothing to cancel.
#[test]
fn cancelling_is_a_command_unless_the_job_has_ended() {
    let (handle, slot) = handle();
    handle.cancel();
    handle.canceller().cancel();
    assert_eq!(handle.shared.arrivals().len(), 2);
    slot.settle(cancelled());
    handle.cancel();
    assert_eq!(handle.shared.arrivals().len(), 2);
    assert_eq!(handle.canceller().id(), handle.id());
}

/// J1: dropping a handle forgets the reply, not the job.
#[test]
fn a_dropped_handle_leaves_the_job_alone() {
    let (handle, slot) = handle();
    let shared = Arc::clone(&handle.shared);
    drop(handle);
    assert!(shared.arrivals().is_empty(), "nothing is cancelled");
    assert!(slot.settle(answered(&1u32)).is_none());
}

/// J4: the handler's failure arrives whole.
#[test]
fn a_failure_keeps_kind_message_and_details() {
    let (handle, slot) = handle();
    let Outcome::Replied { attempt, .. } = replied(Vec::new()) else { unreachable!() };
    slot.settle(Outcome::Failed { failure: Failure::new("no root").with_details(&-1i32), attempt });
    let error = handle.wait().expect_err("a failure");
    let failure = error.failure().expect("the handler's");
    assert_eq!(failure.details::<i32>(), Some(Ok(-1)));
    assert!(error.to_string().ends_with("failed on worker fake-0 at attempt 1: handler error: no root"));
}

/// J8: an answer of another type, or with bytes left over, is a Codec error that names the call and both types.
#[test]
fn an_answer_that_is_not_the_reply_names_call_and_types() {
    for data in [vec![0xff; 9], vec![1, 2, 3]] {
        let (handle, slot) = handle();
        slot.settle(replied(data));
        let text = handle.wait().expect_err("no u32").to_string();
        for part in
            ["\"test\"", "Square", "u32", "fake-0", "both ends must be built from the same definition"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}

/// J15: an acknowledgement is a reply only where the reply is ().
#[test]
fn an_acknowledgement_of_a_call_with_a_reply_says_so() {
    let (handle, slot) = handle();
    slot.settle(replied(Vec::new()));
    let text = handle.wait().expect_err("no u32").to_string();
    assert!(text.contains("acknowledged without data, which only a call whose Reply is () allows"), "{text}");
}

#[test]
fn handles_and_cancellers_go_anywhere() {
    fn anywhere<T: Send + Sync + Unpin + 'static>() {}
    anywhere::<Handle<Square>>();
    anywhere::<Canceller>();
    anywhere::<Completions<Square>>();
    anywhere::<crate::Supervisor>();
}

/// Says whether `deed` ended a loan of the loop.
fn ends_loan(deed: impl FnOnce(Handle<Square>)) -> bool {
    let shared = shared(QueueLimits::default());
    let handle = Handle::new(slot(), Arc::clone(&shared));
    thread::scope(|scope| {
        // Nobody can find the loan unused meanwhile.
        let held = shared.loan.hold();
        scope.spawn(|| shared.loan.lend(|| false));
        while !shared.loan.is_lent() {
            thread::yield_now();
        }
        deed(handle);
        let has_ended = !shared.loan.is_lent();
        shared.loan.end();
        drop(held);
        has_ended
    })
}

/// J1: a job that was awaited, forwarded, looked at or forgotten while the loop was lent waited for up to two
/// milliseconds, until the loan was found unused: nobody ran turns for it.
#[test]
fn whoever_does_anything_but_wait_leaves_the_job_to_the_loop() {
    assert!(ends_loan(drop));
    assert!(ends_loan(|handle| handle.then(|_| {})));
    assert!(ends_loan(|handle| handle.forward(&Completions::new())));
    assert!(ends_loan(|handle| std::mem::forget(handle.try_result().expect_err("not yet"))));
    assert!(ends_loan(|handle| {
        assert_eq!(handle.status(), JobStatus::Queued);
        std::mem::forget(handle);
    }));
    assert!(ends_loan(|mut handle| {
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
        std::mem::forget(handle);
    }));
    assert!(!ends_loan(std::mem::forget));
}

/// J1: a second waiter who found the loop lent and in use went to sleep, and nobody had to look after his job before
/// the loan was found unused.
#[test]
fn a_second_waiter_ends_the_loan() {
    assert!(ends_loan(|handle| std::mem::forget(handle.wait_timeout(Duration::ZERO).expect_err("not yet"))));
}

/// J1: a handle that was waited for after it had been polled to its end blocked for ever.
#[test]
#[should_panic(expected = "after it was ready")]
fn a_handle_is_not_waited_for_after_it_was_ready() {
    let (mut handle, slot) = handle();
    slot.settle(answered(&49u32));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut handle).poll(&mut context).is_ready());
    drop(handle.wait());
}
