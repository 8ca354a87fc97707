//! Programs as a whole: the leash by which a supervisor's death ends its workers, and the examples.

mod examples;
mod help;
mod leash;
