//! Reads frames: small ones into a small buffer of the connection, each large one into a separate, reused
//! buffer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bezant_tigerbeetle::{FrameError, HEADER_SIZE, Header};
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::Listener;
use super::buffers::Buffer;
use crate::place::Place;
use crate::share::{Budget, Share, Taken};
use crate::transport::Transport;

/// Bytes that are read at once where no larger frame is expected.
const READ_SIZE: usize = 4 << 10;
/// Frames above this size get a separate buffer, which has the size of the largest frame.
const LARGE_SIZE: usize = 256 << 10;
/// A whole body may take this many times as long as one of its pieces.
const BODY_TIMEOUT_FACTOR: u32 = 6;

/// Why a connection ends.
#[derive(Debug, Error)]
pub(super) enum Closed {
    #[error("the client has closed the connection")]
    ByClient,
    #[error("the connection broke off: {0}")]
    Broken(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a frame for cluster {0}: clients of this server use cluster {1}")]
    Cluster(u128, u128),
    #[error("nothing came within {0:?}")]
    Late(Duration),
    #[error("the server is stopping")]
    Stopping,
}

/// A whole frame whose checksums match.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    bytes: FrameBytes,
}

#[derive(Debug)]
enum FrameBytes {
    Small(BytesMut),
    Large(Buffer, Taken),
}

/// A large frame's buffer, with its place in the budget for as long as the bytes are used.
struct Held {
    buffer: Buffer,
    _place: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl Frame {
    /// The bytes after the header.
    pub(super) fn body(&self) -> &[u8] {
        let bytes = match &self.bytes {
            FrameBytes::Small(bytes) => bytes,
            FrameBytes::Large(buffer, _) => buffer.as_ref(),
        };
        bytes.get(HEADER_SIZE..).unwrap_or_default()
    }

    /// The first `size` bytes of the body, after `head`, which overwrites the end of the header: only the
    /// head is copied.
    ///
    /// # Panics
    /// When the body has fewer bytes, or the head has more than a header.
    pub(super) fn into_body_with_head(self, head: &[u8], size: usize) -> Bytes {
        let start = HEADER_SIZE - head.len();
        let range = start..HEADER_SIZE + size;
        match self.bytes {
            FrameBytes::Small(mut bytes) => {
                bytes[start..HEADER_SIZE].copy_from_slice(head);
                bytes.freeze().slice(range)
            }
            FrameBytes::Large(mut buffer, place) => {
                buffer.bytes[start..HEADER_SIZE].copy_from_slice(head);
                Bytes::from_owner(Held { buffer, _place: place }).slice(range)
            }
        }
    }
}

/// The reading side of a connection.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    buffer: BytesMut,
    /// False until the first bytes of the connection have come.
    has_read: bool,
}

impl Inbound {
    /// Reads the next frame.
    pub(super) async fn next(
        &mut self,
        stream: &mut impl Transport,
        listener: &Listener,
        place: &Place,
    ) -> Result<Frame, Closed> {
        let limits = &listener.service.limits;
        if self.buffer.is_empty() {
            self.read_first(stream, listener).await?;
        }
        place.usage.open.store(1, Relaxed);
        let header = within(limits.head_timeout, self.read_header(stream)).await?;
        if header.cluster != listener.cluster {
            return Err(Closed::Cluster(header.cluster, listener.cluster));
        }
        let size = HEADER_SIZE + header.body_size();
        let (piece_timeout, timeout) = (limits.body_timeout, limits.body_timeout * BODY_TIMEOUT_FACTOR);
        let bytes = if size <= LARGE_SIZE {
            FrameBytes::Small(within(timeout, self.read_small(stream, size, piece_timeout)).await?)
        } else {
            // The timeout does not include the wait for a place, which the client does not cause.
            let place = place_for_frame(listener, &place.share).await?;
            let buffer = listener.buffers.take();
            let buffer = within(timeout, self.read_large(stream, size, buffer, piece_timeout)).await?;
            FrameBytes::Large(buffer, place)
        };
        let frame = Frame { header, bytes };
        header.check_body(frame.body())?;
        Ok(frame)
    }

    /// Waits for the first bytes of a frame, which may come long after the frame before: clients ping every
    /// 30 seconds.
    async fn read_first(&mut self, stream: &mut impl Transport, listener: &Listener) -> Result<(), Closed> {
        let limits = &listener.service.limits;
        let idle = if self.has_read { limits.frame_idle_timeout } else { limits.head_timeout };
        let mut stopping = listener.service.stopping.subscribe();
        tokio::select! {
            biased;
            read = within(idle, self.read_more(stream, READ_SIZE)) => read?,
            _ = stopping.wait_for(|stopping| *stopping) => return Err(Closed::Stopping),
        }
        self.has_read = true;
        Ok(())
    }

    async fn read_more(&mut self, stream: &mut impl Transport, capacity: usize) -> Result<(), Closed> {
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(capacity);
        }
        if stream.read_buf(&mut self.buffer).await? == 0 { Err(Closed::ByClient) } else { Ok(()) }
    }

    async fn read_header(&mut self, stream: &mut impl Transport) -> Result<Header, Closed> {
        loop {
            if let Some(bytes) = self.buffer.first_chunk() {
                return Ok(Header::read(bytes)?);
            }
            self.read_more(stream, READ_SIZE).await?;
        }
    }

    async fn read_small(
        &mut self,
        stream: &mut impl Transport,
        size: usize,
        piece_timeout: Duration,
    ) -> Result<BytesMut, Closed> {
        self.buffer.reserve(size.saturating_sub(self.buffer.len()));
        while self.buffer.len() < size {
            within(piece_timeout, self.read_more(stream, size)).await?;
        }
        let frame = self.buffer.split_to(size);
        if size > READ_SIZE && self.buffer.is_empty() {
            // The memory stays with the frame: a client may be idle for long after it.
            self.buffer = BytesMut::new();
        }
        Ok(frame)
    }

    async fn read_large(
        &mut self,
        stream: &mut impl Transport,
        size: usize,
        mut buffer: Buffer,
        piece_timeout: Duration,
    ) -> Result<Buffer, Closed> {
        let begun = self.buffer.split_to(size.min(self.buffer.len()));
        buffer.bytes.put_slice(&begun);
        while buffer.bytes.len() < size {
            let rest = size - buffer.bytes.len();
            let mut space = (&mut buffer.bytes).limit(rest);
            let read = within(piece_timeout, async { Ok(stream.read_buf(&mut space).await?) }).await?;
            if read == 0 {
                return Err(Closed::ByClient);
            }
        }
        Ok(buffer)
    }
}

/// A place for a large frame; fails when the server stops first.
async fn place_for_frame(listener: &Listener, share: &Arc<Share>) -> Result<Taken, Closed> {
    let mut stopping = listener.service.stopping.subscribe();
    tokio::select! {
        place = share.wait_for(Budget::Frames, 1) => Ok(place),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Closed::Stopping),
    }
}

/// The result of `work`, or `Late` after the timeout.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Closed>>) -> Result<T, Closed> {
    timeout(limit, work).await.unwrap_or(Err(Closed::Late(limit)))
}
