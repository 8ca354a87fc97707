//! What users will try, and what they must get.

mod by_hand;
mod hosts;
mod mistakes;
mod scale;
