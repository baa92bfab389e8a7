//! Liveness: after the faults end, every client makes progress with its writes until the end of the run.

use crate::client::Client;

/// The least number of each client's writes that must be done within the bound.
const WRITES_MIN: usize = 5;

/// Checks the clients at the bound. The faults ended at `from`. Every client must have [`WRITES_MIN`] writes
/// done that it sent after `from`, and its last write must be done after `late`. Reads do not count: a node
/// that is cut off answers stale reads.
pub(crate) fn every_client_progresses(clients: &[Client], from: u64, late: u64) -> Result<(), String> {
    for (number, client) in (1..).zip(clients) {
        let count = client.written.iter().filter(|write| write.since >= from).count();
        if count < WRITES_MIN {
            return Err(format!("client {number} had {count} writes done since the faults ended"));
        }
        if client.written.last().is_none_or(|write| write.at < late) {
            return Err(format!(
                "client {number} had no write done in the second half of the time since the faults ended"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Written;

    /// The verdict on a client with writes that were sent and answered at those moments; faults end at 100,
    /// the second half begins at 200.
    fn verdict(writes: &[(u64, u64)]) -> Result<(), String> {
        let mut client = Client::new(0, 1);
        client.written = writes.iter().map(|(since, at)| Written { since: *since, at: *at }).collect();
        every_client_progresses(&[client], 100, 200)
    }

    #[test]
    fn a_write_counts_when_it_is_done() {
        let early: Vec<(u64, u64)> = (110..114).map(|since| (since, since + 5)).collect();
        let with = |last: (u64, u64)| [&early[..], &[last]].concat();
        assert_eq!(verdict(&with((150, 201))), Ok(()), "sent in the first half, done in the second");
        assert!(verdict(&with((150, 199))).is_err_and(|reason| reason.contains("second half")));
        assert!(verdict(&with((90, 201))).is_err_and(|reason| reason.contains("4 writes")));
        assert!(verdict(&[]).is_err());
    }
}
