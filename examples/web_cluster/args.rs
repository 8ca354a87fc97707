//! The command line.

use std::net::SocketAddr;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Serves HTTP from worker processes that are replaced all the time, and puts a load on them.
///
/// Half of the clients make a new connection for each request, the other half keep theirs. It fails if a single request
/// does.
#[derive(Debug, Parser)]
#[command(name = "web_cluster", max_term_width = 100)]
pub(crate) struct Args {
    /// How many worker processes
    #[arg(long, short, value_name = "N", default_value_t = 4,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub(crate) workers: usize,
    /// How many are replaced at a time
    #[arg(long, short, value_name = "N", default_value_t = 2,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub(crate) batch: usize,
    /// How long
    #[arg(long, short, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// How often a rolling restart begins
    #[arg(long, short, value_name = "MILLISECONDS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub(crate) every: u64,
    /// How many clients
    #[arg(long, short, value_name = "N", default_value_t = 16,
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=256))]
    pub(crate) clients: usize,
    /// Where to listen [default: a free port of loopback]
    #[arg(long, short, value_name = "ADDRESS", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub(crate) listen: SocketAddr,
}
