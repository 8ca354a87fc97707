//! The hatch: a second socket between a supervisor and one worker, through which descriptors go and nothing else.
//!
//! To receive descriptors costs a read that asks for them, a tenth more than one that does not, and the leash is read
//! for every job. So a frame only says how many descriptors belong to it; they lie in a packet of their own in the
//! hatch, which is put in before the frame is written and fetched when the frame has been read. A packet is 8 bytes,
//! ordinal and epoch of the frame's request, both little endian; packets are in the order of their frames.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::{Attachments, Epoch, Ordinal};

/// The most descriptors that one request or answer can have.
pub const MAX_ATTACHMENTS: usize = 16;

const LABEL_LEN: usize = 8;

/// Behind the label of a packet whose descriptors the system refused to carry.
const REFUSED: u8 = 1;

/// To which frame a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The request's ordinal.
    pub ordinal: Ordinal,
    /// The request's epoch.
    pub epoch: Epoch,
}

impl Label {
    fn to_bytes(self) -> [u8; LABEL_LEN] {
        let [o0, o1, o2, o3] = self.ordinal.0.to_le_bytes();
        let [e0, e1, e2, e3] = self.epoch.0.to_le_bytes();
        [o0, o1, o2, o3, e0, e1, e2, e3]
    }
}

/// The descriptors of one frame, on their way out. They stay open here until they are in the hatch.
#[derive(Clone, Debug)]
pub struct Packet {
    /// To which frame they belong.
    pub label: Label,
    /// The descriptors, from 1 to [`MAX_ATTACHMENTS`].
    pub fds: Arc<[Arc<OwnedFd>]>,
}

/// One end of a hatch.
#[derive(Debug)]
pub struct Hatch {
    socket: OwnedFd,
}

/// Whether there was room for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is in the kernel.
    Yes,
    /// Not now.
    NoRoom,
}

/// Descriptors that were lost because this process may open no more, or because the system does not carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    /// How many the frame announced.
    pub announced: u8,
    /// How many arrived; they were closed.
    pub arrived: u8,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { announced, arrived } = self;
        write!(
            f,
            "only {arrived} of {announced} attachments arrived: the receiving process may open no more descriptors \
             (raise its limit, ulimit -n), or the system does not pass such a one on"
        )
    }
}

/// A packet that does not fit its frame: the other end does not follow the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HatchError {
    /// There is none.
    #[error("{announced} descriptors were announced, and none are in the hatch")]
    Missing {
        /// How many the frame announced.
        announced: u8,
    },
    /// It belongs to another frame, or to none.
    #[error(
        "the descriptors in the hatch belong to another frame: {found:02x?} where {expected:02x?} was due"
    )]
    Astray {
        /// The packet's bytes.
        found: Vec<u8>,
        /// What the frame asks for.
        expected: [u8; LABEL_LEN],
    },
    /// It has more or fewer descriptors.
    #[error("{announced} descriptors were announced, and {arrived} came")]
    Count {
        /// How many the frame announced.
        announced: u8,
        /// How many there were, at least.
        arrived: usize,
    },
}

/// What a packet that was fetched holds.
pub type Fetched = Result<Attachments, Cut>;

impl Hatch {
    /// Both ends of a new hatch.
    ///
    /// # Errors
    /// When the process may open no more descriptors.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    }

    /// The end that this descriptor is.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Hatch {
        Hatch { socket }
    }

    /// Puts a packet in, without blocking.
    ///
    /// # Errors
    /// When nobody is at the other end any more. Descriptors that the system does not pass on are told to the other
    /// end, and are no error here.
    pub fn post(&self, packet: &Packet) -> io::Result<Posted> {
        let fds: Vec<BorrowedFd<'_>> = packet.fds.iter().map(AsFd::as_fd).collect();
        let label = packet.label.to_bytes();
        match self.send(&[IoSlice::new(&label)], &fds) {
            Ok(_) => Ok(Posted::Yes),
            Err(error) if is_for_now(error) => Ok(Posted::NoRoom),
            Err(error @ (Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN)) => Err(error.into()),
            Err(_) => self.post_refusal(&label),
        }
    }

    fn post_refusal(&self, label: &[u8]) -> io::Result<Posted> {
        match self.send(&[IoSlice::new(label), IoSlice::new(&[REFUSED])], &[]) {
            Ok(_) => Ok(Posted::Yes),
            Err(error) if is_for_now(error) => Ok(Posted::NoRoom),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&self, bytes: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_ATTACHMENTS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::INVAL);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::io::retry_on_intr(|| sendmsg(&self.socket, bytes, &mut ancillary, flags))
    }

    /// Fetches the packet of a frame that was read and announced descriptors. They are close-on-exec.
    ///
    /// # Errors
    /// [`HatchError`] when the next packet is not the frame's. Whatever came with it is closed.
    pub fn fetch(&self, label: Label, announced: u8) -> Result<Fetched, HatchError> {
        let mut bytes = [0; LABEL_LEN + 2];
        let (length, fds, is_cut) = self.receive(&mut bytes).ok_or(HatchError::Missing { announced })?;
        let (found, expected) = (&bytes[..length], label.to_bytes());
        let arrived = fds.len();
        let cut = Cut { announced, arrived: arrived as u8 };
        match found.strip_prefix(&expected) {
            Some([REFUSED]) if arrived == 0 => Ok(Err(cut)),
            // Had there been more than there may be, so many would have arrived.
            Some([]) if is_cut && arrived < usize::from(announced) => Ok(Err(cut)),
            Some([]) if !is_cut && arrived == usize::from(announced) => Ok(Ok(fds.into())),
            Some([]) => Err(HatchError::Count { announced, arrived: arrived + usize::from(is_cut) }),
            Some(_) | None => Err(HatchError::Astray { found: found.to_vec(), expected }),
        }
    }

    /// The next packet's length, its descriptors, and whether some were cut off.
    fn receive(&self, bytes: &mut [u8]) -> Option<(usize, Vec<OwnedFd>, bool)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_ATTACHMENTS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)
        });
        let received = received.ok()?;
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                fds.extend(some);
            }
        }
        let is_end = received.bytes == 0 && fds.is_empty();
        (!is_end).then(|| (received.bytes, fds, received.flags.contains(ReturnFlags::CTRUNC)))
    }
}

impl AsFd for Hatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The queue is full, or too many descriptors of this user are on their way somewhere.
fn is_for_now(error: Errno) -> bool {
    matches!(error, Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn both() -> (Hatch, Hatch) {
        let (left, right) = Hatch::pair().expect("a pair");
        (Hatch::new(left), Hatch::new(right))
    }

    fn label(ordinal: u32) -> Label {
        Label { ordinal: Ordinal(ordinal), epoch: Epoch(9) }
    }

    fn pipes(count: usize) -> (Vec<io::PipeReader>, Arc<[Arc<OwnedFd>]>) {
        let pairs = std::iter::repeat_with(|| io::pipe().expect("a pipe")).take(count);
        let (readers, writers): (Vec<_>, Vec<_>) = pairs.unzip();
        (readers, writers.into_iter().map(|writer| Arc::new(writer.into())).collect())
    }

    fn post(hatch: &Hatch, ordinal: u32, fds: &Arc<[Arc<OwnedFd>]>) {
        let packet = Packet { label: label(ordinal), fds: Arc::clone(fds) };
        assert_eq!(hatch.post(&packet).expect("somebody is there"), Posted::Yes);
    }

    #[test]
    fn packets_are_fetched_in_order_with_what_is_in_them() {
        let (left, right) = both();
        let (mut readers, fds) = pipes(MAX_ATTACHMENTS);
        post(&left, 1, &fds);
        let (mut others, fd) = pipes(1);
        post(&left, 2, &fd);
        drop((fds, fd));
        let all = right.fetch(label(1), MAX_ATTACHMENTS as u8).expect("the frame's").expect("room");
        let one = right.fetch(label(2), 1).expect("the frame's").expect("room");
        readers.append(&mut others);
        for (attachments, count) in [(all, MAX_ATTACHMENTS), (one, 1)] {
            assert_eq!(attachments.len(), count);
            for fd in attachments {
                let flags = rustix::io::fcntl_getfd(&fd).expect("flags");
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                io::PipeWriter::from(fd).write_all(b"hi").expect("written");
                let mut said = String::new();
                readers.remove(0).read_to_string(&mut said).expect("read");
                assert_eq!(said, "hi");
            }
        }
    }

    #[test]
    fn what_does_not_fit_its_frame_is_refused_and_closed() {
        let (left, right) = both();
        assert_eq!(right.fetch(label(1), 1), Err(HatchError::Missing { announced: 1 }));
        let (mut readers, fds) = pipes(2);
        post(&left, 1, &fds);
        post(&left, 1, &fds);
        post(&left, 1, &fds);
        drop(fds);
        assert_eq!(right.fetch(label(1), 1), Err(HatchError::Count { announced: 1, arrived: 2 }));
        assert_eq!(right.fetch(label(1), 3), Err(HatchError::Count { announced: 3, arrived: 2 }));
        assert!(matches!(right.fetch(label(2), 2), Err(HatchError::Astray { .. })));
        for reader in &mut readers {
            assert_eq!(reader.read(&mut [0]).expect("the end"), 0);
        }
        drop(left);
        assert_eq!(right.fetch(label(1), 2), Err(HatchError::Missing { announced: 2 }));
    }

    #[test]
    fn a_full_hatch_says_so_and_takes_the_packet_later() {
        let (left, right) = both();
        let (_readers, fds) = pipes(1);
        let mut posted = 0;
        let packet = |ordinal| Packet { label: label(ordinal), fds: Arc::clone(&fds) };
        while left.post(&packet(posted)).expect("somebody is there") == Posted::Yes {
            posted += 1;
            assert!(posted < 100_000, "there is no end to it");
        }
        for ordinal in 0..posted {
            assert!(right.fetch(label(ordinal), 1).expect("the frame's").is_ok());
        }
        assert_eq!(left.post(&packet(posted)).expect("somebody is there"), Posted::Yes);
    }
}
