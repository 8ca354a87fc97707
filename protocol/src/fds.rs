//! Bytes and descriptors through a Unix socket, without ever blocking, and the bell.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// The most descriptors one message can carry (the kernel's `SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

/// Reads once into the room that `buffer` has, without blocking; 0 is the end of the stream.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when nothing is there; whatever `recv` says. A connection reset is the end of
/// the stream as well and is reported as 0.
pub fn read_into(socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::net::recv(socket.as_fd(), spare_capacity(buffer), RecvFlags::DONTWAIT) {
            Ok((count, _)) => return Ok(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes the pieces once, without blocking and without SIGPIPE, and says how many bytes were taken.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when nothing fits; whatever `sendmsg` says.
pub fn write_from(socket: impl AsFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut none = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(socket, pieces, &mut none, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Writes `bytes` together with descriptors, without blocking, and says how many bytes were taken. The
/// descriptors travel with the first byte.
///
/// # Errors
/// Whatever `sendmsg` says; [`io::ErrorKind::InvalidInput`] for more than [`MAX_FDS`] descriptors.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if fds.len() > MAX_FDS || !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} descriptors at once", fds.len()),
        ));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
}

/// Reads bytes and any descriptors that come with them; blocks as the socket does. Every descriptor is
/// close-on-exec.
///
/// # Errors
/// Whatever `recvmsg` says; [`io::ErrorKind::InvalidData`] when the kernel had to drop descriptors, for instance
/// because this process may open no more.
pub fn receive_with_fds(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut pieces = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(socket.as_fd(), &mut pieces, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were cut off on arrival"));
    }
    Ok((received.bytes, fds))
}

/// Rings a bell (an eventfd): whoever polls it wakes.
///
/// # Errors
/// Whatever `write` says, except that a bell which is already ringing is no error.
pub fn ring(bell: impl AsFd) -> io::Result<()> {
    match rustix::io::write(bell, &1u64.to_ne_bytes()) {
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Silences a bell; one that is not ringing stays silent.
///
/// # Errors
/// Whatever `read` says.
pub fn silence(bell: impl AsFd) -> io::Result<()> {
    let mut count = [0u8; 8];
    match rustix::io::read(bell, &mut count) {
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_bytes_and_are_close_on_exec() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let (gift, other) = UnixStream::pair().expect("a pair");
        assert_eq!(send_with_fds(&left, b"hello", &[gift.as_fd()]).expect("sent"), 5);
        let mut bytes = [0; 16];
        let (count, fds) = receive_with_fds(&right, &mut bytes).expect("received");
        assert_eq!((&bytes[..count], fds.len()), (&b"hello"[..], 1));
        let flags = rustix::io::fcntl_getfd(&fds[0]).expect("flags");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop((gift, other));
    }

    #[test]
    fn reading_never_blocks_and_ends_with_the_peer() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let mut buffer = Vec::with_capacity(64);
        let error = read_into(&right, &mut buffer).expect_err("nothing is there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        write_from(&left, &[IoSlice::new(b"ab"), IoSlice::new(b"c")]).expect("written");
        assert_eq!(read_into(&right, &mut buffer).expect("three bytes"), 3);
        drop(left);
        assert_eq!(read_into(&right, &mut buffer).expect("the end"), 0);
        assert_eq!(buffer, b"abc");
    }
}
