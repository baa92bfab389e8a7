//! The fast path of gRPC: `Submit` without tonic.
//!
//! gRPC frames one message as five bytes (zero, then its size) and the message. `Submit` is called tens of
//! thousands of times a second with one record each, and hundreds of times with 1 MiB. Here the records are a
//! slice of the bytes that came from the socket, and a small answer is one small allocation. An unusual body
//! (a compressed message, more than one message) is refused with a status, as tonic would refuse it.

use bezant_api::{ErrorCode, Failure, v1};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use prost::Message;

use super::write;
use crate::answer::ANSWER_COST;
use crate::body::{Inbound, Outbound, collect};
use crate::connection::OpenRequest;
use crate::context::RequestContext;
use crate::failure::to_status;
use crate::metrics::{Api, Call};
use crate::service::Service;

/// The path of the call.
pub(crate) const PATH: &str = "/bezant.v1.Ledger/Submit";
/// Bytes before a message: a flag for compression, and the size in big-endian.
const PREFIX_SIZE: usize = 5;

/// Answers a call of `Submit`.
pub(crate) async fn submit(
    service: &Service,
    context: &RequestContext,
    body: Inbound,
    open: OpenRequest,
) -> Response<Outbound> {
    let work = async {
        let request = decode(collect(body).await?)?;
        let reply = write::submit(service, request, context).await?;
        context.budget.raise(reply.results.len().saturating_mul(2).saturating_sub(ANSWER_COST));
        Ok(reply)
    };
    match service.observe(Api::Grpc, Call::Submit, work).await {
        Ok(reply) => {
            let mut response = Response::new(Outbound::unary(encode(&reply), trailers(), open));
            let content_type = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
        Err(failure) => to_status(failure).into_http().map(|body| Outbound::grpc(body, open)),
    }
}

/// Decodes the only message of a body.
fn decode(mut body: Bytes) -> Result<v1::SubmitRequest, Failure> {
    let invalid = |what: &str| Failure::new(ErrorCode::InvalidMessage, what);
    if body.len() < PREFIX_SIZE {
        return Err(invalid("the body is no gRPC message: it is too short"));
    }
    if body.get_u8() != 0 {
        return Err(invalid("the message is compressed: send it as it is"));
    }
    let size = usize::try_from(body.get_u32()).unwrap_or(usize::MAX);
    if size != body.len() {
        return Err(invalid("the body is not exactly one gRPC message"));
    }
    v1::SubmitRequest::decode(body)
        .map_err(|error| invalid(&format!("the message is no SubmitRequest: {error}")))
}

/// Encodes one message with its gRPC prefix.
fn encode(reply: &v1::SubmitReply) -> Bytes {
    let size = reply.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_SIZE + size);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(size).expect("invariant: results are limited"));
    reply.encode(&mut bytes).expect("invariant: the buffer grows");
    bytes.freeze()
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        bytes
    }

    #[test]
    fn records_are_a_slice_of_the_body() {
        let request = v1::SubmitRequest { operation: 2, records: Bytes::from(vec![7; 128]) };
        let body = Bytes::from(framed(&request.encode_to_vec()));
        let read = decode(body.clone()).unwrap();
        assert_eq!(read, request);
        assert!(body.as_ptr_range().contains(&read.records.as_ptr()), "nothing was copied");
    }

    #[test]
    fn a_body_that_is_not_one_plain_message_is_refused() {
        let message = v1::SubmitRequest { operation: 2, records: Bytes::from_static(b"x") }.encode_to_vec();
        let whole = framed(&message);
        let mut compressed = whole.clone();
        compressed[0] = 1;
        let twice = [whole.clone(), whole.clone()].concat();
        let wrong = framed(b"\xff\xff\xff");
        for body in [&b""[..], &whole[..4], &whole[..whole.len() - 1], &compressed, &twice, &wrong] {
            let failure = decode(Bytes::copy_from_slice(body)).unwrap_err();
            assert_eq!(failure.code, ErrorCode::InvalidMessage, "{body:?}");
        }
    }

    /// Every call moves its future to the heap.
    #[test]
    fn the_future_of_a_call_is_small() {
        fn size_of_work<A, B, C, D, Work>(_: fn(A, B, C, D) -> Work) -> usize {
            size_of::<Work>()
        }
        let size = size_of_work(submit);
        assert!(size < 2048, "{size} bytes");
    }

    #[test]
    fn an_answer_is_one_message() {
        let reply = v1::SubmitReply { log_index: 1, timestamp: 2, results: Bytes::from(vec![3; 16]) };
        assert_eq!(encode(&reply), framed(&reply.encode_to_vec()));
    }
}
