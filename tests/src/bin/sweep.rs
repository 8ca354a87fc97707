//! Sweeps bytes: `sweep [--long] [--stride N]`. Large frames are cut at a stride unless `--long` is said.

use std::time::Instant;

use ganger_tests::sweep::{Counts, Phase, memory, processes};

const SMALL: usize = 64;
const LARGE: usize = 300_000;

/// Cuts a frame with so large a payload at every so many bytes, in one phase.
type Sweep = fn(Phase, usize, usize) -> Counts;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_long = words.iter().any(|word| word == "--long");
    let stride =
        words.iter().position(|word| word == "--stride").and_then(|at| words.get(at + 1)?.parse().ok());
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
