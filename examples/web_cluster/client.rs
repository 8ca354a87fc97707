//! One client's connection. It tries nothing twice: whatever goes wrong is seen.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::worker::{GREETING, PID};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a connection is meant for more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Once,
    Kept,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The process that answered.
    pub(crate) pid: u32,
    /// The edition of the page.
    pub(crate) edition: u64,
    /// The server takes no more through this connection.
    pub(crate) closes: bool,
}

/// A request that failed, or a connection.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) is_reset: bool,
    pub(crate) text: String,
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Fault {
    fn from(error: E) -> Fault {
        let error = error.into();
        let mut text = error.to_string();
        let mut is_reset = reset(&*error);
        let mut cause = error.source();
        while let Some(error) = cause {
            is_reset |= reset(error);
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Fault { is_reset, text }
    }
}

fn reset(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    })
}

/// A connection to the server.
pub(crate) struct Connection {
    usage: Use,
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, usage: Use) -> Result<Connection, Fault> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Connection { usage, sender, driver: tokio::spawn(connection) })
    }

    pub(crate) async fn ask(&mut self, path: &str) -> Result<Answer, Fault> {
        timeout(PATIENCE, self.exchange(path)).await?
    }

    async fn exchange(&mut self, path: &str) -> Result<Answer, Fault> {
        self.sender.ready().await?;
        let mut request = Request::get(path).header(HOST, "localhost").body(Empty::new())?;
        if self.usage == Use::Once {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let response = self.sender.send_request(request).await?;
        check(response, path).await
    }

    /// Lets it go, and says how it ended: a reset behind the last answer is one, too.
    pub(crate) async fn close(self) -> Result<(), Fault> {
        drop(self.sender);
        Ok(timeout(PATIENCE, self.driver).await???)
    }
}

/// Reads a response to its end and holds it against what it should be.
async fn check(response: Response<hyper::body::Incoming>, path: &str) -> Result<Answer, Fault> {
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let closes = header(CONNECTION.as_str()) == Some("close");
    let pid = header(PID).and_then(|pid| pid.parse().ok());
    let body = response.into_body().collect().await?.to_bytes();
    let page = String::from_utf8_lossy(&body);
    match (pid, edition(&page, path)) {
        (Some(pid), Some(edition)) if status == StatusCode::OK => Ok(Answer { pid, edition, closes }),
        _ => Err(format!("an answer that is none: {status}, {page:?}").into()),
    }
}

/// The edition of a page, if it is one, and whole.
fn edition(page: &str, path: &str) -> Option<u64> {
    let (greeting, edition) = page.strip_suffix('\n')?.split_once(&format!(" to {path}, edition "))?;
    greeting.starts_with(GREETING).then_some(())?;
    edition.parse().ok()
}
