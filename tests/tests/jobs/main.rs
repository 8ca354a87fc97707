//! What becomes of jobs: J1 to J12, J15 and J17, against real worker processes.

mod answers;
mod cancels;
mod clocks;
mod delays;
mod dispatch;
mod handles;
mod keys;
mod maps;
mod picks;
mod priorities;
mod progress;
mod queue;
mod retries;
mod settling;
