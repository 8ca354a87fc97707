//! Whether what was said about a group makes sense.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use ganger_protocol::{MAX_LISTENERS, POOLED_PAYLOAD};
use rustix::net::sockopt::socket_acceptconn;

use super::{Group, MAX_WORKERS};
use crate::Program;
use crate::driver::{SlotValues, Terms};
use crate::error::ConfigError;
use crate::scheduler::{GroupConfig, MAX_PREFETCH, PoisonPolicy, RecyclePolicy, RestartPolicy};

/// The most characters of a name.
const MAX_NAME: usize = 64;
/// The longest ageing: with a longer one, classes would run into the end of time.
const MAX_AGEING: Duration = Duration::from_secs(365 * 24 * 3600);
/// The most memory that a worker shares each way.
const MAX_POOL: usize = 1 << 30;

impl Group {
    /// The policies, if they make sense.
    pub(crate) fn checked(&self) -> Result<GroupConfig, ConfigError> {
        check_name(self.name())?;
        self.policies.members.iter().try_for_each(check_member)?;
        let workers = check_workers(self.name(), self.workers)?;
        check_prefetch(self.policies.prefetch)?;
        check_order(&self.policies)?;
        check_pool(self.terms.pool_bytes)?;
        check_terms(self.name(), &self.terms)?;
        check_program(self.name(), &self.program)?;
        check_boot(self.policies.boot_timeout)?;
        check_heartbeat(&self.policies)?;
        check_restart(&self.policies.restart)?;
        check_poison(self.policies.poison)?;
        check_recycle(&self.policies.recycle, workers)?;
        Ok(GroupConfig { workers, ..self.policies.clone() })
    }
}

/// Whether its variables can be given to a process.
pub(crate) fn check_program(group: &Arc<str>, program: &Program) -> Result<(), ConfigError> {
    program.variables().try_for_each(|(key, value)| check_variable(group, key, value))
}

/// Whether no two workers of these groups are, or can come to be, called the same.
pub(crate) fn check_members(groups: &[GroupConfig]) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (place, group) in groups.iter().enumerate() {
        for (slot, name) in (0u32..).zip(&group.members) {
            let is_another = |(other, config): (usize, &GroupConfig)| {
                config.default_slot_of(name).is_some_and(|default| (other, default) != (place, slot))
            };
            if !seen.insert(Arc::clone(name)) || groups.iter().enumerate().any(is_another) {
                return Err(ConfigError::DuplicateWorker { name: Arc::clone(name) });
            }
        }
    }
    Ok(())
}

fn check_member(name: &Arc<str>) -> Result<(), ConfigError> {
    if is_name(name) { Ok(()) } else { Err(ConfigError::WorkerName { name: Arc::clone(name) }) }
}

fn check_name(name: &Arc<str>) -> Result<(), ConfigError> {
    if is_name(name) { Ok(()) } else { Err(ConfigError::GroupName { name: Arc::clone(name) }) }
}

fn is_name(name: &str) -> bool {
    let is_odd = |character: char| character.is_whitespace() || character.is_control();
    !name.is_empty() && name.chars().count() <= MAX_NAME && !name.contains(is_odd)
}

fn check_terms(group: &Arc<str>, terms: &Terms) -> Result<(), ConfigError> {
    in_range("niceness", terms.niceness.unwrap_or(0), -20, 19)?;
    for (resource, limit) in &terms.rlimits {
        if !limit.is_ordered() {
            let reason =
                format!("the limits of {resource:?} of group {group} contradict each other: {limit}");
            return Err(ConfigError::Contradiction { reason });
        }
    }
    check_listeners(group, terms)?;
    terms.slot_env.iter().try_for_each(|(key, values)| match values {
        SlotValues::Cycle(values) if values.is_empty() => {
            Err(variable(group, key, "it has no value for any slot"))
        }
        SlotValues::Cycle(values) => {
            values.iter().try_for_each(|value| check_variable(group, key, Some(value)))
        }
        SlotValues::Function(_) => check_variable(group, key, None),
    })
}

fn check_listeners(group: &Arc<str>, terms: &Terms) -> Result<(), ConfigError> {
    in_range("listener", terms.listeners.len(), 0, MAX_LISTENERS)?;
    let mut names = HashSet::new();
    let mut faults = terms.listeners.iter().filter_map(|(name, listener)| {
        let fault = match socket_acceptconn(listener) {
            _ if !is_name(name) => "a name has 1 to 64 characters and neither spaces nor control characters",
            _ if !names.insert(name) => "there are two of this name",
            Ok(true) => return None,
            Ok(false) => "it does not listen",
            Err(_) => "it is no socket",
        };
        Some((name, fault))
    });
    faults.next().map_or(Ok(()), |(name, reason)| {
        Err(ConfigError::Listener { group: Arc::clone(group), name: Arc::clone(name), reason })
    })
}

fn check_variable(group: &Arc<str>, key: &OsStr, value: Option<&OsStr>) -> Result<(), ConfigError> {
    let has_nul = |text: &OsStr| text.as_bytes().contains(&0);
    if key.is_empty() || key.as_bytes().contains(&b'=') || has_nul(key) {
        return Err(variable(group, key, "a name is not empty and has neither = nor NUL"));
    }
    if value.is_some_and(has_nul) {
        return Err(variable(group, key, "its value has a NUL"));
    }
    Ok(())
}

fn variable(group: &Arc<str>, key: &OsStr, reason: &'static str) -> ConfigError {
    let (group, key) = (Arc::clone(group), key.to_string_lossy().into_owned());
    ConfigError::Variable { group, key, reason }
}

fn check_workers(group: &Arc<str>, workers: usize) -> Result<u32, ConfigError> {
    match workers {
        0 => Err(ConfigError::NoWorkers { group: Arc::clone(group) }),
        1..=MAX_WORKERS => Ok(workers as u32),
        _ => Err(ConfigError::TooManyWorkers { group: Arc::clone(group), workers, limit: MAX_WORKERS }),
    }
}

fn check_prefetch(prefetch: u32) -> Result<(), ConfigError> {
    in_range("prefetch", prefetch, 0, MAX_PREFETCH)
}

fn check_order(policies: &GroupConfig) -> Result<(), ConfigError> {
    in_range("ageing", policies.ageing, Duration::from_millis(1), MAX_AGEING)?;
    in_range("key_limit", policies.key_limit, 1, u32::MAX)
}

fn check_pool(bytes: usize) -> Result<(), ConfigError> {
    if bytes == 0 { Ok(()) } else { in_range("payload_pool", bytes, POOLED_PAYLOAD, MAX_POOL) }
}

fn check_boot(timeout: Duration) -> Result<(), ConfigError> {
    in_range("boot_timeout", timeout, Duration::from_millis(1), Duration::MAX)
}

fn check_heartbeat(policies: &GroupConfig) -> Result<(), ConfigError> {
    let GroupConfig { heartbeat, suspect_after, missing_after, .. } = *policies;
    in_range("heartbeat", heartbeat, Duration::from_millis(10), Duration::from_secs(3600))?;
    if suspect_after <= heartbeat || missing_after < suspect_after {
        let reason = format!(
            "a worker that beats every {heartbeat:?} cannot be suspected after {suspect_after:?} and missing after \
             {missing_after:?}; each must be longer than the one before"
        );
        return Err(ConfigError::Contradiction { reason });
    }
    Ok(())
}

fn check_restart(policy: &RestartPolicy) -> Result<(), ConfigError> {
    if !(0.0..=1.0).contains(&policy.jitter) {
        return Err(out_of_range("restart.jitter", policy.jitter, 0.0, 1.0));
    }
    in_range("restart.window", policy.window, Duration::from_millis(1), Duration::MAX)?;
    in_range("restart.backoff_max", policy.backoff_max, policy.backoff, Duration::MAX)?;
    in_range("restart.job_deaths", policy.job_deaths, 1, u32::MAX)
}

fn check_poison(policy: PoisonPolicy) -> Result<(), ConfigError> {
    in_range("poison.deaths", policy.deaths, 1, u8::MAX)?;
    in_range("poison.losses", policy.losses, 1, u8::MAX)
}

fn check_recycle(policy: &RecyclePolicy, workers: u32) -> Result<(), ConfigError> {
    if !(0.0..=1.0).contains(&policy.jitter) {
        return Err(out_of_range("recycle.jitter", policy.jitter, 0.0, 1.0));
    }
    in_range("recycle.samples", policy.samples, 1, u32::MAX)?;
    in_range("recycle.at_once", policy.at_once, 1, u32::MAX)?;
    in_range("max_jobs", policy.max_jobs.unwrap_or(1), 1, u64::MAX)?;
    in_range("recycle_above", policy.above_bytes.unwrap_or(1), 1, u64::MAX)?;
    in_range("kill_above", policy.kill_above_bytes.unwrap_or(1), 1, u64::MAX)?;
    let least = Duration::from_millis(1);
    in_range("max_age", policy.max_age.unwrap_or(least), least, Duration::MAX)?;
    in_range("idle_timeout", policy.idle_timeout.unwrap_or(least), least, Duration::MAX)?;
    if policy.idle_timeout.is_some() {
        in_range("min_workers", policy.min_workers, 0, workers)?;
    }
    match (policy.above_bytes, policy.kill_above_bytes) {
        (Some(above), Some(kill)) if kill < above => {
            let reason = format!("a worker cannot be killed above {kill} bytes and recycled above {above}");
            Err(ConfigError::Contradiction { reason })
        }
        (Some(_) | None, _) => Ok(()),
    }
}

pub(crate) fn in_range<T: PartialOrd + std::fmt::Debug>(
    knob: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if value < least || value > most {
        return Err(out_of_range(knob, value, least, most));
    }
    Ok(())
}

fn out_of_range<T: std::fmt::Debug>(knob: &'static str, value: T, least: T, most: T) -> ConfigError {
    let [value, least, most] = [value, least, most].map(|value| format!("{value:?}"));
    ConfigError::OutOfRange { knob, value, least, most }
}
