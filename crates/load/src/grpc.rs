//! A minimal gRPC client for the fast path: it writes gRPC's framing itself, on one HTTP/2 connection.
//!
//! A benchmark on a small machine shares its processors with the server. The usual client stack costs as much
//! as the server's work on a single payment. This client costs less than half of that, and the server cannot
//! tell the two apart. Large requests are sent without copying their records.

use bezant_api::v1;
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, StatusCode, Uri, Version};
use prost::Message;
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::error::LoadError;

/// HTTP/2 window: large enough that a full request and its answer never wait for a window update.
pub(crate) const WINDOW_BYTES: u32 = 4 << 20;
/// The largest HTTP/2 frame that the server may send.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// The path of the call.
const PATH: &str = "/bezant.v1.Ledger/Submit";
/// Size of the prefix of a message on the wire: a byte for the compression, and four for the message size.
const PREFIX_SIZE: usize = 5;
/// Up to this size, records are copied into the buffer of their prefix, which is cheaper than a separate
/// frame.
const COPIED_SIZE_MAX: usize = 16 << 10;

/// An error of the connection, as one that allows a retry.
fn retryable(error: impl std::fmt::Display) -> LoadError {
    LoadError::Retryable(format!("no answer: {error}"))
}

/// One connection with one request in flight.
#[derive(Debug)]
pub(crate) struct Grpc {
    sender: SendRequest<Bytes>,
    uri: Uri,
    headers: HeaderMap,
}

impl Grpc {
    /// Connects once. Dropping the value closes the connection.
    pub(crate) async fn open(url: &str) -> Result<Self, LoadError> {
        let address = || url.to_owned();
        let uri = format!("{}{PATH}", url.trim_end_matches('/')).parse();
        let uri: Uri = uri.map_err(|error: http::uri::InvalidUri| LoadError::Address {
            address: address(),
            source: error.into(),
        })?;
        if uri.scheme_str() != Some("http") {
            return Err(LoadError::Scheme { address: address() });
        }
        let authority = uri.authority().ok_or(LoadError::NoHost)?;
        let port = authority.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((authority.host(), port)).await;
        let stream =
            stream.map_err(|error| LoadError::Unreachable { address: address(), source: error.into() })?;
        stream.set_nodelay(true).map_err(LoadError::SetUp)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(LoadError::NoHttp2)?;
        // When the connection ends, the next call fails.
        tokio::spawn(async move { drop(connection.await) });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        Ok(Self { sender, uri, headers })
    }

    /// The results of a request, 16 bytes per event.
    pub(crate) async fn submit(
        &mut self,
        operation: v1::Operation,
        records: Bytes,
    ) -> Result<Bytes, LoadError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();

        let mut sender = self.sender.clone().ready().await.map_err(retryable)?;
        let (response, mut body) = sender.send_request(request, false).map_err(retryable)?;
        for (chunk, is_last) in message(operation, records) {
            body.send_data(chunk, is_last).map_err(retryable)?;
        }
        let response = response.await.map_err(retryable)?;
        if response.status() != StatusCode::OK {
            return Err(LoadError::HttpStatus(response.status()));
        }
        check_status(response.headers(), false)?;
        let message = read(response.into_body()).await?;
        Ok(v1::SubmitReply::decode(message).map_err(LoadError::Unreadable)?.results)
    }
}

/// The bytes of a request in one or two chunks, each with a flag that is true for the last chunk.
fn message(operation: v1::Operation, records: Bytes) -> impl Iterator<Item = (Bytes, bool)> {
    let head = v1::SubmitRequest { operation: operation.into(), records: Bytes::new() };
    let head_size = head.encoded_len();
    let field_size = 1 + prost::length_delimiter_len(records.len());
    let size = head_size + field_size + records.len();
    let is_copied = records.len() <= COPIED_SIZE_MAX;
    let copied_size = if is_copied { records.len() } else { 0 };

    let mut bytes = BytesMut::with_capacity(PREFIX_SIZE + head_size + field_size + copied_size);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    head.encode_raw(&mut bytes);
    // The field `records`: number 2, delimited by its length.
    bytes.put_u8(2 << 3 | 2);
    prost::encode_length_delimiter(records.len(), &mut bytes).expect("invariant: BytesMut grows");
    let rest = if is_copied {
        bytes.put_slice(&records);
        None
    } else {
        Some((records, true))
    };
    std::iter::once((bytes.freeze(), is_copied)).chain(rest)
}

/// The message of an answer; an error unless its status is 0.
async fn read(mut body: RecvStream) -> Result<Bytes, LoadError> {
    let mut whole = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(retryable)?;
        body.flow_control().release_capacity(chunk.len()).map_err(retryable)?;
        whole = if whole.is_empty() { chunk } else { Bytes::from([&whole[..], &chunk[..]].concat()) };
    }
    let trailers = body.trailers().await.map_err(retryable)?.unwrap_or_default();
    check_status(&trailers, true)?;
    if whole.first() != Some(&0) || whole.len() < PREFIX_SIZE {
        return Err(LoadError::NotPlain);
    }
    Ok(whole.slice(PREFIX_SIZE..))
}

/// An error unless the status is 0. The status is required in the trailers (`is_end`), optional in the
/// headers.
fn check_status(headers: &HeaderMap, is_end: bool) -> Result<(), LoadError> {
    match headers.get("grpc-status").map(HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        None if !is_end => Ok(()),
        None => Err(LoadError::NoStatus),
        Some(_) => {
            let status = Status::from_header_map(headers).ok_or(LoadError::NoStatus)?;
            let (code, message) = (i32::from(status.code()), status.message());
            let is_retryable = matches!(
                status.code(),
                Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted
            );
            Err(if is_retryable {
                LoadError::Retryable(format!("status {code}: {message}"))
            } else {
                LoadError::Status { code, message: message.to_owned() }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_equal_those_of_the_usual_client() {
        for size in [0, 128, COPIED_SIZE_MAX, COPIED_SIZE_MAX + 128, 8189 * 128] {
            let records = Bytes::from(vec![7; size]);
            let chunks: Vec<_> = message(v1::Operation::CreateTransfers, records.clone()).collect();
            assert_eq!(chunks.iter().position(|(_, is_last)| *is_last), Some(chunks.len() - 1));
            let bytes = chunks.into_iter().flat_map(|(chunk, _)| chunk).collect::<Bytes>();
            let (prefix, body) = bytes.split_at(PREFIX_SIZE);
            let body_size = u32::try_from(body.len()).unwrap().to_be_bytes();
            assert_eq!(prefix, [&[0][..], &body_size[..]].concat());
            let request = v1::SubmitRequest::decode(body).unwrap();
            assert_eq!(request.operation(), v1::Operation::CreateTransfers);
            assert_eq!(request.records, records);
        }
    }

    #[test]
    fn a_bad_status_is_an_error_with_its_message() {
        let mut headers = HeaderMap::new();
        check_status(&headers, false).unwrap();
        check_status(&headers, true).unwrap_err();
        headers.insert("grpc-status", HeaderValue::from_static("3"));
        headers.insert("grpc-message", HeaderValue::from_static("too%20much"));
        assert_eq!(check_status(&headers, false).unwrap_err().to_string(), "status 3: too much");
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        assert!(check_status(&headers, false).unwrap_err().is_retryable());
    }
}
