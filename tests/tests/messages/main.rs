//! What processes say to each other, and what they share: M2 to M9, with real processes.

mod calls;
mod calls_to_all;
mod checks;
mod locks;
mod mad_callees;
mod metrics;
mod replicas;
mod rude;
mod store;
