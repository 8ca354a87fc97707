//! Target `messages`: a kind, the length of a head, the head, and a payload that is also a page's words.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;

use ganger_protocol::{Failure, Generation, Kind, Ordinal, Page, Time, Vitals, encode};

use super::Features;
use super::tape::Tape;

/// The page's words that are read at once by the supervisor, and some slots.
const WORDS: usize = 256;

pub(super) fn run(bytes: &[u8], features: &mut Features) {
    let mut tape = Tape::new(bytes);
    let kinds: Vec<Kind> = (0..=u8::MAX).filter_map(Kind::from_byte).collect();
    let kind = kinds[tape.below(kinds.len())];
    let length = usize::from(tape.byte());
    let head = tape.take(length);
    let payload = tape.rest();
    super::inbox::decode(kind, head, payload, features);
    PAGE.with(|page| {
        let (page, fd) = page.get_or_init(|| Page::create().expect("a page"));
        read_page(page, fd, payload, features);
    });
}

thread_local! {
    static PAGE: OnceCell<(Page, OwnedFd)> = const { OnceCell::new() };
}

/// A page in which somebody has written what it liked.
fn read_page(page: &Page, fd: &OwnedFd, words: &[u8], features: &mut Features) {
    let mut scribbled = [0; WORDS];
    let count = words.len().min(WORDS);
    scribbled[..count].copy_from_slice(&words[..count]);
    let written = rustix::io::pwrite(fd, &scribbled, 0).expect("a memory file can be written");
    assert_eq!(written, WORDS);
    let (mark, vitals) = (page.mark(), page.vitals());
    features.note(("slots", page.slots().count()));
    assert!(page.slots().count() <= (WORDS - 64) / 16, "only what was written is occupied");
    let next = page.start(mark.generation).expect("nobody competes");
    assert_eq!(next, mark.started.next());
    let other = Generation(mark.generation.0 ^ 1);
    assert!(page.start(other).is_err(), "another generation starts nothing");
    let after = page.take_back();
    assert_eq!((after.generation, after.started), (mark.generation.next(), next));
    page.occupy(3, Ordinal(u32::MAX), Time::NEVER);
    assert!(page.slots().any(|slot| slot.ordinal == Ordinal(u32::MAX)));
    page.vacate(3);
    page.set_vitals(Vitals { beat: Time::NEVER, ..vitals });
    assert_eq!(page.vitals().beat, Time::NEVER);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let failure = encode(&Failure::new("no").with_details(&[1u8, 2])).expect("a failure encodes");
    let request = encode(&super::inbox::request(1)).expect("a head encodes");
    (0..12u8).map(|kind| [&[kind, request.len() as u8], &request[..], &failure[..]].concat()).collect()
}
