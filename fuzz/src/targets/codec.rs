//! Records, movements and filters of fixed size: decoding and encoding must give the same bytes.

use bezant_codec as codec;
use bezant_types::limits::RECORD_SIZE;

use super::Target;

pub(super) const TARGET: Target =
    Target { name: "codec", about: "records, movements and filters of fixed size", seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0; RECORD_SIZE], vec![0; codec::MOVEMENT_SIZE], vec![0; 64], vec![1; 3 * RECORD_SIZE]]
}

fn run(input: &[u8]) {
    if let Ok(records) = codec::records::<RECORD_SIZE>(input) {
        for record in records {
            assert_eq!(&codec::account_to_bytes(&codec::account_from_bytes(record)), record, "accounts");
            assert_eq!(&codec::transfer_to_bytes(&codec::transfer_from_bytes(record)), record, "transfers");
        }
    }
    if let Some(Ok(movement)) = input.first_chunk().map(codec::movement_from_bytes) {
        assert_eq!(Some(&codec::movement_to_bytes(&movement)), input.first_chunk(), "movements");
    }
    if let Some(Ok(filter)) = input.first_chunk().map(codec::account_filter_from_bytes) {
        assert_eq!(Some(&codec::account_filter_to_bytes(&filter)), input.first_chunk(), "account filters");
    }
    if let Some(Ok(filter)) = input.first_chunk().map(codec::query_filter_from_bytes) {
        assert_eq!(Some(&codec::query_filter_to_bytes(&filter)), input.first_chunk(), "query filters");
    }
}
