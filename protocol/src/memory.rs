//! Memory that two processes share: a sealed file, mapped as a slice of atomic words.
//!
//! Neither side can shrink it under the other. Words are reached atomically; bytes are copied in or out as a whole,
//! through raw pointers, so that no reference to plain memory exists which a peer could change. What is read is
//! copied before it is believed.
//!
//! This is the crate's only module with `unsafe`: it maps the file, forms one slice over it, and copies. Copying word by
//! word, atomically, needs none and takes twice as long (decision record 8).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// A page or a pool that could not be made or mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The system refused.
    #[error("the shared memory could not be {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The descriptor is not what it should be: wrong size, or not sealed against shrinking.
    #[error("the descriptor is not the shared memory that it should be: {reason}")]
    NotAPage {
        /// What is wrong with it.
        reason: String,
    },
}

/// Words that another process may see, and change, at any time.
pub(crate) enum Memory {
    /// A mapping of so many words.
    Mapped(NonNull<AtomicU64>, usize),
    /// For tests and simulations in one process.
    Owned(Box<[AtomicU64]>),
}

// SAFETY: it is a fixed range of atomic words; every access goes through them, from any thread.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Makes a sealed file of so many words, maps it, and gives the descriptor through which another process can.
    pub(crate) fn create(name: &str, words: usize) -> Result<(Memory, OwnedFd), PageError> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| system("created", error))?;
        rustix::fs::ftruncate(&fd, 8 * words as u64).map_err(|error| system("sized", error))?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(|error| system("sealed", error))?;
        Ok((Memory::map(&fd)?, fd))
    }

    /// Maps the whole file behind a descriptor, after checking that it cannot shrink.
    pub(crate) fn map(fd: impl AsFd) -> Result<Memory, PageError> {
        let seals = rustix::fs::fcntl_get_seals(&fd)
            .map_err(|error| PageError::NotAPage { reason: format!("it has no seals: {error}") })?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(PageError::NotAPage { reason: String::from("it is not sealed against shrinking") });
        }
        let size = rustix::fs::fstat(&fd).map_err(|error| system("measured", error))?.st_size;
        let size = usize::try_from(size).unwrap_or(0) / 8 * 8;
        if size == 0 {
            return Err(PageError::NotAPage { reason: String::from("it is empty") });
        }
        // SAFETY: a new shared mapping at an address of the kernel's choice aliases nothing of this program.
        let address = unsafe {
            let rights = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), size, rights, MapFlags::SHARED, fd, 0)
        }
        .map_err(|error| system("mapped", error))?;
        let words = NonNull::new(address.cast()).expect("mmap does not map the null page");
        Ok(Memory::Mapped(words, size / 8))
    }

    /// Words of this process's own.
    pub(crate) fn in_process(words: usize) -> Memory {
        Memory::Owned((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        match self {
            // SAFETY: the mapping holds so many aligned words, cannot shrink (checked in `map`), lives as long as
            // `self`, and is only ever accessed atomically by this program.
            Memory::Mapped(words, count) => unsafe { std::slice::from_raw_parts(words.as_ptr(), *count) },
            Memory::Owned(words) => words,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Memory::Mapped(words, count) = self {
            // SAFETY: the range was mapped by `map` with this length and nothing borrows it any more.
            let _ = unsafe { rustix::mm::munmap(words.as_ptr().cast(), 8 * *count) };
        }
    }
}

/// Copies bytes into shared words.
///
/// # Panics
/// When there are more bytes than the words hold.
pub(crate) fn copy_in(words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= 8 * words.len(), "{} bytes into {} words", bytes.len(), words.len());
    let to = words.as_ptr().cast::<u8>().cast_mut();
    // SAFETY: the words are as many bytes (checked), may be written through a shared reference because they are atomic,
    // and do not overlap the bytes, which no mapping of ours is lent as. In this process their one writer has them to
    // itself; what another process does to them meanwhile can change bytes and nothing else.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
}

/// Copies bytes out of shared words.
///
/// # Panics
/// When more bytes are wanted than the words hold.
pub(crate) fn copy_out(words: &[AtomicU64], length: usize) -> Vec<u8> {
    assert!(length <= 8 * words.len(), "{length} bytes out of {} words", words.len());
    let mut bytes = Vec::with_capacity(length);
    // SAFETY: the words are as many bytes (checked), the buffer has room for them, and they are new memory. In this
    // process nobody writes the words; what another process writes meanwhile decides which bytes are copied and nothing
    // else: they are valid whatever they are, and looked at only in the copy.
    unsafe {
        std::ptr::copy_nonoverlapping(words.as_ptr().cast::<u8>(), bytes.as_mut_ptr(), length);
        bytes.set_len(length);
    }
    bytes
}

fn system(action: &'static str, error: rustix::io::Errno) -> PageError {
    PageError::System { action, source: error.into() }
}
