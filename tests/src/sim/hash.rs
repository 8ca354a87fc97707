//! One number for what was said.

use ganger_protocol::{Failure, RetryHint};

/// The hash of a reply's bytes.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    for byte in chunks.remainder() {
        hash = mix(hash, u64::from(*byte));
    }
    hash
}

/// The hash of a failure, its word about trying again included.
pub(crate) fn hash_failure(failure: &Failure) -> u64 {
    let hint = match failure.retry {
        RetryHint::AsConfigured => 1,
        RetryHint::Again => 2,
        RetryHint::Never => 3,
    };
    mix(hash_bytes(failure.message.as_bytes()), hint)
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}
