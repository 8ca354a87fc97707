//! What a supervisor does for its program: S1 to S5, S8 and M1, with real processes.

mod ending;
mod events;
mod health;
mod lending;
mod several;
mod signals;
