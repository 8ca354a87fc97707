//! Listeners that a supervisor shares with its workers.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use ganger::{Builder, ConfigError, Group, Handle, Pick, Program, Revive, StartError, Supervisor};
use ganger_tests::calls::{Accept, Death, Die, Manners, Taken};
use ganger_tests::harness::{Gate, Scratch, eventually, scenario};
use ganger_tests::workers::{online, online_with_feed, plain, started_with_feed, with};

fn taking(taken: Taken) -> Program {
    with(&Manners { listener: Some(taken), ..Manners::new() })
}

fn web() -> Program {
    taking(Taken::Tcp(String::from("web")))
}

fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn accept(supervisor: &Supervisor) -> Handle<Accept> {
    supervisor.enqueue(Accept::default()).expect("accepted")
}

/// What the worker wrote, to its end.
fn heard(mut connection: impl Read) -> io::Result<String> {
    let mut text = String::new();
    connection.read_to_string(&mut text)?;
    Ok(text)
}

/// S7: every worker of the group accepts at the same socket.
#[test]
fn workers_share_a_listener() {
    scenario(|| {
        let (listener, address) = bound();
        let group = Group::new("web", web()).workers(3).pick(Pick::RoundRobin).listener("web", listener);
        let supervisor = online(Supervisor::builder(group));
        let mut names: Vec<String> = (0..9)
            .map(|_| {
                let connection = TcpStream::connect(address).expect("connected");
                let name = accept(&supervisor).wait().expect("answered").data;
                assert_eq!(heard(connection).expect("heard"), format!("{name} serving\n"));
                name
            })
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names, ["web-0", "web-1", "web-2"]);
    });
}

/// S7: who connects while no worker is there waits, and is answered by the next; when the supervisor has ended nobody
/// listens any more.
#[test]
fn a_connection_outlives_the_workers() {
    scenario(|| {
        let (listener, address) = bound();
        let group = Group::named("web", web()).revive(Revive::ByCommand).listener("web", listener);
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(group));
        for _ in 0..3 {
            drop(supervisor.enqueue(Die(Death::Signal(9))).expect("accepted").wait().expect_err("it dies"));
            feed.crashed();
            let waiting: Vec<TcpStream> =
                (0..4).map(|_| TcpStream::connect(address).expect("connected")).collect();
            supervisor.revive("web").expect("revived");
            feed.ready();
            for connection in waiting {
                accept(&supervisor).wait().expect("answered");
                assert_eq!(heard(connection).expect("no reset"), "web serving\n");
            }
        }
        supervisor.soft_kill().wait();
        drop(supervisor);
        eventually("nobody listens", || TcpStream::connect(address).err());
    });
}

/// S7: a worker that is to leave knows it, and still has its listener until it is gone.
#[test]
fn a_draining_worker_knows_it() {
    scenario(|| {
        let (listener, address) = bound();
        let (scratch, gate) = (Scratch::new(), Gate::new());
        let manners = Manners {
            listener: Some(Taken::Tcp(String::from("web"))),
            soft_kill: Some((scratch.path().join("leaving"), gate.path())),
            ..Manners::new()
        };
        let group = Group::new("web", with(&manners)).workers(1).listener("web", listener);
        let (supervisor, mut feed) = online_with_feed(Supervisor::builder(group));
        let door = Gate::new();
        let waits = supervisor.enqueue(Accept { gate: Some(door.path()) }).expect("accepted");
        let handler = door.next();
        supervisor.shutdown_worker("web-0", Duration::from_secs(60)).expect("it leaves");
        let held = gate.next();
        handler.release();
        let connection = TcpStream::connect(address).expect("connected");
        waits.wait().expect("answered");
        assert_eq!(heard(connection).expect("heard"), "web-0 draining\n");
        held.release();
        feed.exited();
        feed.ready();
        let connection = TcpStream::connect(address).expect("connected");
        accept(&supervisor).wait().expect("answered");
        assert_eq!(heard(connection).expect("heard"), "web-0 serving\n");
        supervisor.hard_kill().wait();
    });
}

/// S7: a Unix socket, a bare descriptor, several in one group, and one beside a pool.
#[test]
fn listeners_of_every_kind() {
    scenario(|| {
        let scratch = Scratch::new();
        let path = scratch.path().join("socket");
        let (tcp, address) = bound();
        let unix = UnixListener::bind(&path).expect("bound");
        let group = |name: &str, taken| {
            Group::new(name, taking(taken))
                .workers(1)
                .listener("unix", unix.try_clone().expect("a copy"))
                .listener("tcp", OwnedFd::from(tcp.try_clone().expect("a copy")))
        };
        let supervisor = online(
            Supervisor::builder(group("unix", Taken::Unix(String::from("unix"))))
                .group(group("tcp", Taken::Tcp(String::from("tcp"))))
                .group(group("pooled", Taken::Descriptor(String::from("tcp"))).payload_pool(1 << 20)),
        );
        let told = |group: &'static str, connection: Box<dyn Read>| {
            supervisor
                .enqueue(ganger::Job::new(Accept::default()).group(group))
                .expect("accepted")
                .wait()
                .expect("answered");
            heard(connection).expect("heard")
        };
        assert_eq!(
            told("unix", Box::new(UnixStream::connect(&path).expect("connected"))),
            "unix-0 serving\n"
        );
        for group in ["tcp", "pooled"] {
            let connection = Box::new(TcpStream::connect(address).expect("connected"));
            assert_eq!(told(group, connection), format!("{group}-0 serving\n"));
        }
    });
}

/// S7: a worker that asks for what is not there, or for another kind, is told what there is.
#[test]
fn a_worker_that_takes_the_wrong_one_says_so() {
    scenario(|| {
        let cases = [
            (Taken::Tcp(String::from("smtp")), "there is no listener \"smtp\""),
            (Taken::Unix(String::from("web")), "the listener \"web\" is not a UnixListener"),
        ];
        for (taken, expected) in cases {
            let group = Group::new("web", taking(taken)).workers(1).listener("web", bound().0);
            let (supervisor, mut feed) = started_with_feed(Supervisor::builder(group));
            let report = feed.crashed().to_string();
            assert!(report.contains(expected), "{report}");
            drop(supervisor);
        }
    });
}

/// S7: what is no listener, and names that are none, are refused at the start.
#[test]
fn what_does_not_listen_is_refused() {
    fn reason(builder: Builder) -> String {
        match builder.start() {
            Err(StartError::Config(ConfigError::Listener { name, reason, .. })) => {
                format!("{name}: {reason}")
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was accepted"),
        }
    }
    let builder = || Supervisor::builder(plain());
    let (listener, address) = bound();
    let client = TcpStream::connect(address).expect("connected");
    assert_eq!(reason(builder().listener("web", client)), "web: it does not listen");
    let file = File::open("/dev/null").expect("opened");
    assert_eq!(reason(builder().listener("web", file)), "web: it is no socket");
    let twin = listener.try_clone().expect("a copy");
    let twins = builder().listener("web", twin).listener("web", bound().0);
    assert_eq!(reason(twins), "web: there are two of this name");
    assert!(
        reason(builder().listener("", listener.try_clone().expect("a copy"))).contains("1 to 64 characters")
    );
    let many = (0..65).fold(builder(), |builder, number| {
        builder.listener(number.to_string(), listener.try_clone().expect("a copy"))
    });
    match many.start() {
        Err(StartError::Config(ConfigError::OutOfRange { knob: "listener", .. })) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
}
