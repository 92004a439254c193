//! The parsers that the programs of systemd 219 share (src/shared): for words, numbers, sizes,
//! times, calendar events, socket addresses and unit names. Each function accepts exactly the
//! strings that systemd 219 accepts, including unusual ones.

pub(super) mod address;
pub(super) mod calendar;
pub(super) mod name;
pub(super) mod number;
pub(super) mod quantities;
pub(super) mod specifier;
pub(super) mod time;
pub(super) mod words;
