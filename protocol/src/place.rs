//! Where a payload lies in the pool: what a frame carries instead of it.

/// Where a payload lies in its half of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first byte, counted from the beginning of the half.
    pub offset: u32,
    /// How many bytes it has.
    pub length: u32,
}

impl Place {
    /// Bytes of a place in a frame.
    pub const LEN: usize = 8;

    /// As it travels: offset and length, little endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Place::LEN] {
        let [o0, o1, o2, o3] = self.offset.to_le_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        [o0, o1, o2, o3, l0, l1, l2, l3]
    }

    /// The place that travelled as these bytes; `None` when there are not [`LEN`](Place::LEN) of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Place> {
        let [o0, o1, o2, o3, l0, l1, l2, l3] = *<&[u8; Place::LEN]>::try_from(bytes).ok()?;
        Some(Place {
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
        })
    }
}

/// A lie about the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The place is not within the half.
    #[error("{place:?} is not within the {half} bytes of its half of the pool")]
    Outside {
        /// The place.
        place: Place,
        /// Bytes of the half.
        half: usize,
    },
    /// The place is neither behind the one before it nor at the front, or is empty.
    #[error("{place:?} is neither at {next}, behind the one before it, nor at the front, or it is empty")]
    OutOfOrder {
        /// The place.
        place: Place,
        /// Where it might have begun.
        next: usize,
    },
    /// More was counted as copied out than was there.
    #[error("{more} payloads were counted as copied out of the pool, and {outstanding} were in it")]
    Count {
        /// How many were counted since the last look.
        more: u64,
        /// How many there were.
        outstanding: usize,
    },
}
