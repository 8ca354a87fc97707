//! A worker with the worker library, that can be asked to do all sorts of things to itself.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ganger_tests::arg::{explain_if_asked, unpack};
use ganger_tests::calls::{
    About, Accept, Acknowledge, Add, Advance, Cooperate, Count, Death, Die, Echo, Emit, EmptyHanded, End,
    Fail, Flood, Forget, Hold, Identity, Inspect, Later, Leak, Leave, Manners, Misread, OneTooMany, Panic,
    Pause, Print, Record, Seen, Spin, Start, Stop, Taken, Try,
};
use ganger_tests::harness::{Arrival, arrive};
use ganger_tests::peers::{Ask, AskAll, AskAndDie, Complaint, Pester, WhoCalls};
use ganger_worker::{Call, CallError, Context, Control, Failure, ListenerError, Outgoing, Request, Worker};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    explain_if_asked(
        "lib_worker: a worker with the worker library, for tests: they start it, and say how it behaves",
    );
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(stay), Some(gate)) if stay == "stay" => Ok(linger(gate.as_ref())?),
        (Some(manners), _) => work(&unpack(&manners)),
        (None, _) => work(&Manners::default()),
    }
}

fn work(manners: &Manners) -> Result<(), Box<dyn std::error::Error>> {
    let _crowd = before_connecting(&manners.start)?;
    let mut worker = Worker::connect()?;
    let open_files = getrlimit(Resource::Nofile).current;
    let control = worker.control();
    let _present = manners.present_at.as_ref().map(|gate| arrive(gate, &arrival(&control))).transpose()?;
    if let Some(gate) = &manners.gate_at_start {
        wait_at(gate, &arrival(&control))?;
    }
    prepare(manners, &mut worker);
    let hoard = hoard(manners.holds_mib.get(control.slot() as usize).copied().unwrap_or(0));
    simple_calls(&mut worker);
    endings(&mut worker);
    waiting_calls(&mut worker);
    reports(&mut worker);
    if let Some(listener) = &manners.listener {
        accepts(&mut worker, listener)?;
    }
    ganger_tests::store::register(&mut worker);
    errands(&mut worker);
    worker.on_call(move |_: About, context| Ok(identity(&context.worker(), open_files)?));
    ganger_tests::freight::register(&mut worker);
    match &manners.start {
        Start::Serve | Start::CrowdedWhile(_) => {}
        Start::NeverReady => control.busy(),
        Start::Panic => panic!("no configuration, no work"),
        Start::PanicWhile(file) if file.exists() => panic!("no configuration, no work"),
        Start::PanicWhile(_) => {}
        Start::Exit(_) => unreachable!("it has exited"),
    }
    if let Some(capacity) = manners.capacity {
        control.ready_with(capacity);
    }
    let departing = arrival(&control);
    worker.serve()?;
    if let Some(gate) = &manners.gate_at_end {
        wait_at(gate, &departing)?;
    }
    drop(hoard);
    Ok(())
}

/// What must stay open meanwhile.
fn before_connecting(start: &Start) -> io::Result<Vec<File>> {
    match start {
        Start::Exit(code) => std::process::exit(*code),
        Start::CrowdedWhile(file) if file.exists() => crowd(),
        Start::Serve | Start::NeverReady | Start::Panic | Start::PanicWhile(_) | Start::CrowdedWhile(_) => {
            Ok(Vec::new())
        }
    }
}

/// Opens all descriptors that this process may have, which are few, but for two: a high one, as the library wants it
/// for its end of the link, and one more.
fn crowd() -> io::Result<Vec<File>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum })?;
    let mut crowd: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    crowd.truncate(crowd.len().saturating_sub(2));
    Ok(crowd)
}

fn prepare(manners: &Manners, worker: &mut Worker) {
    worker.concurrency(manners.threads.max(1));
    if manners.aborts_on_panic {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tell(panic);
            std::process::abort();
        }));
    }
    if manners.ignores_term {
        let ignored = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, ignored).expect("a signal handler");
    }
    if let Some((file, gate)) = manners.soft_kill.clone() {
        let arrival = arrival(&worker.control());
        worker.on_soft_kill(move |done| {
            add_line(&file, "soft kill").expect("a line");
            wait_at(&gate, &arrival).expect("let in");
            done.done();
        });
    }
    if let Some(file) = manners.hard_kill.clone() {
        worker.on_hard_kill(move || add_line(&file, "hard kill").expect("a line"));
    }
    if let Some(file) = &manners.sick {
        let file = file.with_extension(worker.control().name());
        worker
            .health_every(Duration::from_millis(5), Duration::from_millis(50))
            .on_health(move || feels(&file));
    }
    if let Some(file) = manners.told.clone() {
        worker.on_event("tell", move |text: String| add_line(&file, &text).expect("a line"));
    }
}

/// Well, when there is no such file.
fn feels(file: &Path) -> Result<(), String> {
    while let Ok(reason) = std::fs::read_to_string(file) {
        if reason != "hang" {
            return Err(reason);
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// Memory that is really there: every page of it is written to.
fn hoard(mib: usize) -> Vec<u8> {
    let mut bytes = vec![0; mib << 20];
    bytes.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(bytes)
}

fn simple_calls(worker: &mut Worker) {
    worker.on_call(|Echo(bytes), _| Ok(bytes));
    worker.on_call(|Add(left, right), _| Ok(left + right));
    worker.on_call(|record: Record, context| {
        add_line(&record.file, &record.line)?;
        Ok(context.attempt())
    });
    worker.on_call(|advance: Advance, context| {
        let sent = (0..advance.count).filter(|number| context.progress(number).is_ok()).count();
        if let Some(gate) = &advance.gate {
            wait_at(gate, &in_hand(context))?;
        }
        if let Some(death) = advance.first_ends.filter(|_| context.attempt() == 1) {
            die(&death);
        }
        Ok(sent as u32)
    });
    worker.on_raw("reverse", |request| {
        let (mut bytes, responder) = request.into_parts();
        bytes.reverse();
        responder.respond(bytes);
    });
    worker.on_raw(Misread::NAME, |request| {
        let (_, responder) = request.into_parts();
        responder.respond([0xff; 4]);
    });
    worker.on_raw(OneTooMany::NAME, |request| {
        let (_, responder) = request.into_parts();
        responder.respond([7, 0]);
    });
    worker.on_request(|request: Request<Acknowledge>| request.ack());
    worker.on_request(|request: Request<EmptyHanded>| request.ack());
}

fn endings(worker: &mut Worker) {
    worker.on_call(|fail: Fail, _| {
        let failure = Failure::new(fail.message);
        Err(fail.details.map_or(failure.clone(), |details| failure.with_details(&details)))
    });
    worker.on_call(|Panic(message), _| -> Result<(), Failure> { panic!("{message}") });
    worker.on_request(|request: Request<Forget>| drop(request));
    worker.on_call(|Die(death), _| {
        die(&death);
        Ok(())
    });
    worker.on_call(|attempt: Try, context| {
        add_line(&attempt.file, &context.attempt().to_string())?;
        match attempt.ends.get(usize::from(context.attempt()) - 1) {
            Some(End::Fail(hint)) => return Err(Failure::new("not this time").with_retry(*hint)),
            Some(End::Panic) => panic!("not this time"),
            Some(End::Die(death)) => die(death),
            None => {}
        }
        Ok(context.attempt())
    });
    worker.on_call(|_: Stop, _| {
        kill_process(getpid(), Signal::STOP)?;
        Ok(())
    });
}

fn die(death: &Death) {
    let number = match death {
        Death::Abort => std::process::abort(),
        Death::Exit(code) => std::process::exit(*code),
        Death::Signal(number) => *number,
        Death::LastWords(lines) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            Signal::KILL.as_raw()
        }
    };
    // More than once: the first SIGSEGV goes to the handler that looks for stack overflows.
    loop {
        kill_process(getpid(), Signal::from_named_raw(number).expect("a signal")).expect("sent");
    }
}

fn waiting_calls(worker: &mut Worker) {
    worker.on_call(|hold: Hold, context| {
        wait_at(&hold.gate, &in_hand(context))?;
        Ok(context.worker().name().to_owned())
    });
    worker.on_call(|spin: Spin, context| -> Result<(), Failure> {
        let _present = arrive(&spin.gate, &in_hand(context))?;
        loop {
            std::hint::spin_loop();
        }
    });
    worker.on_call(|cooperate: Cooperate, context| {
        let _present = arrive(&cooperate.gate, &in_hand(context))?;
        while !context.cancelled() {
            std::hint::spin_loop();
        }
        add_line(&cooperate.file, "cancelled")?;
        Ok(())
    });
    worker.on_request(|request: Request<Later>| {
        std::thread::spawn(move || {
            let name = request.worker().name().to_owned();
            match wait_at(&request.data().gate, &in_hand(&request)) {
                Ok(()) => request.respond(&name),
                Err(error) => request.fail(error),
            }
        });
    });
    worker.on_call(|pause: Pause, context| {
        let (control, arrival) = (context.worker(), in_hand(context));
        control.busy();
        std::thread::spawn(move || {
            wait_at(&pause.gate, &arrival).expect("let in");
            control.ready();
        });
        Ok(())
    });
}

fn reports(worker: &mut Worker) {
    worker.on_call(|print: Print, _| {
        io::stdout().write_all(print.out.as_bytes())?;
        io::stdout().flush()?;
        io::stderr().write_all(print.err.as_bytes())?;
        Ok(())
    });
    worker.on_call(|Leak(mib), _| {
        hoard(mib).leak();
        Ok(std::process::id())
    });
    worker.on_call(|Flood(bytes), _| {
        io::stdout().write_all(&vec![b'x'; bytes])?;
        Ok(io::stdout().flush()?)
    });
    worker.on_call(|emit: Emit, context| {
        (0..emit.count).try_for_each(|number| context.worker().emit(&emit.name, &number))?;
        Ok(())
    });
    worker.on_call(|Count(number), context| {
        let metrics = context.worker().metrics();
        metrics.counter("counted_total", "What was counted")?.add(u64::from(number));
        let sizes = metrics.clone().label("unit", "a \"quoted\"\nunit");
        sizes.histogram("counted_size", "How much at a time", &[1.0, 10.0])?.observe(f64::from(number));
        metrics.gauge("counted_last", "What was counted last")?.set(f64::from(number));
        Ok(())
    });
    worker.on_call(|leave: Leave, _| Ok(leave_behind(&leave)?));
    worker.on_call(|_: Inspect, context| {
        Ok(Seen {
            job: context.id(),
            attempt: context.attempt(),
            headers: context.headers().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            has_deadline: context.deadline().is_some(),
            in_hand: context.worker().requests().iter().map(|request| request.call().to_owned()).collect(),
        })
    });
}

fn accepts(worker: &mut Worker, taken: &Taken) -> Result<(), ListenerError> {
    let accept: Box<dyn Fn() -> io::Result<Box<dyn Write>> + Send + Sync> = match taken {
        Taken::Tcp(name) => tcp(worker.listener(name)?),
        Taken::Descriptor(name) => tcp(TcpListener::from(worker.listener::<OwnedFd>(name)?)),
        Taken::Unix(name) => {
            let listener: UnixListener = worker.listener(name)?;
            Box::new(move || Ok(Box::new(listener.accept()?.0)))
        }
    };
    worker.on_call(move |call: Accept, context| {
        let control = context.worker();
        if let Some(gate) = &call.gate {
            wait_at(gate, &in_hand(context))?;
        }
        let mut connection = accept()?;
        let state = if control.is_draining() { "draining" } else { "serving" };
        writeln!(connection, "{} {state}", control.name())?;
        Ok(control.name().to_owned())
    });
    Ok(())
}

fn tcp(listener: TcpListener) -> Box<dyn Fn() -> io::Result<Box<dyn Write>> + Send + Sync> {
    Box::new(move || Ok(Box::new(listener.accept()?.0)))
}

/// Calls to other processes.
fn errands(worker: &mut Worker) {
    worker.on_call(|ask: Ask, context| Ok(outgoing(context, &ask).wait().map_err(Complaint::from)));
    worker.on_call(|AskAll(ask), context| {
        let collected = outgoing(context, &ask).collect().map_err(Complaint::from);
        Ok(collected.map(|collected| {
            let told = |(name, answer): (Arc<str>, Result<Vec<u8>, CallError>)| {
                (name.to_string(), answer.map_err(Complaint::from))
            };
            collected.answers.into_iter().map(told).collect()
        }))
    });
    worker.on_call(|Pester { ask, times }, context| {
        let sent: Vec<_> = (0..times).map(|_| outgoing(context, &ask).send()).collect();
        let mut ends = BTreeMap::new();
        for call in sent {
            let end = call.wait().map_or_else(|error| Complaint::from(error).kind, |_| String::from("Ok"));
            *ends.entry(end).or_insert(0) += 1;
        }
        Ok(ends)
    });
    worker.on_call(|_: WhoCalls, context| Ok(format!("{:?}", context.caller())));
    worker.on_call(|AskAndDie { ask, gate }, context| {
        let _forgotten = outgoing(context, &ask).send();
        wait_at(&gate, &in_hand(context))?;
        Ok(())
    });
}

fn outgoing(context: &Context, ask: &Ask) -> Outgoing<Vec<u8>> {
    let call = context.worker().call_raw(ask.to.clone(), ask.name.clone(), ask.payload.clone());
    call.timeout(ask.timeout)
}

fn identity(control: &Control, open_files: Option<u64>) -> io::Result<Identity> {
    let descriptors = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    Ok(Identity {
        pid: std::process::id(),
        name: control.name().to_owned(),
        group: control.group().to_owned(),
        slot: control.slot(),
        args: std::env::args().collect(),
        env: std::env::vars().collect(),
        directory: std::env::current_dir()?,
        descriptors,
        open_files,
    })
}

/// Starts a process that stays.
fn leave_behind(leave: &Leave) -> io::Result<u32> {
    let mut program = Command::new(std::env::current_exe()?);
    if leave.as_daemon {
        program = Command::new("setsid");
        program.arg("--fork").arg(std::env::current_exe()?);
    }
    let mut child = program.arg("stay").arg(&leave.gate).stdin(Stdio::null()).spawn()?;
    if leave.as_daemon {
        // The one in between ends at once.
        child.wait()?;
    }
    Ok(child.id())
}

fn linger(gate: &Path) -> io::Result<()> {
    let arrival = Arrival { pid: std::process::id(), worker: String::from("left"), job: None, attempt: 0 };
    wait_at(gate, &arrival)
}

fn arrival(control: &Control) -> Arrival {
    Arrival { pid: std::process::id(), worker: control.name().to_owned(), job: None, attempt: 0 }
}

fn in_hand(context: &Context) -> Arrival {
    Arrival { job: Some(context.id()), attempt: context.attempt(), ..arrival(&context.worker()) }
}

/// Comes to the gate and waits to be let in.
fn wait_at(gate: &Path, arrival: &Arrival) -> io::Result<()> {
    arrive(gate, arrival)?.read_exact(&mut [0])
}

fn add_line(file: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    // One write, so that lines of several processes do not mix.
    file.write_all(format!("{line}\n").as_bytes())
}
