//! A job's first steps: encoded, weighed, admitted, handed to the loop — or given back.

use std::sync::Arc;

use ganger_protocol::{JobId, MAX_ATTACHMENTS, Time};

use super::Supervisor;
use crate::builder::index_of;
use crate::command::Command;
use crate::error::HEAD_LIMIT;
use crate::scheduler::GroupIndex;
use crate::shared::Refused;
use crate::slot::{JobSlot, Spec};
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
        admit: impl FnOnce(GroupIndex, usize) -> Result<(), Refused>,
    ) -> Result<Handle<C>, EnqueueError<C>> {
        let Some(group) = index_of(&self.inner.names, job.group_name()) else {
            return Err(self.unknown_group(job));
        };
        if let Some(count) = job.excess_baggage() {
            let (job, limit) = (Box::new(job), MAX_ATTACHMENTS);
            return Err(EnqueueError::TooManyAttachments { job, count, limit });
        }
        let payload = match job.call_mut().take_payload() {
            Ok(payload) => payload,
            Err(source) => return Err(EnqueueError::Encode { job: Box::new(job), source }),
        };
        let (spec, enqueued) = (job.spec(), Time::now());
        let admission = self.check_size(&spec, payload.len());
        match admission.and_then(|()| admit(group, payload.len()).map_err(Refusal::Admission)) {
            Ok(()) => Ok(self.accept(JobSlot::new(JobId::random(), spec, group, payload, enqueued))),
            Err(refusal) => Err(refused(job, payload, refusal, &self.inner.names[usize::from(group.0)])),
        }
    }

    fn accept<C>(&self, slot: JobSlot) -> Handle<C> {
        self.shared().send(Command::Enqueue(slot.clone()));
        Handle::new(slot, Arc::clone(self.shared()))
    }

    fn check_size(&self, spec: &Spec, size: usize) -> Result<(), Refusal> {
        let limit = self.shared().admission.payload_limit();
        if size > limit {
            return Err(Refusal::Admission(Refused::TooLarge { size, limit }));
        }
        let size = spec.head_len();
        if size > HEAD_LIMIT { Err(Refusal::HeadersTooLarge { size }) } else { Ok(()) }
    }

    fn unknown_group<C>(&self, job: Job<C>) -> EnqueueError<C> {
        let group = job.group_name().unwrap_or_default().into();
        EnqueueError::UnknownGroup { job: Box::new(job), group, known: self.known_groups() }
    }
}

fn refused<C: Work>(
    mut job: Job<C>,
    payload: Vec<u8>,
    refusal: Refusal,
    group: &Arc<str>,
) -> EnqueueError<C> {
    job.call_mut().put_back(payload);
    let job = Box::new(job);
    match refusal {
        Refusal::HeadersTooLarge { size } => EnqueueError::HeadersTooLarge { job, size, limit: HEAD_LIMIT },
        Refusal::Admission(Refused::QueueFull { jobs, bytes, limits }) => {
            EnqueueError::QueueFull { job, jobs, job_limit: limits.jobs, bytes, byte_limit: limits.bytes }
        }
        Refusal::Admission(Refused::TooLarge { size, limit }) => EnqueueError::TooLarge { job, size, limit },
        Refusal::Admission(Refused::ShuttingDown) => EnqueueError::ShuttingDown { job },
        Refusal::Admission(Refused::NoWorkers(reason)) => {
            EnqueueError::NoWorkers { job, group: Arc::clone(group), reason }
        }
    }
}
