//! What processes say to each other, and what they share: M2 to M7, with real processes.

mod locks;
mod replicas;
mod rude;
mod store;
