//! Sweeps bytes; `--help` says how.

use std::time::Instant;

use clap::Parser;
use ganger_tests::arg::count;
use ganger_tests::sweep::{Counts, Phase, memory, processes};

const SMALL: usize = 64;
const LARGE: usize = 300_000;

/// Cuts a frame with so large a payload at every so many bytes, in one phase.
type Sweep = fn(Phase, usize, usize) -> Counts;

/// Cuts a worker after every byte of a request's frame and of a reply's: exit status 101 when a job ends as it must
/// not.
#[derive(Parser)]
#[command(name = "sweep", max_term_width = 100)]
struct Arguments {
    /// Cut large frames at every byte in memory, and at more of them in processes
    #[arg(long)]
    long: bool,
    /// Cut large frames at every so many bytes in memory; 997 if not said, 1 if long
    #[arg(long, value_name = "N", value_parser = count)]
    stride: Option<usize>,
}

fn main() {
    let Arguments { long: is_long, stride } = Arguments::parse();
    let in_memory = stride.unwrap_or(if is_long { 1 } else { 997 });
    let sweeps: [(&str, usize, usize, Sweep); 4] = [
        ("in memory", SMALL, 1, memory::sweep),
        ("processes", SMALL, 1, processes::sweep),
        ("processes", LARGE, if is_long { 1_009 } else { 10_007 }, processes::sweep),
        ("in memory", LARGE, in_memory, memory::sweep),
    ];
    for (how, size, stride, sweep) in sweeps {
        for phase in Phase::ALL {
            let begin = Instant::now();
            let counts = sweep(phase, size, stride);
            let seconds = begin.elapsed().as_secs_f64();
            println!("{how}, {size} B, every {stride}: {phase:?}: {counts} ({seconds:.1} s)");
        }
    }
}
