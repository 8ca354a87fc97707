//! What becomes of jobs: J1 to J11 and J15, against real worker processes.

mod answers;
mod cancels;
mod clocks;
mod dispatch;
mod handles;
mod maps;
mod picks;
mod queue;
mod retries;
mod settling;
