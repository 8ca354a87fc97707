//! The short forms of what is also run for long: fuzzing, byte sweeps, restarts, mad peers; and the users' test kit.

mod fuzzing;
mod kit;
mod passing;
mod restarting;
mod rolling;
mod sweeping;
mod unimpressed;
