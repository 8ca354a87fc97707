//! Every fault case, hit at an exact byte or mark by workers that speak the wire themselves; what a real library
//! worker can show is shown with one as well.

mod deaths;
mod descriptors;
mod hosts;
mod peers;
mod pools;
mod progress;
mod replies;
mod requests;
mod starts;
