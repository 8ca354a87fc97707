//! The table of calls, and the way from bytes to a typed handler.

use std::collections::HashMap;

use ganger_protocol::{Call, Failure, FailureKind};

use crate::request::{Context, RawRequest, Request};

type Handler = Box<dyn Fn(RawRequest) + Send + Sync>;

/// The handlers of a worker, by the names of their calls.
#[derive(Default)]
pub(crate) struct Handlers {
    by_name: HashMap<String, Handler>,
    for_the_rest: Option<Handler>,
}

impl Handlers {
    pub(crate) fn add(&mut self, name: &str, handler: Handler) {
        let before = self.by_name.insert(name.to_owned(), handler);
        assert!(before.is_none(), "the call {name:?} has a handler already");
    }

    pub(crate) fn add_for_the_rest(&mut self, handler: Handler) {
        assert!(self.for_the_rest.is_none(), "there is a handler for all other calls already");
        self.for_the_rest = Some(handler);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.for_the_rest.is_some() || self.by_name.contains_key(name)
    }

    pub(crate) fn handle(&self, request: RawRequest) {
        match self.by_name.get(request.call()).or(self.for_the_rest.as_ref()) {
            Some(handler) => handler(request),
            None => {
                let message = format!(
                    "this worker has no handler for the call {:?}; is it registered, with on_call, before serve?",
                    request.call()
                );
                request.fail(Failure::of_kind(FailureKind::UnknownCall, message));
            }
        }
    }
}

/// A handler that takes the whole request.
pub(crate) fn whole<C: Call>(handler: impl Fn(Request<C>) + Send + Sync + 'static) -> Handler {
    Box::new(move |request| {
        if let Some(request) = request.decode::<C>() {
            handler(request);
        }
    })
}

/// A handler that returns its answer.
pub(crate) fn returning<C, F>(handler: F) -> Handler
where
    C: Call,
    F: Fn(C, &Context) -> Result<C::Reply, Failure> + Send + Sync + 'static,
{
    whole(move |request: Request<C>| {
        let (data, responder) = request.into_parts();
        match handler(data, &responder) {
            Ok(reply) => responder.respond(&reply),
            Err(failure) => responder.fail(failure),
        }
    })
}
