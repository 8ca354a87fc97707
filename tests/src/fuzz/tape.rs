//! An input that is read as a script: each step takes the bytes that it needs. After the end there are zeros.

/// The bytes of a script that are not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Tape<'a> {
        Tape(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn word<const N: usize>(&mut self) -> [u8; N] {
        let mut word = [0; N];
        let taken = self.take(N);
        word[..taken.len()].copy_from_slice(taken);
        word
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.word::<1>()[0]
    }

    /// A number below `limit`, which is at most 256.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    /// One of the place's inhabitants, if it has any.
    pub(super) fn pick(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.below(count.min(256)))
    }

    pub(super) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.word())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.word())
    }

    /// The rest.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
