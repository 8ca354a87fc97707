//! The two pieces of work: paint the samples, shrink the pictures.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ganger::{Completions, CrashReport, EnqueueError, Job, JobId, JobResult, MapError, Supervisor};

use crate::album::{Album, samples};
use crate::calls::{Paint, Shrink};
use crate::progress::Progress;
use crate::tally::{Failed, Tally};
use crate::watch::Watch;

/// How many pictures are with the supervisor at a time: a folder may be large, and Ctrl-C should not take long.
const IN_FLIGHT: usize = 64;
/// How often events are looked at when no picture is done.
const TICK: Duration = Duration::from_millis(100);

/// Whether a piece of work came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Painted {
    All,
    Interrupted,
}

/// Paints the samples: a job for each, answered in any order.
pub(crate) fn paint(
    supervisor: &Supervisor,
    watch: &mut Watch,
    folder: &Path,
    good: u32,
) -> Result<Painted, Box<dyn Error>> {
    // To paint a picture again does no harm.
    let samples: Vec<Job<Paint>> =
        samples(folder, good).into_iter().map(|paint| Job::new(paint).retries(2)).collect();
    let progress = Progress::new("painting samples", samples.len());
    for (_, result) in supervisor.map(samples).unordered().in_flight(IN_FLIGHT) {
        for report in watch.new_deaths() {
            progress.tell(&death(&report, "painting"));
        }
        match result {
            Ok(_) => progress.step(),
            Err(MapError::Refused(EnqueueError::ShuttingDown { .. })) => return Ok(Painted::Interrupted),
            Err(error) => return Err(error.to_string().into()),
        }
    }
    progress.finish();
    Ok(Painted::All)
}

/// Makes a thumbnail of each picture of the album. What fails is in the tally: no failure ends the work.
pub(crate) fn shrink(supervisor: &Supervisor, watch: &mut Watch, album: &Album, size: u32) -> Tally {
    let mut work = Work::new(supervisor, album, size);
    loop {
        work.enqueue_some();
        let arrived = work.done.recv_timeout(TICK);
        for report in watch.new_deaths() {
            work.tell_death(&report);
        }
        work.progress.show(&work.tally, watch.deaths);
        match arrived {
            Some((job, result)) => work.take(job, result),
            None if work.under_way.is_empty() => break,
            None => {}
        }
    }
    work.progress.finish();
    work.tally
}

struct Work<'a> {
    supervisor: &'a Supervisor,
    album: &'a Album,
    size: u32,
    /// The place of the picture that is enqueued next.
    next: usize,
    under_way: HashMap<JobId, usize>,
    done: Completions<Shrink>,
    tally: Tally,
    progress: Progress,
}

impl<'a> Work<'a> {
    fn new(supervisor: &'a Supervisor, album: &'a Album, size: u32) -> Work<'a> {
        Work {
            supervisor,
            album,
            size,
            next: 0,
            under_way: HashMap::new(),
            done: Completions::new(),
            tally: Tally::default(),
            progress: Progress::new("making thumbnails", album.pictures.len()),
        }
    }

    fn enqueue_some(&mut self) {
        while self.next < self.album.pictures.len() && self.under_way.len() < IN_FLIGHT {
            let place = self.next;
            self.next += 1;
            match self.supervisor.enqueue_to(self.job(place), &self.done) {
                Ok(job) => drop(self.under_way.insert(job, place)),
                Err(EnqueueError::ShuttingDown { .. }) => {
                    self.tally.not_begun = self.album.pictures.len() - place;
                    self.next = self.album.pictures.len();
                }
                Err(refused) => {
                    self.tally.failed.insert(place, Failed::Refused(refused.to_string()));
                }
            }
        }
    }

    fn take(&mut self, job: JobId, result: JobResult<Shrink>) {
        let place = self.under_way.remove(&job).expect("it was put there when it was enqueued");
        self.tally.take(place, result);
        self.progress.step();
    }

    /// A worker that dies is no reason to give a picture up, unless it keeps happening; nor may one take for ever.
    fn job(&self, place: usize) -> Job<Shrink> {
        Job::new(self.album.shrink(place, self.size)).retries(2).run_timeout(Duration::from_secs(60))
    }

    fn tell_death(&self, report: &CrashReport) {
        let places = report.running.iter().filter_map(|job| self.under_way.get(job));
        let pictures: Vec<String> = places.map(|place| self.album.name(*place)).collect();
        self.progress.tell(&death(report, &format!("over {}", pictures.join(", "))));
    }
}

/// One line for a worker's death, and what it was doing.
fn death(report: &CrashReport, doing: &str) -> String {
    let doing = if report.running.is_empty() { "idle" } else { doing };
    let cause = report.killed.as_ref().map_or_else(String::new, |cause| format!(", because {cause}"));
    format!("worker {} died {doing}: {}{cause}", report.worker, report.exit.status)
}
