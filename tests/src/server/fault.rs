//! The faults that the server can inject.

use std::time::Duration;

/// A way in which the server misbehaves. Several faults on the same path are combined as far as
/// possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answer with this status, such as 404, without the file.
    Status(u16),
    /// Answer with this status this many times, and then normally.
    StatusTimes(u16, u32),
    /// Close the connection after this many bytes of the body. The Content-Length announces the
    /// whole body.
    CutAfter(u64),
    /// Like [`Fault::CutAfter`], but only once.
    CutOnceAfter(u64),
    /// Flip all bits of the byte at this offset of the file.
    FlipByte(u64),
    /// Send the whole file with 200, and ignore a requested range.
    IgnoreRange,
    /// Pause for this long after this many bytes of the body, then continue.
    Stall(u64, Duration),
    /// Send at most this many bytes per second.
    Slow(u64),
    /// Announce this Content-Length instead of the body's length.
    ContentLength(u64),
    /// Redirect the client to a different URL with 302.
    Redirect(String),
    /// Send a different file of the folder to clients whose `User-Agent` starts with this text.
    Instead(String, String),
}

/// Returns the faults that apply to the next request. Decrements the faults' counts, and removes a
/// fault when its count reaches zero.
pub(super) fn faults_for_request(faults: &mut Vec<Fault>) -> Vec<Fault> {
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
    fn a_fault_with_a_count_ends_after_its_last_use() {
        let mut faults = vec![
            Fault::StatusTimes(500, 2),
            Fault::CutOnceAfter(7),
            Fault::IgnoreRange,
        ];
        assert_eq!(
            faults_for_request(&mut faults),
            [Fault::Status(500), Fault::CutAfter(7), Fault::IgnoreRange]
        );
        assert_eq!(
            faults_for_request(&mut faults),
            [Fault::Status(500), Fault::IgnoreRange]
        );
        assert_eq!(faults_for_request(&mut faults), [Fault::IgnoreRange]);
    }
}
