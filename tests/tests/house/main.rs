//! The house rules that no compiler holds: what may be written where, and that the documents tell the truth.

mod documents;
mod features;
mod purity;
mod source;
