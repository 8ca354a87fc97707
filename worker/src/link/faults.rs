//! Where a worker's faults strike. None of this is reached by a worker that has none.

use crate::session::Ticket;
use crate::testing::{Fault, Point, write_most};

use super::{Link, OnLoss, State};

impl Link {
    pub(crate) fn inject(&self, fault: Fault) {
        self.lock().faults.get_or_insert_default().arm(fault);
    }

    /// Whether the worker, which is none of its own process, has ended at its next job's start.
    pub(super) fn has_fault_before_start(&self, state: &mut State) -> bool {
        let fault = state.faults.as_mut().and_then(|faults| faults.before_start());
        self.strike(state, fault);
        state.is_over()
    }

    pub(super) fn start_with_faults(&self, state: &mut State, ticket: Ticket) {
        let fault = state.faults.as_mut().and_then(|faults| faults.after_start(ticket));
        self.strike(state, fault);
    }

    /// The answer is in the outbox.
    pub(super) fn answer_with_faults(&self, state: &mut State, ticket: Ticket) {
        let fault = fault_at(state, Point::BeforeAnswer, ticket);
        self.strike(state, fault);
        if let Some(fault) = fault_at(state, Point::InsideAnswer, ticket) {
            write_most(&self.leash, state.session.outbox());
            self.strike(state, Some(fault));
        }
        if let Some(fault) = fault_at(state, Point::AfterAnswer, ticket) {
            self.flush(state);
            self.strike(state, Some(fault));
        }
    }

    fn strike(&self, state: &mut State, fault: Option<Fault>) {
        match (fault, self.on_loss) {
            (None, _) => {}
            (Some(fault), OnLoss::EndProcess) => fault.strike(),
            (Some(_), OnLoss::Return) => self.finish(state, Ok(())),
        }
    }
}

fn fault_at(state: &mut State, point: Point, ticket: Ticket) -> Option<Fault> {
    state.faults.as_mut().and_then(|faults| faults.at(point, ticket))
}
