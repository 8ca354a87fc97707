//! A job for each item, with a bounded number in flight.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter::{Enumerate, Fuse};
use std::time::Duration;

use ganger_protocol::JobId;

use crate::response::{JobResult, Response};
use crate::{Completions, EnqueueError, Handle, Job, MapError, Supervisor, Work};

/// How many jobs a map keeps in flight unless told otherwise.
const IN_FLIGHT: usize = 256;

/// What a map gives for each item.
pub type MapResult<C> = Result<Response<<C as Work>::Reply>, MapError<C>>;

/// The results of a job for each item, in the order of the items; made by [`Supervisor::map`].
///
/// Items are taken from the input only as results are taken from the map: at most [`in_flight`](Map::in_flight)
/// jobs are on their way at a time, so that the input may be endless and the queue is never filled by it. When the
/// queue is full by others, the map waits for room. Dropping it forgets the results of the jobs on their way.
#[must_use = "a map does nothing until it is iterated"]
pub struct Map<C: Work, I: Iterator> {
    intake: Intake<C, I>,
    under_way: VecDeque<Result<Handle<C>, EnqueueError<C>>>,
}

/// The results of a job for each item, as they come, each with the place of its item; made by [`Map::unordered`].
#[must_use = "a map does nothing until it is iterated"]
pub struct MapUnordered<C: Work, I: Iterator> {
    intake: Intake<C, I>,
    places: HashMap<JobId, usize>,
    refused: VecDeque<(usize, EnqueueError<C>)>,
    done: Completions<C>,
}

/// The items that are still to be enqueued.
struct Intake<C: Work, I: Iterator> {
    supervisor: Supervisor,
    items: Fuse<Enumerate<I>>,
    /// An item that found the queue full.
    held_back: Option<(usize, Job<C>)>,
    in_flight: usize,
}

/// What became of the next item.
enum Entry<C: Work> {
    Accepted(usize, Handle<C>),
    Refused(usize, EnqueueError<C>),
    /// The queue is full: wait for a result first.
    NoRoom,
    /// There are no more items.
    End,
}

/// Whether to wait when the queue is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    HoldBack,
    Wait,
}

impl<C: Work, I: Iterator> Intake<C, I>
where
    I::Item: Into<Job<C>>,
{
    fn next(&mut self, when_full: WhenFull) -> Entry<C> {
        let next =
            self.held_back.take().or_else(|| self.items.next().map(|(place, item)| (place, item.into())));
        let Some((place, job)) = next else { return Entry::End };
        let accepted = match when_full {
            WhenFull::HoldBack => self.supervisor.enqueue(job),
            WhenFull::Wait => self.supervisor.enqueue_timeout(job, Duration::MAX),
        };
        match accepted {
            Ok(handle) => Entry::Accepted(place, handle),
            Err(EnqueueError::QueueFull { job, .. }) => {
                self.held_back = Some((place, *job));
                Entry::NoRoom
            }
            Err(refused) => Entry::Refused(place, refused),
        }
    }

    /// With none of our own jobs under way, only others' results can make room.
    fn when_full(is_idle: bool) -> WhenFull {
        if is_idle { WhenFull::Wait } else { WhenFull::HoldBack }
    }
}

impl<C: Work, I: Iterator> Map<C, I>
where
    I::Item: Into<Job<C>>,
{
    pub(crate) fn new(supervisor: Supervisor, items: I) -> Map<C, I> {
        let items = items.enumerate().fuse();
        let intake = Intake { supervisor, items, held_back: None, in_flight: IN_FLIGHT };
        Map { intake, under_way: VecDeque::new() }
    }

    /// How many jobs may be on their way at a time; 0 counts as 1. Default 256.
    pub fn in_flight(mut self, jobs: usize) -> Map<C, I> {
        self.intake.in_flight = jobs.max(1);
        self
    }

    /// Gives results as they come, each with the place of its item, from 0.
    pub fn unordered(self) -> MapUnordered<C, I> {
        MapUnordered {
            intake: self.intake,
            places: HashMap::new(),
            refused: VecDeque::new(),
            done: Completions::new(),
        }
    }

    fn fill(&mut self) {
        while self.under_way.len() < self.intake.in_flight {
            let when_full = Intake::<C, I>::when_full(self.under_way.is_empty());
            match self.intake.next(when_full) {
                Entry::Accepted(_, handle) => self.under_way.push_back(Ok(handle)),
                Entry::Refused(_, error) => self.under_way.push_back(Err(error)),
                Entry::NoRoom | Entry::End => return,
            }
        }
    }
}

impl<C: Work, I: Iterator> Iterator for Map<C, I>
where
    I::Item: Into<Job<C>>,
{
    type Item = MapResult<C>;

    fn next(&mut self) -> Option<MapResult<C>> {
        self.fill();
        Some(match self.under_way.pop_front()? {
            Ok(handle) => handle.wait().map_err(MapError::Job),
            Err(error) => Err(MapError::Refused(error)),
        })
    }
}

impl<C: Work, I: Iterator> MapUnordered<C, I>
where
    I::Item: Into<Job<C>>,
{
    /// As [`Map::in_flight`].
    pub fn in_flight(mut self, jobs: usize) -> MapUnordered<C, I> {
        self.intake.in_flight = jobs.max(1);
        self
    }

    fn fill(&mut self) {
        while self.refused.is_empty() && self.places.len() < self.intake.in_flight {
            let when_full = Intake::<C, I>::when_full(self.places.is_empty());
            match self.intake.next(when_full) {
                Entry::Accepted(place, handle) => {
                    self.places.insert(handle.id(), place);
                    handle.forward(&self.done);
                }
                Entry::Refused(place, error) => self.refused.push_back((place, error)),
                Entry::NoRoom | Entry::End => return,
            }
        }
    }

    fn placed(&mut self, id: JobId, result: JobResult<C>) -> (usize, MapResult<C>) {
        let place = self.places.remove(&id).expect("only jobs of this map are forwarded to it");
        (place, result.map_err(MapError::Job))
    }
}

impl<C: Work, I: Iterator> Iterator for MapUnordered<C, I>
where
    I::Item: Into<Job<C>>,
{
    type Item = (usize, MapResult<C>);

    fn next(&mut self) -> Option<(usize, MapResult<C>)> {
        self.fill();
        if let Some((place, error)) = self.refused.pop_front() {
            return Some((place, Err(MapError::Refused(error))));
        }
        let (id, result) = self.done.recv()?;
        Some(self.placed(id, result))
    }
}

impl<C: Work, I: Iterator> fmt::Debug for Map<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

impl<C: Work, I: Iterator> fmt::Debug for MapUnordered<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered").field("under_way", &self.places.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
