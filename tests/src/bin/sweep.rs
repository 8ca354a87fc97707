//! Sweeps bytes; `--help` says how.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use ganger_tests::arg::count;
use ganger_tests::sweep::{Counts, Phase, memory, processes};

const SMALL: usize = 64;
const LARGE: usize = 300_000;

/// Has the C library keep what is freed. Where it gives large buffers back at once, most of the time goes into
/// getting them again, page by page.
const KEPT: &str = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824";
const TUNABLES: &str = "GLIBC_TUNABLES";

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
    keep_memory();
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

/// The C library reads its settings when a program begins: this one begins anew, unless somebody else has set them.
fn keep_memory() {
    if env::var_os(TUNABLES).is_some() {
        return;
    }
    if let Ok(this) = env::current_exe() {
        // Without it the sweep is slow, and no less true.
        let _ = Command::new(this).args(env::args_os().skip(1)).env(TUNABLES, KEPT).exec();
    }
}
