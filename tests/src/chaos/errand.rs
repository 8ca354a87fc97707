//! What a job asks of its handler, as it travels in a header.

use std::time::Duration;

/// The header's key.
pub(crate) const HEADER: &str = "errand";

/// The longest that a well-behaved handler works.
pub(crate) const LONGEST: Duration = Duration::from_micros(400);

/// What a handler is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) task: Task,
    pub(crate) work: Duration,
    pub(crate) reply_bytes: usize,
}

/// How it is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// A reply, without a pause in between.
    Spin,
    /// A reply, after a rest.
    Rest,
    /// A reply, however loudly the request is cancelled meanwhile.
    Ignore,
    Fail,
    Panic,
    /// No end: the handler kills its own process.
    Die,
}

impl Errand {
    /// The errand of a job that has no header: made from its payload's size.
    pub(crate) fn plain(payload_bytes: usize) -> Errand {
        let work = LONGEST.mul_f64((payload_bytes % 401) as f64 / 400.0);
        Errand { task: Task::Rest, work, reply_bytes: payload_bytes.min(512) }
    }

    pub(crate) fn to_header(self) -> String {
        let Errand { task, work, reply_bytes } = self;
        let letter = match task {
            Task::Spin => 's',
            Task::Rest => 'r',
            Task::Ignore => 'i',
            Task::Fail => 'f',
            Task::Panic => 'p',
            Task::Die => 'd',
        };
        format!("{letter} {} {reply_bytes}", work.as_micros())
    }

    /// # Panics
    /// When the header says no errand.
    pub(crate) fn from_header(text: &str) -> Errand {
        let words: Vec<&str> = text.split(' ').collect();
        let [task, work, reply_bytes] = words[..] else { panic!("no errand: {text:?}") };
        let task = match task {
            "s" => Task::Spin,
            "r" => Task::Rest,
            "i" => Task::Ignore,
            "f" => Task::Fail,
            "p" => Task::Panic,
            "d" => Task::Die,
            _ => panic!("no errand: {text:?}"),
        };
        let work = Duration::from_micros(work.parse().expect("microseconds"));
        Errand { task, work, reply_bytes: reply_bytes.parse().expect("a number of bytes") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_travel() {
        for task in [Task::Spin, Task::Rest, Task::Ignore, Task::Fail, Task::Panic, Task::Die] {
            let errand = Errand { task, work: Duration::from_micros(399), reply_bytes: 1 << 20 };
            assert_eq!(Errand::from_header(&errand.to_header()), errand);
        }
    }
}
