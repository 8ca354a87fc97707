//! The programs that a group's workers may run: the one that they do, and those that are being rolled out.

use std::sync::Arc;

use super::spawn::Blueprint;
use crate::rollout::{HeldProgram, Teller};
use crate::scheduler::{Edition, GroupIndex, RolloutPhase, RolloutStatus};

/// All groups' programs, by their editions, and who is to be told what becomes of each.
pub(super) struct Editions {
    groups: Vec<Programs>,
}

struct Programs {
    edition: Edition,
    blueprint: Arc<Blueprint>,
    /// Those of rollouts that are not over.
    next: Vec<Next>,
}

struct Next {
    edition: Edition,
    /// `None`: the group's own at the time, its file opened anew.
    program: Option<HeldProgram>,
    blueprint: Option<Arc<Blueprint>>,
    tellers: Vec<Teller>,
}

impl Editions {
    pub(super) fn new(blueprints: Vec<Blueprint>) -> Editions {
        let programs = |blueprint| Programs {
            edition: Edition::default(),
            blueprint: Arc::new(blueprint),
            next: Vec::new(),
        };
        Editions { groups: blueprints.into_iter().map(programs).collect() }
    }

    /// Another program is wanted under this number; one that waits under it is replaced.
    pub(super) fn add(
        &mut self,
        group: GroupIndex,
        edition: Edition,
        program: Option<HeldProgram>,
        teller: Teller,
    ) {
        let next = &mut self.groups[usize::from(group.0)].next;
        match next.iter_mut().find(|next| next.edition == edition) {
            Some(next) => {
                next.program = program;
                next.tellers.push(teller);
            }
            None => next.push(Next { edition, program, blueprint: None, tellers: vec![teller] }),
        }
    }

    /// How workers of this edition are started.
    pub(super) fn blueprint(&mut self, group: GroupIndex, edition: Edition) -> Arc<Blueprint> {
        let programs = &mut self.groups[usize::from(group.0)];
        let own = &programs.blueprint;
        let Some(next) = programs.next.iter_mut().find(|next| next.edition == edition) else {
            debug_assert_eq!(edition, programs.edition, "a program that nobody asked for");
            return Arc::clone(own);
        };
        let made = || Arc::new(own.renewed(next.program.take()));
        Arc::clone(next.blueprint.get_or_insert_with(made))
    }

    /// How far a rollout has come.
    pub(super) fn tell(&mut self, group: GroupIndex, status: &RolloutStatus) {
        let programs = &mut self.groups[usize::from(group.0)];
        let place = programs.next.iter().position(|next| next.edition.0 == status.edition);
        let Some(place) = place else { return };
        programs.next[place].tellers.iter().for_each(|teller| teller.tell(status));
        if !status.is_over() {
            return;
        }
        let next = programs.next.remove(place);
        if status.phase == RolloutPhase::Done {
            programs.edition = next.edition;
            programs.blueprint = next.blueprint.unwrap_or_else(|| {
                // There was nobody to start: it has not been needed so far.
                Arc::new(programs.blueprint.renewed(next.program))
            });
        }
    }
}
