//! Several handler threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ganger_protocol::Kind;

use super::{Run, echo, until};

#[test]
fn four_threads_handle_ten_thousand_requests_once_each_and_four_at_a_time() {
    const REQUESTS: usize = 10_000;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let seen_all = Arc::new(AtomicBool::new(false));
    let (counts, tops, all) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&seen_all));
    let mut run = Run::ready(|worker| {
        worker.concurrency(4).on_raw("work", move |request| {
            let now = counts.fetch_add(1, Ordering::SeqCst) + 1;
            tops.fetch_max(now, Ordering::SeqCst);
            if now == 4 {
                all.store(true, Ordering::SeqCst);
            }
            // The first ones wait for each other: proof that four run at once.
            until(|| all.load(Ordering::SeqCst));
            counts.fetch_sub(1, Ordering::SeqCst);
            echo(request);
        });
    });
    let mut answered = vec![0; REQUESTS + 1];
    let mut count = 0;
    let mut sent = 0;
    while count < REQUESTS {
        while sent < REQUESTS && sent - count < 256 {
            sent += 1;
            let head = run.peer.head("work");
            run.peer.append(Kind::Request, &head, &(sent as u32).to_le_bytes());
        }
        run.peer.flush();
        let (ordinal, _, payload) = run.answer();
        assert_eq!(payload, ordinal.0.to_le_bytes());
        answered[ordinal.0 as usize] += 1;
        count += 1;
    }
    assert!(answered[1..].iter().all(|times| *times == 1));
    assert_eq!(most.load(Ordering::SeqCst), 4);
    run.leave();
}

#[test]
fn four_threads_that_idle_between_requests_lose_none() {
    let mut run = Run::ready(|worker| {
        worker.concurrency(4).on_raw("echo", echo);
    });
    for round in 0..3000usize {
        let sent = 1 + round % 5;
        for _ in 0..sent {
            run.peer.request("echo", &[]);
        }
        for _ in 0..sent {
            run.answer();
        }
    }
    run.leave();
}
