//! A file compressed through a worker, and expanded again to see that it was: its bytes flow from process to process,
//! and neither ever holds more than a little of them.
//!
//! `cargo run --release --example stream -- FILE` writes `FILE.gz`; without a file it makes one to compress.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use clap::Parser;
use flate2::Crc;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ganger::{Call, Job, Program, StreamWriter, Supervisor, stream};
use ganger_worker::{Context, Failure, Worker};
use serde::{Deserialize, Serialize};

/// What goes through a stream at once.
const BLOCK: usize = 128 * 1024;

/// Compress what comes through the first attached stream into the second.
#[derive(Serialize, Deserialize)]
struct Compress {
    level: u32,
}

/// The way back.
#[derive(Serialize, Deserialize)]
struct Expand;

impl Call for Compress {
    const NAME: &'static str = "compress";
    /// The most memory that the worker ever had, in MiB.
    type Reply = u64;
}

impl Call for Expand {
    const NAME: &'static str = "expand";
    type Reply = u64;
}

/// Compresses a file through a worker process, without holding it in memory.
#[derive(Parser)]
#[command(name = "stream", max_term_width = 100)]
struct Arguments {
    /// The file; without one, a sample is made and removed again
    file: Option<PathBuf>,
    /// How hard to try, from 0 to 9
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=9))]
    level: u32,
    /// How large a sample is, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    sample: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(mut worker) = Worker::inherited()? {
        worker.on_call(|Compress { level }, cx| compress(level, cx));
        worker.on_call(|Expand, cx| expand(cx));
        return Ok(worker.serve()?);
    }
    let Arguments { file, level, sample } = Arguments::parse();
    match file {
        Some(file) => round_trip(&file, level),
        None => {
            let file = std::env::temp_dir().join(format!("ganger-stream-{}", std::process::id()));
            make_sample(&file, sample)?;
            let result = round_trip(&file, level);
            fs::remove_file(gz(&file))?;
            fs::remove_file(file)?;
            result
        }
    }
}

fn round_trip(file: &Path, level: u32) -> Result<(), Box<dyn Error>> {
    let supervisor = Supervisor::builder(Program::this()).workers(1).start()?;
    let mut original = Summed::new(File::open(file)?);
    let mut packed = Summed::new(File::create(gz(file))?);
    let there_mib = through(&supervisor, Compress { level }, &mut original, &mut packed)?;
    println!("{}: {} bytes compressed to {}", file.display(), original.bytes, packed.bytes);

    let mut restored = Summed::new(io::sink());
    let back_mib = through(&supervisor, Expand, &mut File::open(gz(file))?, &mut restored)?;
    if restored.crc.sum() != original.crc.sum() || restored.bytes != original.bytes {
        return Err(format!("{} bytes came back, and not the same", restored.bytes).into());
    }
    println!("expanded again: the same bytes");
    println!(
        "the worker never had more than {} MiB of memory, this process never more than {} MiB",
        there_mib.max(back_mib),
        peak_mib(),
    );
    supervisor.soft_kill().wait();
    Ok(())
}

/// Gives a worker two streams: the source flows into one while the sink is filled from the other.
fn through<C: Call<Reply = u64> + 'static>(
    supervisor: &Supervisor,
    call: C,
    source: &mut (impl Read + Send),
    sink: &mut impl Write,
) -> Result<u64, Box<dyn Error>> {
    let (to_worker, to_read) = stream()?;
    let (to_write, mut from_worker) = stream()?;
    let handle = supervisor.enqueue(Job::new(call).attach(to_read).attach(to_write))?;
    thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(source, to_worker));
        // An end that came too soon is an error here: a worker's death never passes for the end of the file.
        let drained = copy(&mut from_worker, sink);
        // If nobody reads the source any more, the handle knows why.
        let reply = handle.wait()?.data;
        drained?;
        feeding.join().expect("feeding does not panic")?;
        Ok(reply)
    })
}

fn feed(source: &mut impl Read, mut to_worker: StreamWriter) -> io::Result<()> {
    match copy(source, &mut to_worker) {
        Ok(_) => to_worker.finish(),
        // The handler is told why there is no more.
        Err(error) => to_worker.give_up(&error).and(Err(error)),
    }
}

fn compress(level: u32, cx: &Context) -> Result<u64, Failure> {
    let missing = || Failure::new("two streams are wanted, one to read and one to write");
    let mut source = cx.attachments().take_reader().ok_or_else(missing)?;
    let sink = BufWriter::with_capacity(BLOCK, cx.attachments().take_writer().ok_or_else(missing)?);
    let mut encoder = GzEncoder::new(sink, flate2::Compression::new(level));
    copy(&mut source, &mut encoder)?;
    // Only now: had anything failed, the stream would have been dropped and not finished.
    encoder.finish()?.into_inner()?.finish()?;
    Ok(peak_mib())
}

fn expand(cx: &Context) -> Result<u64, Failure> {
    let missing = || Failure::new("two streams are wanted, one to read and one to write");
    let source = cx.attachments().take_reader().ok_or_else(missing)?;
    let mut sink = cx.attachments().take_writer().ok_or_else(missing)?;
    copy(&mut GzDecoder::new(io::BufReader::with_capacity(BLOCK, source)), &mut sink)?;
    sink.finish()?;
    Ok(peak_mib())
}

/// In blocks that a stream is at its best with.
fn copy(source: &mut impl Read, sink: &mut impl Write) -> io::Result<u64> {
    let (mut block, mut copied) = (vec![0; BLOCK], 0);
    loop {
        match source.read(&mut block) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                sink.write_all(&block[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Something read or written, with a checksum of what went by.
struct Summed<T> {
    inner: T,
    crc: Crc,
    bytes: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Summed<T> {
        Summed { inner, crc: Crc::new(), bytes: 0 }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.note(&bytes[..count]);
        Ok(count)
    }
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.note(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn gz(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// Lines of a made-up log, no two the same.
fn make_sample(file: &Path, mib: u64) -> io::Result<()> {
    let mut sample = BufWriter::new(File::create(file)?);
    let mut left = (mib << 20) as i64;
    let mut number: u64 = 0;
    while left > 0 {
        number += 1;
        let line =
            format!("{number:012} request {:016x} answered\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        sample.write_all(line.as_bytes())?;
        left -= line.len() as i64;
    }
    sample.flush()
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib.div_ceil(1024))
}
