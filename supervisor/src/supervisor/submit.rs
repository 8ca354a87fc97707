//! A job's first steps: encoded, weighed, admitted, handed to the loop — or given back.

use std::sync::Arc;

use ganger_protocol::{JobId, Time};

use super::Supervisor;
use crate::builder::index_of;
use crate::command::Command;
use crate::error::HEAD_LIMIT;
use crate::shared::Refused;
use crate::slot::JobSlot;
use crate::{EnqueueError, Handle, Job, Work};

/// Why a job is not accepted, before it is given back.
enum Refusal {
    Admission(Refused),
    HeadersTooLarge { size: usize },
}

impl Supervisor {
    pub(super) fn submit<C: Work>(
        &self,
        mut job: Job<C>,
        admit: impl FnOnce(&JobSlot) -> Result<(), Refused>,
    ) -> Result<Handle<C>, EnqueueError<C>> {
        let Some(group) = index_of(&self.inner.names, job.group_name()) else {
            return Err(self.unknown_group(job));
        };
        let payload = match job.call_mut().take_payload() {
            Ok(payload) => payload,
            Err(source) => return Err(EnqueueError::Encode { job: Box::new(job), source }),
        };
        let slot = JobSlot::new(JobId::random(), job.spec(), group, payload, Time::now());
        match self.check_size(&slot).and_then(|()| admit(&slot).map_err(Refusal::Admission)) {
            Ok(()) => Ok(self.accept(slot)),
            Err(refusal) => Err(refused(job, slot, refusal)),
        }
    }

    fn accept<C>(&self, slot: JobSlot) -> Handle<C> {
        let slot = Arc::new(slot);
        self.shared().send(Command::Enqueue(Arc::clone(&slot)));
        Handle::new(slot, Arc::clone(self.shared()))
    }

    fn check_size(&self, slot: &JobSlot) -> Result<(), Refusal> {
        let limit = self.shared().admission.payload_limit();
        let size = slot.payload().len();
        if size > limit {
            return Err(Refusal::Admission(Refused::TooLarge { size, limit }));
        }
        let size = slot.head_len();
        if size > HEAD_LIMIT { Err(Refusal::HeadersTooLarge { size }) } else { Ok(()) }
    }

    fn unknown_group<C>(&self, job: Job<C>) -> EnqueueError<C> {
        let group = job.group_name().unwrap_or_default().into();
        EnqueueError::UnknownGroup { job: Box::new(job), group, known: self.known_groups() }
    }
}

fn refused<C: Work>(mut job: Job<C>, slot: JobSlot, refusal: Refusal) -> EnqueueError<C> {
    job.call_mut().put_back(slot.into_payload());
    let job = Box::new(job);
    match refusal {
        Refusal::HeadersTooLarge { size } => EnqueueError::HeadersTooLarge { job, size, limit: HEAD_LIMIT },
        Refusal::Admission(Refused::QueueFull { jobs, bytes, limits }) => {
            EnqueueError::QueueFull { job, jobs, job_limit: limits.jobs, bytes, byte_limit: limits.bytes }
        }
        Refusal::Admission(Refused::TooLarge { size, limit }) => EnqueueError::TooLarge { job, size, limit },
        Refusal::Admission(Refused::ShuttingDown) => EnqueueError::ShuttingDown { job },
        Refusal::Admission(Refused::NoWorkers(reason)) => EnqueueError::NoWorkers { job, reason },
    }
}
