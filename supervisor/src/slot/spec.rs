//! What a job asks for beyond its payload.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use crate::scheduler::{JobOptions, OnTimeout, RetryOn};

/// The most bytes before a string in a frame's head: its length, which is under 2²¹.
const LENGTH_LEN: usize = 3;

static PLAIN_OPTIONS: JobOptions = JobOptions {
    retries: 0,
    queue_timeout: None,
    run_timeout: None,
    timeout: None,
    on_timeout: OnTimeout::Kill,
    retry_on: RetryOn { worker_lost: true, failure: false, run_timeout: false },
    retry_backoff: None,
    retry_backoff_max: Duration::from_secs(30),
    affinity: None,
    order: None,
    has_attachments: false,
};

/// What a job says about itself beyond its payload; jobs made alike share one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) name: Cow<'static, str>,
    pub(crate) options: JobOptions,
    pub(crate) headers: Vec<(String, String)>,
    /// The payload of one job, if it is too large to be kept beside the rest. Terms with one are not shared.
    pub(crate) payload: Option<Vec<u8>>,
    /// The attachments of one job. Terms with some are not shared either.
    pub(crate) attachments: Option<Held>,
}

/// A job's name and terms: the plain case costs no memory of its own.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    /// Everything by default.
    Plain(&'static str),
    /// Anything else.
    Rich(Arc<Terms>),
}

impl Spec {
    /// The same for one job with a large payload.
    pub(super) fn with_payload(self, payload: Vec<u8>) -> Spec {
        let terms = match self {
            Spec::Plain(name) => Terms { name: Cow::Borrowed(name), ..Terms::default() },
            Spec::Rich(terms) => Arc::unwrap_or_clone(terms),
        };
        Spec::Rich(Arc::new(Terms { payload: Some(payload), ..terms }))
    }

    pub(super) fn payload(&self) -> Option<&[u8]> {
        match self {
            Spec::Plain(_) => None,
            Spec::Rich(terms) => terms.payload.as_deref(),
        }
    }

    pub(super) fn attachments(&self) -> Option<&Held> {
        match self {
            Spec::Plain(_) => None,
            Spec::Rich(terms) => terms.attachments.as_ref(),
        }
    }

    /// The most bytes that name and headers take in a frame.
    pub(crate) fn head_len(&self) -> usize {
        let headers = self.headers().iter().flat_map(|(key, value)| [key.as_str(), value]);
        headers.chain([self.name()]).map(|text| text.len() + LENGTH_LEN).sum()
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Spec::Plain(name) => name,
            Spec::Rich(terms) => &terms.name,
        }
    }

    /// The call's name, to be kept.
    pub(crate) fn owned_name(&self) -> Cow<'static, str> {
        match self {
            Spec::Plain(name) => Cow::Borrowed(name),
            Spec::Rich(terms) => terms.name.clone(),
        }
    }

    pub(super) fn options(&self) -> &JobOptions {
        match self {
            Spec::Plain(_) => &PLAIN_OPTIONS,
            Spec::Rich(terms) => &terms.options,
        }
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        match self {
            Spec::Plain(_) => &[],
            Spec::Rich(terms) => &terms.headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_options_are_the_defaults() {
        assert_eq!(PLAIN_OPTIONS, JobOptions::default());
    }
}
