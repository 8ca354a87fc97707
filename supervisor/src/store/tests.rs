//! The rules of the store, one by one.

use std::time::Duration;

use bytes::Bytes;
use ganger_protocol::{
    Condition, KeyChange, Origin, Piece, Revision, StoreOp, StoreRefusal, StoreReply, Time, encode,
};

use super::{Answering, ClientId, Store, StoreAction, StoreLimits, StoreMisuse};

const A: ClientId = ClientId(1);
const B: ClientId = ClientId(2);
const C: ClientId = ClientId(3);

/// A store with three clients, its clock, and what was said and not yet looked at.
struct Desk {
    store: Store,
    now: Time,
    said: Vec<StoreAction>,
    last: u64,
}

impl Desk {
    fn new(limits: StoreLimits) -> Desk {
        let mut store = Store::new(limits);
        [A, B, C].into_iter().for_each(|client| store.handle_born(client));
        Desk { store, now: Time::ZERO, said: Vec::new(), last: 0 }
    }

    /// Asks, and gives the operation's number; what is said is put aside.
    fn ask(&mut self, client: ClientId, op: StoreOp<'_>) -> u64 {
        self.last += 1;
        self.store.handle_op(self.now, client, self.last, op).expect("allowed");
        self.listen();
        self.last
    }

    fn listen(&mut self) {
        self.said.extend(std::iter::from_fn(|| self.store.poll_action()));
        assert_eq!(self.store.check(), None);
    }

    /// The first answer to an operation that was not yet looked at.
    fn answer_to(&mut self, number: u64) -> Option<StoreReply> {
        let is_meant = |said: &StoreAction| matches!(said, StoreAction::Answer { id, .. } if *id == number);
        let place = self.said.iter().position(is_meant)?;
        match self.said.remove(place) {
            StoreAction::Answer { reply, .. } => Some(reply),
            StoreAction::Tell { .. } => None,
        }
    }

    fn answer(&mut self, client: ClientId, op: StoreOp<'_>) -> StoreReply {
        let number = self.ask(client, op);
        self.answer_to(number).expect("answered at once")
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Revision {
        match self.answer(A, set(key, value)) {
            StoreReply::Done { revision } => revision,
            other => panic!("{other:?}"),
        }
    }

    fn piece(&mut self) -> Option<Piece> {
        let is_piece = |said: &StoreAction| matches!(said, StoreAction::Tell { .. });
        let place = self.said.iter().position(is_piece)?;
        match self.said.remove(place) {
            StoreAction::Tell { piece, .. } => Some(piece),
            StoreAction::Answer { .. } => None,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.store.handle_timeout(self.now);
        self.listen();
    }

    fn gone(&mut self, client: ClientId) {
        self.store.handle_gone(self.now, client);
        self.listen();
    }
}

fn set<'a>(key: &'a str, value: &[u8]) -> StoreOp<'a> {
    let value = Bytes::copy_from_slice(value);
    StoreOp::Set { key: key.into(), when: Condition::Always, ttl_nanos: None, value }
}

fn set_when<'a>(key: &'a str, when: Condition) -> StoreOp<'a> {
    StoreOp::Set { key: key.into(), when, ttl_nanos: None, value: Bytes::from_static(b"new") }
}

fn get(key: &str) -> StoreOp<'_> {
    StoreOp::Get { key: key.into() }
}

fn delete(key: &str) -> StoreOp<'_> {
    StoreOp::Delete { key: key.into(), when: Condition::Always }
}

fn lock(name: &str, wait: Duration) -> StoreOp<'_> {
    StoreOp::Lock { name: name.into(), wait_nanos: wait.as_nanos() as u64 }
}

fn watch(prefix: &str, origin: Origin) -> StoreOp<'_> {
    StoreOp::Watch { watch: 7, prefix: prefix.into(), origin }
}

fn token(reply: Option<StoreReply>) -> Revision {
    match reply {
        Some(StoreReply::Locked { token }) => token,
        other => panic!("{other:?}"),
    }
}

fn keys(piece: &Piece) -> Vec<(&str, Option<&[u8]>)> {
    piece.changes.iter().map(|change| (&*change.key, change.value.as_deref())).collect()
}

const SECOND: Duration = Duration::from_secs(1);

/// M5: versions grow over all keys; a conditional set is made only under its condition, and says what it found.
#[test]
fn a_compare_and_set_is_made_under_its_condition_only() {
    let mut desk = Desk::new(StoreLimits::default());
    let first = desk.set("a", b"1");
    let second = desk.set("b", b"1");
    assert!(second > first);
    let conflict = |found| StoreReply::Refused(StoreRefusal::Conflict { found });
    assert_eq!(desk.answer(B, set_when("a", Condition::Absent)), conflict(Some(first)));
    assert_eq!(desk.answer(B, set_when("a", Condition::At(second))), conflict(Some(first)));
    assert_eq!(desk.answer(B, set_when("c", Condition::At(first))), conflict(None));
    assert!(matches!(desk.answer(B, set_when("a", Condition::At(first))), StoreReply::Done { .. }));
    assert!(matches!(desk.answer(B, set_when("c", Condition::Absent)), StoreReply::Done { .. }));
    assert_eq!(desk.answer(B, delete("nothing")), StoreReply::Absent);
}

/// M5: what is no number is not incremented, and neither is what would overflow.
#[test]
fn only_numbers_are_incremented() {
    let mut desk = Desk::new(StoreLimits::default());
    let increment = |by| StoreOp::Increment { key: "n".into(), by };
    assert!(matches!(desk.answer(A, increment(5)), StoreReply::Number { value: 5, .. }));
    assert!(matches!(desk.answer(B, increment(-7)), StoreReply::Number { value: -2, .. }));
    let full = StoreReply::Refused(StoreRefusal::Overflow { value: -2 });
    assert_eq!(desk.answer(B, increment(i64::MIN)), full);
    desk.set("n", &encode(&41i64).expect("encodes"));
    assert!(matches!(desk.answer(B, increment(1)), StoreReply::Number { value: 42, .. }));
    // Each would decode as a number, and is not what is written for one.
    for bytes in [&b"\x80\x00"[..], b"", b"\x01\x01", b"text"] {
        desk.set("n", bytes);
        assert_eq!(desk.answer(B, increment(1)), StoreReply::Refused(StoreRefusal::NotANumber), "{bytes:?}");
    }
}

/// M5: each limit refuses with its number, and what is there stays.
#[test]
fn each_limit_is_kept() {
    let limits = StoreLimits { keys: 2, key_bytes: 4, value_bytes: 10, bytes: 400, ..StoreLimits::default() };
    let mut desk = Desk::new(limits);
    let refused = |reply: StoreReply| match reply {
        StoreReply::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(desk.answer(A, set("", b""))), StoreRefusal::KeyLength { length: 0, limit: 4 });
    assert_eq!(refused(desk.answer(A, delete("12345"))), StoreRefusal::KeyLength { length: 5, limit: 4 });
    assert_eq!(refused(desk.answer(A, set("a", &[0; 11]))), StoreRefusal::TooLarge { length: 11, limit: 10 });
    desk.set("a", &[0; 10]);
    desk.set("b", &[0; 10]);
    assert_eq!(refused(desk.answer(A, set("c", b""))), StoreRefusal::TooManyKeys { limit: 2 });
    let limits = StoreLimits { bytes: 266, ..limits };
    let mut desk = Desk::new(limits);
    desk.set("a", &[0; 10]);
    assert_eq!(refused(desk.answer(A, set("b", b""))), StoreRefusal::Full { bytes: 268, limit: 266 });
    desk.set("a", b"");
    desk.set("b", b"");
}

/// M5: a key is there until its time is over, to the nanosecond, and an increment leaves the time alone.
#[test]
fn a_key_goes_when_its_time_is_over() {
    let mut desk = Desk::new(StoreLimits::default());
    let value = Bytes::from(encode(&1i64).expect("encodes"));
    let ttl_nanos = Some(SECOND.as_nanos() as u64);
    desk.ask(A, StoreOp::Set { key: "a".into(), when: Condition::Always, ttl_nanos, value });
    desk.ask(A, StoreOp::Increment { key: "a".into(), by: 1 });
    assert_eq!(desk.store.poll_timeout(), Some(Time::ZERO + SECOND));
    desk.pass(SECOND - Duration::from_nanos(1));
    assert!(matches!(desk.answer(B, get("a")), StoreReply::Value { .. }));
    // Nobody has told the store that time has passed: it sees for itself before it answers.
    desk.now = desk.now + Duration::from_nanos(1);
    assert_eq!(desk.answer(B, get("a")), StoreReply::Absent);
    assert_eq!(desk.store.poll_timeout(), None);
}

/// M7: who waits longest is next, with a greater token; who waits too long is told; who asks without waiting is not
/// let in before those who wait.
#[test]
fn a_lock_goes_to_who_waits_longest() {
    let mut desk = Desk::new(StoreLimits::default());
    let held = desk.ask(A, lock("l", SECOND));
    let first = token(desk.answer_to(held));
    let (impatient, patient, last) = (
        desk.ask(B, lock("l", SECOND)),
        desk.ask(C, lock("l", 9 * SECOND)),
        desk.ask(B, lock("l", 9 * SECOND)),
    );
    for waiting in [impatient, patient, last] {
        assert_eq!(desk.answer_to(waiting), Some(StoreReply::Waiting));
    }
    desk.pass(SECOND);
    assert_eq!(desk.answer_to(impatient), Some(StoreReply::NotLocked));
    let unlock = |token| StoreOp::Unlock { name: "l".into(), token };
    assert_eq!(desk.answer(B, unlock(first)), StoreReply::Refused(StoreRefusal::NotHeld), "it is not B's");
    assert!(matches!(desk.answer(A, unlock(first)), StoreReply::Done { .. }));
    let second = token(desk.answer_to(patient));
    assert!(second > first);
    assert_eq!(desk.answer(A, lock("l", Duration::ZERO)), StoreReply::NotLocked);
    assert_eq!(desk.answer(A, unlock(first)), StoreReply::Refused(StoreRefusal::NotHeld), "an old token");
    desk.ask(C, unlock(second));
    let third = token(desk.answer_to(last));
    desk.ask(B, unlock(third));
    assert!(matches!(desk.answer(A, lock("l", Duration::ZERO)), StoreReply::Locked { .. }));
}

/// M7: the locks of the dead go to the next at once, and the dead wait for nothing, nor do they get anything more.
#[test]
fn the_locks_of_the_dead_go_to_the_next() {
    let mut desk = Desk::new(StoreLimits::default());
    desk.ask(A, lock("l", SECOND));
    desk.ask(A, lock("m", SECOND));
    let dead = desk.ask(B, lock("l", SECOND));
    let next = desk.ask(C, lock("l", SECOND));
    desk.gone(B);
    desk.gone(A);
    desk.said.retain(|said| !matches!(said, StoreAction::Answer { answering: Answering::AtOnce, .. }));
    token(desk.answer_to(next));
    assert_eq!(desk.answer_to(dead), None);
    assert!(matches!(desk.answer(C, lock("m", Duration::ZERO)), StoreReply::Locked { .. }));
    desk.ask(A, lock("n", SECOND));
    assert!(matches!(desk.answer(C, lock("n", Duration::ZERO)), StoreReply::Locked { .. }));
}

/// M6: a watch tells what there is, then what changes, a piece each time that it is asked; of a key that changed
/// several times meanwhile it tells the last.
#[test]
fn a_watch_tells_the_last_change_of_each_key() {
    let mut desk = Desk::new(StoreLimits::default());
    desk.set("a/1", b"x");
    desk.set("b", b"x");
    desk.ask(B, watch("a/", Origin::Content));
    let piece = desk.piece().expect("the content");
    assert_eq!((keys(&piece), piece.head.is_reset), (vec![("a/1", Some(&b"x"[..]))], true));
    assert_eq!(piece.head.complete, Some(Revision(2)));
    desk.set("a/2", b"y");
    desk.set("a/1", b"y");
    desk.set("a/1", b"z");
    desk.ask(A, delete("a/2"));
    assert_eq!(desk.piece(), None, "it was not asked for");
    desk.ask(B, StoreOp::Next { watch: 7 });
    let piece = desk.piece().expect("what has changed");
    assert_eq!(keys(&piece), [("a/1", Some(&b"z"[..])), ("a/2", None)]);
    assert_eq!((piece.head.is_reset, piece.head.complete), (false, Some(Revision(6))));
    desk.ask(B, StoreOp::Next { watch: 7 });
    desk.set("b", b"y");
    assert_eq!(desk.piece(), None, "nothing that concerns it");
    desk.ask(B, StoreOp::Sync { watch: 7 });
    let piece = desk.piece().expect("how far it is");
    assert_eq!((piece.changes.len(), piece.head.complete), (0, Some(Revision(7))));
    let asked_twice = desk.store.handle_op(desk.now, B, 0, StoreOp::Next { watch: 7 });
    assert_eq!(asked_twice, Ok(()), "the piece has come");
    let asked_twice = desk.store.handle_op(desk.now, B, 0, StoreOp::Next { watch: 7 });
    assert_eq!(asked_twice, Err(StoreMisuse::Next { watch: 7 }));
}

/// M6: a watch that is behind deletions that have been forgotten begins anew and says so; one that has seen them does
/// not.
#[test]
fn a_watch_behind_forgotten_deletions_begins_anew() {
    let limits = StoreLimits { deletions: 2, ..StoreLimits::default() };
    let mut desk = Desk::new(limits);
    for key in ["1", "2", "3", "4"] {
        desk.set(key, b"x");
    }
    desk.ask(B, watch("", Origin::Content));
    assert_eq!(desk.piece().expect("the content").changes.len(), 4);
    desk.ask(A, delete("1"));
    desk.ask(A, delete("2"));
    desk.ask(B, StoreOp::Next { watch: 7 });
    let piece = desk.piece().expect("both are remembered");
    assert_eq!((keys(&piece), piece.head.is_reset), (vec![("1", None), ("2", None)], false));
    desk.set("1", b"x");
    for key in ["1", "3", "4"] {
        desk.ask(A, delete(key));
    }
    desk.set("5", b"x");
    desk.ask(B, StoreOp::Next { watch: 7 });
    let piece = desk.piece().expect("all anew");
    assert_eq!((keys(&piece), piece.head.is_reset), (vec![("5", Some(&b"x"[..]))], true));
}

/// M6: what is much comes in pieces, each asked for, and what changes meanwhile comes behind.
#[test]
fn what_is_much_comes_in_pieces() {
    let mut desk = Desk::new(StoreLimits::default());
    for number in 0..100 {
        desk.set(&format!("{number:03}"), &vec![7; 5000]);
    }
    desk.ask(B, watch("", Origin::Content));
    let first = desk.piece().expect("a piece");
    assert_eq!((first.changes.len(), first.head.complete), (13, None));
    desk.set("000", b"changed");
    let mut told: Vec<KeyChange> = first.changes;
    let mut complete = first.head.complete;
    while complete.is_none() {
        desk.ask(B, StoreOp::Next { watch: 7 });
        let piece = desk.piece().expect("a piece");
        told.extend(piece.changes);
        complete = piece.head.complete;
    }
    assert_eq!(told.len(), 101);
    assert!(told.is_sorted_by_key(|change| change.version));
    assert_eq!(told.last().and_then(|change| change.value.as_deref()), Some(&b"changed"[..]));
}

/// M5: a long list comes page by page.
#[test]
fn a_list_comes_page_by_page() {
    let mut desk = Desk::new(StoreLimits::default());
    for number in 0..100 {
        desk.set(&format!("a{number:03}"), &vec![7; 5000]);
    }
    desk.set("b", b"");
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let op = StoreOp::List { prefix: "a".into(), after: after.clone().map(Into::into) };
        let StoreReply::Page { has_more, entries } = desk.answer(A, op) else { panic!("no page") };
        after = entries.last().map(|entry| entry.key.to_string());
        found.extend(entries);
        if !has_more {
            break;
        }
    }
    assert_eq!(found.len(), 100);
    assert!(found.is_sorted_by(|one, two| one.key < two.key));
}
