use super::*;
use crate::Program;

fn builder() -> Builder {
    Builder::new(Group::from(Program::this()))
}

fn refusal(builder: &Builder) -> String {
    match builder.plan() {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_defaults_make_sense() {
    let plan = builder().plan().expect("defaults");
    assert_eq!(&*plan.names[0], "default");
    assert!(plan.scheduler.groups[0].workers >= 1);
    assert_eq!(plan.driver.queue, QueueLimits { jobs: 16 << 20, bytes: 1 << 30 });
    assert!(plan.driver.on_signals.is_none());
}

#[test]
fn no_workers_is_refused() {
    let text = refusal(&builder().workers(0));
    assert_eq!(text, "the configuration is refused: group default has 0 workers; it needs at least 1");
    assert!(refusal(&builder().workers(5000)).contains("the limit is 4096"));
}

#[test]
fn names_are_unique_and_printable() {
    let twin = Group::from(Program::this());
    assert!(refusal(&builder().group(twin)).contains("two groups are called \"default\""));
    for name in ["", "two words", "bell\u{7}", &"x".repeat(65)] {
        let text = refusal(&builder().group(Group::new(name, Program::this())));
        assert!(text.contains("is no name for a group"), "{text}");
    }
}

#[test]
fn limits_outside_their_range_are_named_with_the_range() {
    let text = refusal(&builder().payload_limit(u32::MAX as usize));
    assert!(text.contains("payload_limit is 4294967295; it must be from 1 to"), "{text}");
    assert!(refusal(&builder().queue_limit(0)).contains("queue_limit is 0"));
    assert!(refusal(&builder().queue_limit(usize::MAX)).contains("queue_limit is"));
    assert!(refusal(&builder().event_backlog(0)).contains("event_backlog is 0"));
    assert!(refusal(&builder().prefetch(257)).contains("prefetch is 257; it must be from 0 to 256"));
    assert!(refusal(&builder().boot_timeout(Duration::ZERO)).contains("boot_timeout is 0ns"));
}

#[test]
fn policies_that_contradict_themselves_are_refused() {
    let second = Duration::from_secs(1);
    assert!(refusal(&builder().heartbeat(second, second, second)).contains("cannot be suspected after 1s"));
    let jitter = RestartPolicy { jitter: f64::NAN, ..RestartPolicy::default() };
    assert!(refusal(&builder().restart(jitter)).contains("restart.jitter is NaN"));
    let backoff = RestartPolicy { backoff_max: Duration::ZERO, ..RestartPolicy::default() };
    assert!(refusal(&builder().restart(backoff)).contains("restart.backoff_max is 0ns"));
    let poison = PoisonPolicy { deaths: 0, ..PoisonPolicy::default() };
    assert!(refusal(&builder().poison(poison)).contains("poison.deaths is 0"));
}

#[test]
fn a_missing_program_is_said_at_once_with_group_path_and_reason() {
    let group = Group::new("mailers", Program::new("/nowhere/mailer"));
    assert_eq!(
        refusal(&builder().group(group)),
        "the program /nowhere/mailer of group mailers cannot be run: there is no such file"
    );
}

#[test]
fn groups_are_found_by_name_and_the_first_without_one() {
    let names: [Arc<str>; 2] = ["a".into(), "b".into()];
    assert_eq!(index_of(&names, None), Some(GroupIndex(0)));
    assert_eq!(index_of(&names, Some("b")), Some(GroupIndex(1)));
    assert_eq!(index_of(&names, Some("c")), None);
}

/// W3: a program that is its own worker and forgot to ask whether it is one started workers that started workers,
/// without end.
#[test]
fn a_worker_that_has_not_connected_may_not_supervise() {
    assert_eq!(unconnected_worker_of(), None, "this process is no worker");
    let error = refuse_in_worker(Some(7)).expect_err("refused");
    assert!(
        error.to_string().contains("started as a worker by process 7: ask Worker::inherited()"),
        "{error}"
    );
}
