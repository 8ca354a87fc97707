//! The reference model of workers that are revived by command: whose place stays empty, and until when.

use ganger::internals::{DownWorker, GroupIndex, Input, Revive, Standstill};

use super::caller::Command;
use super::check::Check;
use super::world::World;

/// What is known of a place in a group whose workers are revived by command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rest {
    /// When its worker has ended it stays empty.
    #[default]
    Sure,
    /// A command or a resize has come while its worker may have been on its way out.
    Unsure,
    /// It is empty and stays so.
    Down,
}

impl World {
    pub(crate) fn is_by_command(&self, group: usize) -> bool {
        self.plan.config.groups[group].revive == Revive::ByCommand
    }

    pub(crate) fn take_in_revive(&mut self, group: usize, slot: u32) {
        let now = self.now();
        let index = GroupIndex(group as u16);
        if slot >= self.groups[group].wanted || self.scheduler.standstill(index, slot) != Standstill::Down {
            return;
        }
        self.trace
            .note(now, 7, group as u64, u64::from(slot), || format!("revive slot {slot} of group {group}"));
        let is_there = self.unburied(group).any(|proc| self.procs[proc].slot == slot);
        self.groups[group].revive(slot, if is_there { Rest::Unsure } else { Rest::Sure }, now);
        self.scheduler.handle_input(now, Input::Revive { group: index, slot });
        let is_down = self.shown_down(group).contains(&slot);
        self.court.demand(!is_down, Check::RevivalIsByCommand, || {
            format!("slot {slot} of group {group} is down still when it has been revived")
        });
    }

    /// The slots that the scheduler shows as down.
    pub(crate) fn shown_down(&self, group: usize) -> Vec<u32> {
        if !self.is_by_command(group) {
            return Vec::new();
        }
        let snapshot = self.scheduler.snapshot();
        snapshot.groups[group].down.iter().map(|worker| worker.slot).collect()
    }

    /// A worker is gone: its place stays empty, if that is certain.
    pub(crate) fn note_rest(&mut self, proc: usize) {
        let now = self.now();
        let process = &self.procs[proc];
        let (group, slot, told) = (process.group, process.slot, &process.told);
        let orphan_grace = self.policy(proc).orphan_grace;
        // Otherwise the scheduler may have found it at another moment of this turn.
        let is_certain = told.link_ended.is_some()
            && told.process_ended.is_some_and(|at| now < at + orphan_grace)
            && !told.is_written_off;
        let is_ending = self.end.soft.is_some() || self.end.killed.is_some();
        if self.is_by_command(group)
            && told.spawned.is_some()
            && slot < self.groups[group].wanted
            && !is_ending
        {
            self.groups[group].lay_down(slot, is_certain);
        }
    }

    /// Nobody is there in a group whose workers are revived by command.
    pub(crate) fn is_all_down(&self, group: usize) -> bool {
        let wanted = self.groups[group].wanted;
        self.is_by_command(group) && !self.unburied(group).any(|proc| self.procs[proc].slot < wanted)
    }

    /// Whether some slots of a group are filled as they should be, and all others wait for a command, as far as is known.
    pub(crate) fn are_all_others_down(&self, group: usize, is_filled: impl Fn(u32) -> bool) -> bool {
        let is_empty = |slot: u32| !self.unburied(group).any(|proc| self.procs[proc].slot == slot);
        let wanted = 0..self.groups[group].wanted;
        self.is_by_command(group)
            && wanted.clone().any(&is_filled)
            && wanted.into_iter().all(|slot| is_filled(slot) || is_empty(slot))
    }

    pub(crate) fn check_rest(&mut self, proc: usize, group: usize, slot: u32) {
        let rest = self.groups[group].rest(slot);
        self.court.demand(rest != Rest::Down, Check::RevivalIsByCommand, || {
            format!(
                "process {proc} is ordered for slot {slot} of group {group}, which is down, and nobody called"
            )
        });
    }

    /// What is shown as down is empty, and in a group where that can be.
    pub(crate) fn check_down(&mut self, group: usize, down: &[DownWorker]) {
        let is_empty =
            |worker: &DownWorker| !self.unburied(group).any(|proc| self.procs[proc].slot == worker.slot);
        let is_true = down.is_empty() || (self.is_by_command(group) && down.iter().all(is_empty));
        self.court.demand(is_true, Check::HealthIsTrue, || format!("group {group} shows {down:?} as down"));
    }

    /// Faults are over: everybody is called back once.
    pub(crate) fn revive_all(&mut self, group: usize) {
        let slots = if self.is_by_command(group) { self.groups[group].wanted } else { 0 };
        self.commands.extend((0..slots).map(|slot| Command::Revive { group, slot }));
    }
}
