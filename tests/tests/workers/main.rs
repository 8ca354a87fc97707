//! What workers are and do: W1 to W4, W6 to W10, W12 and W13, and S7, with real processes. W5, W11 and W14 are among the
//! faults.

mod groups;
mod knobs;
mod leaving;
mod library;
mod listeners;
mod output;
mod recycles;
mod resizing;
mod revival;
mod rollouts;
mod status;
