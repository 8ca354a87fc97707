//! A process that uses the store: what it holds, and what it was told.

use std::collections::{BTreeMap, VecDeque};

use ganger::internals::store::{ClientId, StoreAction};
use ganger_protocol::{Mirror, Piece, Revision};

/// One process.
pub(super) struct Process {
    pub(super) client: ClientId,
    pub(super) is_alive: bool,
    /// What was said to it and it has not read.
    pub(super) inbox: VecDeque<StoreAction>,
    /// The locks that it has, by name.
    pub(super) held: BTreeMap<String, Revision>,
    /// The locks that it waits for, by operation.
    pub(super) waits: BTreeMap<u64, String>,
    pub(super) followed: BTreeMap<u32, Followed>,
}

/// Keys that a process follows.
pub(super) struct Followed {
    pub(super) prefix: String,
    /// `None`: only what changes is told.
    pub(super) mirror: Option<Mirror>,
    /// The version told last in this round.
    last: Revision,
    /// A piece was taken in, and the next not asked for.
    pub(super) owes_next: bool,
}

impl Process {
    pub(super) fn new(client: ClientId) -> Process {
        Process {
            client,
            is_alive: true,
            inbox: VecDeque::new(),
            held: BTreeMap::new(),
            waits: BTreeMap::new(),
            followed: BTreeMap::new(),
        }
    }
}

impl Followed {
    pub(super) fn new(prefix: &str, mirror: Option<Mirror>) -> Followed {
        Followed { prefix: prefix.into(), mirror, last: Revision(0), owes_next: false }
    }

    /// Takes a piece in; false when it is out of order.
    pub(super) fn take(&mut self, piece: Piece) -> bool {
        if piece.head.is_reset {
            self.last = Revision(0);
        }
        let mut is_in_order = true;
        for change in &piece.changes {
            is_in_order &= change.version > self.last && change.key.starts_with(&self.prefix);
            self.last = change.version;
        }
        is_in_order &= piece.head.complete.is_none_or(|complete| complete >= self.last);
        self.owes_next = true;
        if let Some(mirror) = &self.mirror {
            mirror.apply(piece);
        }
        is_in_order
    }
}
