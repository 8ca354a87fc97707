//! The worker: an HTTP server on a listener that it shares with its siblings and its successors.

use std::convert::Infallible;
use std::error::Error;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ganger_worker::{Control, Done, Replica, Worker};
use http_body_util::Full;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::LISTENER;

/// How long a connection may be silent before a worker that leaves closes it, without having said so before: a request
/// that is on its way then is lost.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long requests that have begun may take after that.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The header that says which process answered.
pub(crate) const PID: &str = "x-pid";

/// What every page begins with.
pub(crate) const GREETING: &str = "Hello from ";

/// Where the pages are in the store.
const PAGES: &str = "page";

/// The place of a page in the store.
pub(crate) fn key_of(path: &str) -> String {
    format!("{PAGES}{path}")
}

/// What answers need.
#[derive(Clone)]
struct Site {
    control: Control,
    /// The pages, as the store has them: a copy in this process, which follows.
    pages: Replica,
}

pub(crate) fn serve(mut worker: Worker) -> Result<(), Box<dyn Error>> {
    let listener: TcpListener = worker.listener(LISTENER)?;
    // The sockets of all workers are one: it is so for all of them.
    listener.set_nonblocking(true)?;
    let (leave, asked_to_leave) = oneshot::channel();
    worker.on_soft_kill(move |done| {
        // The server has ended if it does not listen.
        let _ = leave.send(done);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    // It is whole from its first moment on: nobody is answered from an empty cache.
    let pages = worker.control().store().replica(PAGES)?;
    let site = Site { control: worker.control(), pages };
    thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(accept_until(asked_to_leave, listener, site));
    })?;
    Ok(worker.serve()?)
}

/// Accepts until it is to leave, then sees its connections off.
async fn accept_until(
    mut asked_to_leave: oneshot::Receiver<Done>,
    listener: tokio::net::TcpListener,
    site: Site,
) {
    let mut connections = JoinSet::new();
    let (close, closing) = watch::channel(());
    let done = loop {
        tokio::select! {
            biased;
            done = &mut asked_to_leave => break done,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(answer_all(stream, site.clone(), closing.clone()));
                }
                // Too many descriptors, say. Another worker may have room, or this one soon.
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    // Whoever connects from now on is another worker's.
    drop(listener);
    let _ = timeout(FAREWELL, all(&mut connections)).await;
    drop((close, closing));
    let _ = timeout(LAST_WORDS, all(&mut connections)).await;
    drop(done);
}

async fn all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// Answers what comes through one connection.
async fn answer_all(stream: TcpStream, site: Site, mut closing: watch::Receiver<()>) {
    // It is only a little slower without.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let response = site.answer(&request);
        async { Ok::<_, Infallible>(response) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ended is the client's to know.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl Site {
    /// A page. A worker that leaves says so with it: hyper closes a connection behind a response with this header. Its
    /// own graceful shutdown would close what is idle at once, and with it the request that is on its way.
    fn answer<T>(&self, request: &Request<T>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::new()));
        match self.pages.get::<u64>(&key_of(request.uri().path())) {
            Ok(Some(edition)) => *response.body_mut() = self.page(request.uri().path(), edition.value),
            Ok(None) => *response.status_mut() = StatusCode::NOT_FOUND,
            Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        }
        let headers = response.headers_mut();
        headers.insert(PID, HeaderValue::from(std::process::id()));
        if self.control.is_draining() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn page(&self, path: &str, edition: u64) -> Full<Bytes> {
        Full::new(Bytes::from(format!("{GREETING}{} to {path}, edition {edition}\n", self.control.name())))
    }
}
