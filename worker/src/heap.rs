//! What the allocator holds, as far as it tells. The crate's only `unsafe`: a call into the C library.

use ganger_protocol::{Time, Vitals};

/// The worker's vitals at `now`.
pub(crate) fn vitals(now: Time) -> Vitals {
    let (heap_total_bytes, heap_used_bytes) = totals();
    Vitals { beat: now, heap_total_bytes, heap_used_bytes }
}

/// Bytes held and bytes in use by glibc's allocator, memory mapped for large blocks included.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn totals() -> (u64, u64) {
    // SAFETY: the function takes no arguments, returns a plain structure and locks what it reads.
    let info = unsafe { libc::mallinfo2() };
    ((info.arena + info.hblkhd) as u64, (info.uordblks + info.hblkhd) as u64)
}

/// Other C libraries do not tell; zero means unknown.
#[cfg(not(target_env = "gnu"))]
fn totals() -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_large_block_shows() {
        let before = vitals(Time::ZERO).heap_used_bytes;
        // Larger than all that other tests hold meanwhile; it is never touched.
        let block = std::hint::black_box(vec![0u8; 1 << 30]);
        let after = vitals(Time::ZERO).heap_used_bytes;
        assert!(after >= before + (512 << 20), "{before} then {after}");
        drop(block);
    }
}
