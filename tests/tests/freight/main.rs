//! Attachments and streams, between real processes.

mod attachments;
mod losses;
mod streams;
