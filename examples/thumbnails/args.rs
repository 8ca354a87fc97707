//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Makes thumbnails of all pictures of a folder, in worker processes.
///
/// Without a folder it paints sample pictures first, some of them spoiled on purpose: corrupt ones, one that is not
/// a picture, and some on which the worker process aborts. Watch what that does to the others: nothing.
#[derive(Debug, Parser)]
#[command(name = "thumbnails", max_term_width = 100)]
pub(crate) struct Args {
    /// The folder whose pictures are to be shrunk; those in folders below it are not
    pub(crate) folder: Option<PathBuf>,
    /// How many worker processes [default: one for each processor]
    #[arg(long, short, value_name = "N", default_value_t = processors(), hide_default_value = true,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub(crate) workers: usize,
    /// Where the thumbnails go [default: FOLDER/thumbnails]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The longer edge of a thumbnail, in pixels
    #[arg(long, short, value_name = "PIXELS", default_value_t = 160, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) size: u32,
    /// How many good sample pictures are painted
    #[arg(long, value_name = "N", default_value_t = 300, conflicts_with = "folder",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) samples: u32,
    /// Keep the sample pictures and their thumbnails
    #[arg(long, conflicts_with = "folder")]
    pub(crate) keep: bool,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
