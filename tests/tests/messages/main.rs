//! What processes say to each other, and what they share: M2 to M7, with real processes.

mod calls;
mod calls_to_all;
mod locks;
mod mad_callees;
mod replicas;
mod rude;
mod store;
