//! What the test worker `lib_worker` can be asked to do with attachments and streams.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ganger_protocol::Call;
use ganger_worker::{Context, Failure, Request, StreamReader, StreamWriter, Worker, stream};
use serde::{Deserialize, Serialize};

use crate::harness::{Arrival, arrive};

/// Bytes read or written at once.
pub const BLOCK: usize = 64 * 1024;

/// Writes a text to each attachment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sign(pub String);

/// Gives its attachments back with its answer, the last one first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Return;

/// Answers with so many ends of pipes, each with its number in it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Gift(pub u32);

/// Takes its attachments, comes to a gate, and ends as told when it is let in, if told at this attempt; says how many
/// there were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Carry {
    /// The gate.
    pub gate: PathBuf,
    /// At the first so many attempts it ends its process.
    pub deaths: u16,
}

/// Says how many descriptors the process has open.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CountOpen;

/// Allows its process only so many descriptors more than it has, from now on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Crowd(pub u64);

/// Reads the attached stream to its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Drink;

/// Reads so many bytes of the attached stream and lets it go; answers when it is let in at the gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sip {
    /// How many bytes.
    pub bytes: usize,
    /// The gate.
    pub gate: PathBuf,
}

/// Writes a pattern of so many bytes into a stream that comes with the answer, or into the attached one, and ends as
/// told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pour {
    /// How many bytes.
    pub bytes: usize,
    /// How it ends.
    pub end: PourEnd,
}

/// How a stream ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PourEnd {
    /// Well.
    Finished,
    /// Dropped.
    Dropped,
    /// Given up, for this reason.
    GaveUp(String),
    /// With its process.
    Death,
}

/// Copies the first attached stream into the second, byte for byte.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pipe;

/// What was read of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drunk {
    /// How many bytes.
    pub bytes: usize,
    /// Their checksum.
    pub sum: u64,
    /// What the reader said in the end, if it was not the end.
    pub error: Option<String>,
    /// The most resident memory of the process so far, in KiB.
    pub peak_kib: u64,
}

macro_rules! calls {
    ($($type:ident $name:literal -> $reply:ty;)*) => {
        $(impl Call for $type { const NAME: &'static str = $name; type Reply = $reply; })*
    };
}

calls! {
    Sign "sign" -> usize;
    Return "return" -> usize;
    Gift "gift" -> ();
    Carry "carry" -> (u16, usize);
    CountOpen "count-open" -> usize;
    Crowd "crowd" -> u64;
    Drink "drink" -> Drunk;
    Sip "sip" -> ();
    Pour "pour" -> ();
    Pipe "pipe" -> usize;
}

/// Registers the handlers.
pub fn register(worker: &mut Worker) {
    worker.on_call(|Sign(text), context| {
        let mut count = 0;
        while let Some(fd) = context.attachments().take() {
            File::from(fd).write_all(text.as_bytes())?;
            count += 1;
        }
        Ok(count)
    });
    worker.on_request(|request: Request<Return>| {
        let mut all: Vec<OwnedFd> = request.attachments().clone().into_iter().collect();
        all.reverse();
        request.respond_with(&all.len(), all);
    });
    worker.on_request(|request: Request<Gift>| match gifts(request.data().0) {
        Ok(gifts) => request.respond_with(&(), gifts),
        Err(error) => request.fail(error),
    });
    worker.on_call(|carry: Carry, context| {
        let taken: Vec<OwnedFd> = context.attachments().clone().into_iter().collect();
        wait_at(&carry.gate, context)?;
        if context.attempt() <= carry.deaths {
            std::process::abort();
        }
        Ok((context.attempt(), taken.len()))
    });
    worker.on_call(|_: CountOpen, _| Ok(open_descriptors()));
    worker.on_call(|Crowd(more), _| Ok(crowd(more)?));
    streams(worker);
}

fn streams(worker: &mut Worker) {
    worker.on_call(|_: Drink, context| Ok(drink(&mut reader(context)?)));
    worker.on_call(|sip: Sip, context| {
        let mut reader = reader(context)?;
        reader.read_exact(&mut vec![0; sip.bytes])?;
        drop(reader);
        Ok(wait_at(&sip.gate, context)?)
    });
    worker.on_request(|request: Request<Pour>| {
        if let Some(writer) = request.attachments().take_writer() {
            return match pour(writer, request.data()) {
                Ok(()) => request.respond(&()),
                Err(error) => request.fail(error),
            };
        }
        let (data, responder) = request.into_parts();
        match stream() {
            Ok((writer, reader)) => {
                responder.respond_with(&(), [reader]);
                // Whether anybody reads it is the other end's business.
                let _ = pour(writer, &data);
            }
            Err(error) => responder.fail(error),
        }
    });
    worker.on_call(|_: Pipe, context| {
        let mut reader = reader(context)?;
        let mut writer = context.attachments().take_writer().ok_or(Failure::new("only one stream"))?;
        match copy(&mut reader, &mut writer) {
            Ok(count) => {
                writer.finish()?;
                Ok(count)
            }
            Err(error) => {
                writer.give_up(&error)?;
                Err(error.into())
            }
        }
    });
}

fn reader(context: &Context) -> Result<StreamReader, Failure> {
    context.attachments().take_reader().ok_or(Failure::new("no stream"))
}

fn copy(reader: &mut StreamReader, writer: &mut StreamWriter) -> io::Result<usize> {
    let (mut block, mut copied) = (vec![0; BLOCK], 0);
    loop {
        let count = reader.read(&mut block)?;
        if count == 0 {
            return Ok(copied);
        }
        writer.write_all(&block[..count])?;
        copied += count;
    }
}

/// Reads a stream to its end, whatever that is.
pub fn drink(reader: &mut StreamReader) -> Drunk {
    let (mut block, mut bytes, mut sum) = (vec![0; BLOCK], 0, Sum::default());
    let error = loop {
        match reader.read(&mut block) {
            Ok(0) => break None,
            Ok(count) => {
                bytes += count;
                sum.write(&block[..count]);
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    Drunk { bytes, sum: sum.finish(), error, peak_kib: peak_kib() }
}

/// Writes a pattern and ends the stream.
///
/// # Errors
/// When nobody reads it.
pub fn pour(mut writer: StreamWriter, pour: &Pour) -> io::Result<()> {
    write_pattern(&mut writer, pour.bytes)?;
    match &pour.end {
        PourEnd::Finished => writer.finish(),
        PourEnd::Dropped => Ok(()),
        PourEnd::GaveUp(reason) => writer.give_up(reason),
        PourEnd::Death => std::process::abort(),
    }
}

/// Writes so many bytes of the pattern.
///
/// # Errors
/// Those of the writer.
pub fn write_pattern(writer: &mut impl Write, bytes: usize) -> io::Result<()> {
    let mut left = bytes;
    let mut number = 0;
    while left > 0 {
        let count = left.min(BLOCK);
        writer.write_all(&block(number)[..count])?;
        (left, number) = (left - count, number + 1);
    }
    Ok(())
}

/// The checksum of so many bytes of the pattern.
#[must_use]
pub fn sum_of_pattern(bytes: usize) -> u64 {
    struct Summing(Sum);
    impl Write for Summing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sum = Summing(Sum::default());
    write_pattern(&mut sum, bytes).expect("it takes everything");
    sum.0.finish()
}

/// No two blocks alike.
fn block(number: usize) -> Vec<u8> {
    let mut block: Vec<u8> = (0..BLOCK).map(|at| (at % 251) as u8).collect();
    block[..8].copy_from_slice(&(number as u64).to_le_bytes());
    block
}

/// A checksum that does not depend on how the bytes are cut: FNV-1a, by Fowler, Noll and Vo, over words.
#[derive(Clone, Debug)]
pub struct Sum {
    sum: u64,
    word: u64,
    bytes: u32,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum { sum: 0xcbf2_9ce4_8422_2325, word: 0, bytes: 0 }
    }
}

impl Hasher for Sum {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.word = self.word << 8 | u64::from(*byte);
            self.bytes += 1;
            if self.bytes == 8 {
                self.sum = (self.sum ^ self.word).wrapping_mul(0x0100_0000_01b3);
                (self.word, self.bytes) = (0, 0);
            }
        }
    }

    fn finish(&self) -> u64 {
        (self.sum ^ self.word).wrapping_mul(0x0100_0000_01b3)
    }
}

fn gifts(count: u32) -> io::Result<Vec<io::PipeReader>> {
    (0..count)
        .map(|number| {
            let (reader, mut writer) = io::pipe()?;
            writer.write_all(&number.to_le_bytes())?;
            Ok(reader)
        })
        .collect()
}

/// How many descriptors this process has open.
///
/// # Panics
/// When there is no list of them.
#[must_use]
pub fn open_descriptors() -> usize {
    // The list itself is one of them.
    std::fs::read_dir("/proc/self/fd").expect("the list").count() - 1
}

/// Allows this process only so many descriptors more than it has; gives the limit as it was.
///
/// # Errors
/// When the system refuses.
pub fn crowd(more: u64) -> io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::os::fd::AsRawFd;
    let files = (0..=more).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<File>>>()?;
    let last = files.iter().map(|file| file.as_raw_fd() as u64).max();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: last, maximum: before.maximum })?;
    Ok(before.current.unwrap_or(u64::MAX))
}

/// The most memory that this process had at once, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn wait_at(gate: &std::path::Path, context: &Context) -> io::Result<()> {
    let worker = context.worker().name().to_owned();
    let arrival =
        Arrival { pid: std::process::id(), worker, job: Some(context.id()), attempt: context.attempt() };
    arrive(gate, &arrival)?.read_exact(&mut [0])
}
