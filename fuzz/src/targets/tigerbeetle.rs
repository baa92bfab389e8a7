//! TigerBeetle's protocol: the bytes that the server's listener receives, and those that a client receives
//! from a server. Frames with a wrong checksum get a valid one, so that the parsers after the check run too.

use bezant_tigerbeetle::operation::Operation;
use bezant_tigerbeetle::{
    Client, Eviction, HEADER_SIZE, Header, Ping, Pong, Release, Reply, Request, change_filter_from_bytes,
    checksum,
};
use bezant_types::{ClientId, LogIndex, Nanos, SessionNumber};

use super::Target;

pub(super) const FRAMES: Target = Target {
    name: "tigerbeetle-frames",
    about: "frames of TigerBeetle's protocol, at the server and at a client",
    seeds: frame_seeds,
    run: run_frame,
};

pub(super) const BODIES: Target = Target {
    name: "tigerbeetle-bodies",
    about: "bodies of its requests, in batches",
    seeds: body_seeds,
    run: run_body,
};

fn request() -> Request {
    Request {
        client: ClientId(1),
        session: SessionNumber(2),
        number: 3,
        operation: Operation::CreateTransfers as u8,
        parent: 4,
        checksum: 0,
        release: Release::OWN,
        view: 0,
    }
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let reply = Reply {
        request_checksum: 0,
        context: 1,
        client: ClientId(1),
        index: LogIndex(2),
        time: Nanos(3),
        number: 0,
        operation: Operation::Register as u8,
        release: Release::OWN,
        view: 1,
    };
    let mut client = Client::new(ClientId(1), 0, Release::OWN);
    let ping = Ping { client: ClientId(1), time: 2, session: SessionNumber(0) };
    let eviction =
        Eviction { client: ClientId(1), reason: bezant_tigerbeetle::message::Reason::NoSession, view: 1 };
    vec![
        [&request().to_bytes(0, &[7; 64])[..], &[7; 64]].concat(),
        client.register(),
        ping.to_bytes(0, Release::OWN).to_vec(),
        Pong { time: 1, view: 2 }.to_bytes(0).to_vec(),
        reply.to_bytes(0, &[]).to_vec(),
        eviction.to_bytes(0).to_vec(),
    ]
}

fn run_frame(input: &[u8]) {
    let Some((header, body)) = input.split_first_chunk::<HEADER_SIZE>() else { return };
    drop(Header::read(header).map_err(|error| error.to_string()));
    read_sealed(&seal(*header, body), body);
    let mut client = Client::new(ClientId(1), 0, Release::OWN);
    let register = client.register();
    drop(client.receive(header, body).map_err(|error| error.to_string()));
    // A malicious server knows the checksum of the client's request.
    let mut answer = *header;
    answer[128..144].copy_from_slice(&register[..16]);
    drop(client.receive(&seal(answer, body), body).map_err(|error| error.to_string()));
}

/// The header with matching checksums and size.
fn seal(mut header: [u8; HEADER_SIZE], body: &[u8]) -> [u8; HEADER_SIZE] {
    let size = u32::try_from(HEADER_SIZE + body.len()).expect("invariant: inputs are small");
    header[32..48].copy_from_slice(&checksum(body).to_le_bytes());
    header[96..100].copy_from_slice(&size.to_le_bytes());
    let sum = checksum(&header[16..]).to_le_bytes();
    header[..16].copy_from_slice(&sum);
    header
}

/// Decoding and encoding a message gives the same bytes.
fn read_sealed(bytes: &[u8; HEADER_SIZE], body: &[u8]) {
    let header = Header::read(bytes).expect("the header has a valid checksum");
    header.check_body(body).expect("the body has a valid checksum");
    assert_eq!(header.body_size(), body.len(), "the header has the size of the body");
    if let Some(request) = Request::read(&header) {
        let mut again = request.to_bytes(header.cluster, body);
        // The field for the latency of the last request is not decoded.
        again[200..204].copy_from_slice(&bytes[200..204]);
        again[115] = header.replica;
        assert_eq!(&again[16..], &bytes[16..], "a request round-trips");
        assert_eq!(request.checksum, header.checksum, "a request has the checksum of its header");
    }
    if let Some(ping) = Ping::read(&header) {
        assert!(ping.client.0 != 0, "a ping has a client");
    }
    if let Some(reply) = Reply::read(&header) {
        assert!(reply.index.0 != 0 && reply.time.0 != 0, "a reply has an index and a time");
    }
    if let Some(pong) = Pong::read(&header) {
        assert_eq!(pong.view, header.view, "a pong has the view");
    }
    if let Some(eviction) = Eviction::read(&header) {
        assert_eq!(eviction.reason as u8, bytes[255], "an eviction has a reason");
    }
}

fn body_seeds() -> Vec<Vec<u8>> {
    let body = |operation: Operation, sizes: &[usize]| {
        let size = operation.event_size();
        let mut body = vec![0; sizes.iter().sum::<usize>() * size];
        bezant_codec::put_trailer(&mut body, sizes, size);
        [vec![operation as u8], body].concat()
    };
    vec![
        body(Operation::CreateTransfers, &[2, 1]),
        body(Operation::CreateAccounts, &[0]),
        body(Operation::LookupAccounts, &[3, 0, 2]),
        body(Operation::GetAccountTransfers, &[1, 1]),
        body(Operation::QueryTransfers, &[1]),
        [vec![Operation::GetChangeEvents as u8], vec![0; 64]].concat(),
    ]
}

fn run_body(input: &[u8]) {
    let Some((number, body)) = input.split_first() else { return };
    if let Some(filter) = body.first_chunk() {
        let limit = change_filter_from_bytes(filter).map(|filter| filter.limit.to_le_bytes());
        assert!(limit.is_none_or(|limit| limit == filter[16..20]), "a filter has its limit");
    }
    let Some(operation) = Operation::from_number(*number) else { return };
    let Ok(batches) = operation.batches(body) else { return };
    let (size, records) = (operation.event_size(), batches.records());
    assert_eq!(batches.payload().len(), records * size, "batches hold whole records");
    assert_eq!(batches.iter().map(<[u8]>::len).sum::<usize>(), records * size, "batches hold all records");
    assert_eq!(batches.iter().count(), batches.count(), "the iterator returns every batch");
    let mut again = batches.payload().to_vec();
    bezant_codec::put_trailer(&mut again, &batches.sizes().collect::<Vec<_>>(), size);
    assert_eq!(again, body, "a body has one encoding");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_can_be_decoded() {
        assert_eq!(frame_seeds().iter().filter(|seed| seed.len() > HEADER_SIZE).count(), 2);
        for seed in body_seeds() {
            run_body(&seed);
        }
    }
}
