//! From figures to the text.

use std::sync::Arc;

use ganger_protocol::{Declaration, Reading};

use super::exposition::Exposition;
use super::{Tallies, own, users};
use crate::health::Health;

/// What the loop knows besides the scheduler's snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) tallies: Tallies,
    /// Events that subscribers missed.
    pub(crate) events_missed: u64,
}

/// The whole text.
pub(super) fn write(
    own_readings: &[(Declaration, Reading)],
    health: &Health,
    figures: &Figures,
    groups: &[Arc<str>],
) -> String {
    let mut text = Exposition::default();
    own::write(&mut text, health, figures.events_missed);
    users::write(&mut text, own_readings, &figures.tallies, groups);
    text.to_string()
}
