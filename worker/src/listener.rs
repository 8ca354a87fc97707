//! Listeners that the supervisor keeps and shares with its workers.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use parking_lot::Mutex;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

/// The listeners that came with the Hello and were not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<(String, OwnedFd)>>);

impl Listeners {
    pub(crate) fn new(listeners: Vec<(String, OwnedFd)>) -> Listeners {
        Listeners(Mutex::new(listeners))
    }

    /// Takes one out, if it is of that kind.
    pub(crate) fn take<L: Listener>(&self, name: &str) -> Result<L, ListenerError> {
        let mut listeners = self.0.lock();
        let Some(place) = listeners.iter().position(|(known, _)| known == name) else {
            let left = listeners.iter().map(|(known, _)| known.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ListenerError::Unknown { name: name.into(), left });
        };
        let family = socket_domain(&listeners[place].1).ok();
        match L::IS_OF {
            Some((wanted, families)) if !family.is_some_and(|family| families.contains(&family)) => {
                Err(ListenerError::Kind { name: name.into(), wanted })
            }
            Some(_) | None => Ok(L::from_descriptor(listeners.remove(place).1)),
        }
    }
}

/// What a shared listener can be taken as: a `TcpListener`, a `UnixListener`, or its descriptor, whatever it is.
pub trait Listener: sealed::Sealed {}

impl Listener for TcpListener {}
impl Listener for UnixListener {}
impl Listener for OwnedFd {}

mod sealed {
    use super::{AddressFamily, OwnedFd};

    #[allow(unnameable_types, reason = "so that nobody else can be one")]
    pub trait Sealed: Sized {
        /// What it is called, and the families of addresses that it can be of; `None`: any.
        const IS_OF: Option<(&'static str, &'static [AddressFamily])>;

        fn from_descriptor(descriptor: OwnedFd) -> Self;
    }
}

impl sealed::Sealed for TcpListener {
    const IS_OF: Option<(&'static str, &'static [AddressFamily])> =
        Some(("a TcpListener", &[AddressFamily::INET, AddressFamily::INET6]));

    fn from_descriptor(descriptor: OwnedFd) -> TcpListener {
        descriptor.into()
    }
}

impl sealed::Sealed for UnixListener {
    const IS_OF: Option<(&'static str, &'static [AddressFamily])> =
        Some(("a UnixListener", &[AddressFamily::UNIX]));

    fn from_descriptor(descriptor: OwnedFd) -> UnixListener {
        descriptor.into()
    }
}

impl sealed::Sealed for OwnedFd {
    const IS_OF: Option<(&'static str, &'static [AddressFamily])> = None;

    fn from_descriptor(descriptor: OwnedFd) -> OwnedFd {
        descriptor
    }
}

/// A shared listener that cannot be had.
///
/// `Debug` shows the same sentence as `Display`, because that is what a `main` that returns the error prints.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// The group has none of this name, or it was taken.
    #[error(
        "there is no listener {name:?}, or it was taken before; left are: {left}. The supervisor names them with \
         Group::listener"
    )]
    Unknown {
        /// The name.
        name: String,
        /// The names of those that are left.
        left: String,
    },
    /// It is another kind of socket. It is still there to be taken.
    #[error("the listener {name:?} is not {wanted}")]
    Kind {
        /// The name.
        name: String,
        /// What it was to be.
        wanted: &'static str,
    },
}

impl std::fmt::Debug for ListenerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
