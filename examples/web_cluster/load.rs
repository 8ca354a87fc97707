//! The clients: they ask, pause, and ask again, until they are told to stop.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Connection, Fault, Use};
use crate::editor::{Editions, PAGES};
use crate::tally::{Due, Tally};

/// A client on a new connection each time pauses so long on average: loopback has only so many ports a minute.
const PAUSE_ONCE: Duration = Duration::from_millis(25);

/// One that keeps its connection.
const PAUSE_KEPT: Duration = Duration::from_millis(5);

/// Now and then that one is silent for longer, so that its connection is idle while workers come and go.
const SILENCE: Duration = Duration::from_millis(400);

/// The clients at work, on a thread of their own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Tally>>,
}

impl Load {
    pub(crate) fn begin(address: SocketAddr, clients: usize, editions: &Editions) -> io::Result<Load> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, editions) = (Arc::clone(&stop), Arc::clone(editions));
        let thread = thread::Builder::new().name("clients".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(all(address, clients, &editions, &told)))
        })?;
        Ok(Load { stop, thread })
    }

    pub(crate) fn end(self) -> Result<Tally, Box<dyn Error>> {
        self.stop.store(true, Relaxed);
        Ok(self.thread.join().map_err(|_| "the clients panicked")??)
    }
}

async fn all(address: SocketAddr, clients: usize, editions: &Editions, stop: &Arc<AtomicBool>) -> Tally {
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let usage = if number % 2 == 0 { Use::Once } else { Use::Kept };
        let client = Client {
            address,
            usage,
            page: number % PAGES,
            editions: Arc::clone(editions),
            stop: Arc::clone(stop),
            tally: Arc::clone(&tally),
            random: fastrand::Rng::with_seed(number as u64),
        };
        tasks.spawn(client.run());
    }
    while tasks.join_next().await.is_some() {}
    std::mem::take(&mut *tally.lock())
}

struct Client {
    address: SocketAddr,
    usage: Use,
    page: usize,
    editions: Editions,
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    random: fastrand::Rng,
}

impl Client {
    async fn run(mut self) {
        let path = format!("/{}", self.page);
        while !self.stop.load(Relaxed) {
            if let Err(fault) = self.visit(&path).await {
                self.tally.lock().note_fault(fault);
            }
        }
    }

    /// From a connection's first request to its last.
    async fn visit(&mut self, path: &str) -> Result<(), Fault> {
        self.pause().await;
        let begun = Instant::now();
        let mut connection = Connection::open(self.address, self.usage).await?;
        self.tally.lock().connections += u64::from(self.usage == Use::Kept);
        self.exchange(&mut connection, path, begun).await?;
        connection.close().await
    }

    /// Asks until the server, or its client, wants no more of the connection.
    async fn exchange(
        &mut self,
        connection: &mut Connection,
        path: &str,
        mut begun: Instant,
    ) -> Result<(), Fault> {
        loop {
            let due = Due(self.editions[self.page].load(Relaxed));
            let answer = connection.ask(path).await?;
            self.tally.lock().note_answer(self.usage, &answer, due, begun.elapsed());
            if self.usage == Use::Once || answer.closes || self.stop.load(Relaxed) {
                return Ok(());
            }
            self.pause().await;
            begun = Instant::now();
        }
    }

    async fn pause(&mut self) {
        let mean = match self.usage {
            Use::Once => PAUSE_ONCE,
            Use::Kept if self.random.u8(..50) == 0 => SILENCE,
            Use::Kept => PAUSE_KEPT,
        };
        sleep(mean.mul_f64(2.0 * self.random.f64())).await;
    }
}
