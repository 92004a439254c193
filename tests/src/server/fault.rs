//! What the server can be told to do wrong.

use std::time::Duration;

/// One way to misbehave. Several on one path add up, as far as they can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answer with this status and no file, such as 404.
    Status(u16),
    /// Answer with this status so many times, and well afterwards.
    StatusTimes(u16, u32),
    /// Close the connection after so many bytes of the body; the Content-Length promised them all.
    CutAfter(u64),
    /// As [`Fault::CutAfter`], once.
    CutOnceAfter(u64),
    /// Flip all bits of the byte at this offset of the file.
    FlipByte(u64),
    /// Send the whole file with 200, whatever range was asked for.
    IgnoreRange,
    /// Fall silent for so long after so many bytes of the body, then go on.
    Stall(u64, Duration),
    /// Send no more than so many bytes a second.
    Slow(u64),
    /// Say this Content-Length, whatever the body's length is.
    ContentLength(u64),
    /// Send the client elsewhere with 302.
    Redirect(String),
    /// Send clients whose `User-Agent` begins so another file of the folder.
    Instead(String, String),
}

/// The faults that the next request suffers. Those with a count are counted down, and gone at the
/// end.
pub(super) fn due(faults: &mut Vec<Fault>) -> Vec<Fault> {
    let now = faults
        .iter()
        .map(|fault| match fault {
            Fault::StatusTimes(status, _) => Fault::Status(*status),
            Fault::CutOnceAfter(bytes) => Fault::CutAfter(*bytes),
            other => other.clone(),
        })
        .collect();
    faults.retain_mut(|fault| match fault {
        Fault::StatusTimes(_, times) => {
            *times = times.saturating_sub(1);
            *times > 0
        }
        Fault::CutOnceAfter(_) => false,
        _ => true,
    });
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_fault_ends_by_itself() {
        let mut faults = vec![
            Fault::StatusTimes(500, 2),
            Fault::CutOnceAfter(7),
            Fault::IgnoreRange,
        ];
        assert_eq!(
            due(&mut faults),
            [Fault::Status(500), Fault::CutAfter(7), Fault::IgnoreRange]
        );
        assert_eq!(due(&mut faults), [Fault::Status(500), Fault::IgnoreRange]);
        assert_eq!(due(&mut faults), [Fault::IgnoreRange]);
    }
}
