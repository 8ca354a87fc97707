//! The store's limits.

use ganger_protocol::{STORE_KEY_BYTES, STORE_VALUE_BYTES};

/// What each key counts besides its own bytes and its value's.
pub(super) const ENTRY_BYTES: u64 = 128;

/// How much the shared store takes: see [`Builder::store_limits`](crate::Builder::store_limits).
///
/// ```
/// use ganger::StoreLimits;
///
/// let limits = StoreLimits { keys: 1000, bytes: 16 << 20, ..StoreLimits::default() };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// How many keys there may be. Default 1,048,576.
    pub keys: usize,
    /// The longest key, prefix or lock's name, in bytes: from 1 to 4,096. Default 512.
    pub key_bytes: usize,
    /// The largest value, in bytes: from 1 to 1 MiB. Default 1 MiB.
    pub value_bytes: usize,
    /// How many bytes keys and values may have together, with 128 for each key. Default 256 MiB.
    pub bytes: u64,
    /// How many deletions are remembered for watches and replicas that are behind. Default 16,384.
    pub deletions: usize,
    /// How many watches and replicas each worker may have, and the supervisor's process. Default 256.
    pub watches: usize,
    /// How many locks each worker may hold or wait for, and the supervisor's process. Default 4,096.
    pub locks: usize,
    /// How many operations each worker may ask for a second, and a tenth of it at once. What is more is refused.
    /// Default 100,000.
    pub ops_per_second: u64,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
            keys: 1 << 20,
            key_bytes: 512,
            value_bytes: STORE_VALUE_BYTES,
            bytes: 256 << 20,
            deletions: 16 * 1024,
            watches: 256,
            locks: 4096,
            ops_per_second: 100_000,
        }
    }
}

impl StoreLimits {
    /// The most of each that makes sense, by the field's name.
    pub(crate) fn ranges(&self) -> [(&'static str, u64, u64); 8] {
        let wide = |value: usize| value as u64;
        [
            ("store_limits.keys", wide(self.keys), 1 << 32),
            ("store_limits.key_bytes", wide(self.key_bytes), STORE_KEY_BYTES as u64),
            ("store_limits.value_bytes", wide(self.value_bytes), STORE_VALUE_BYTES as u64),
            ("store_limits.bytes", self.bytes, 1 << 48),
            ("store_limits.deletions", wide(self.deletions), 1 << 32),
            ("store_limits.watches", wide(self.watches), 1 << 16),
            ("store_limits.locks", wide(self.locks), 1 << 20),
            ("store_limits.ops_per_second", self.ops_per_second, 1 << 32),
        ]
    }
}
