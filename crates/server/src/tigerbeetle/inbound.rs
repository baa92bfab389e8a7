//! Frames on their way in: a few bytes at a time into a small buffer, a large frame into memory of its own that
//! is used again.

use std::io;
use std::time::Duration;

use bezant_tigerbeetle::{FrameError, HEADER_SIZE, Header};
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::buffers::Buffer;
use super::{Door, PERMIT_SIZE};

/// What is read at once where nothing larger is expected.
const READ_SIZE: usize = 4 << 10;
/// Frames above this size get memory of their own.
const LARGE_SIZE: usize = 32 << 10;

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
    Large(Buffer, OwnedSemaphorePermit),
}

/// Keeps a large frame's place in the budget for as long as its bytes are used.
struct Held {
    buffer: Buffer,
    _permit: OwnedSemaphorePermit,
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

    /// The first `size` bytes of the body, with `head` in front of them where the end of the header was: nothing
    /// is copied but the head.
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
            FrameBytes::Large(mut buffer, permit) => {
                buffer.bytes[start..HEADER_SIZE].copy_from_slice(head);
                Bytes::from_owner(Held { buffer, _permit: permit }).slice(range)
            }
        }
    }
}

/// The reading side of a connection.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    buffer: BytesMut,
}

impl Inbound {
    /// The next frame.
    pub(super) async fn next(&mut self, stream: &mut TcpStream, door: &Door) -> Result<Frame, Closed> {
        let limits = &door.desk.limits;
        if self.buffer.is_empty() {
            self.read_first(stream, door).await?;
        }
        let header = within(limits.head_timeout, self.read_header(stream)).await?;
        if header.cluster != door.cluster {
            return Err(Closed::Cluster(header.cluster, door.cluster));
        }
        let size = HEADER_SIZE + header.body_size();
        let bytes = if size <= LARGE_SIZE {
            FrameBytes::Small(within(limits.body_timeout, self.read_small(stream, size)).await?)
        } else {
            within(limits.body_timeout, self.read_large(stream, size, door)).await?
        };
        let frame = Frame { header, bytes };
        header.check_body(frame.body())?;
        Ok(frame)
    }

    /// Waits for the first bytes of a frame, which may be long: clients ping every half a minute.
    async fn read_first(&mut self, stream: &mut TcpStream, door: &Door) -> Result<(), Closed> {
        let idle = door.desk.limits.frame_idle_timeout;
        let mut stopping = door.desk.stopping.subscribe();
        tokio::select! {
            biased;
            read = within(idle, self.read_more(stream, READ_SIZE)) => read,
            _ = stopping.wait_for(|stopping| *stopping) => Err(Closed::Stopping),
        }
    }

    async fn read_more(&mut self, stream: &mut TcpStream, room: usize) -> Result<(), Closed> {
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(room);
        }
        if stream.read_buf(&mut self.buffer).await? == 0 { Err(Closed::ByClient) } else { Ok(()) }
    }

    async fn read_header(&mut self, stream: &mut TcpStream) -> Result<Header, Closed> {
        loop {
            if let Some(bytes) = self.buffer.first_chunk() {
                return Ok(Header::read(bytes)?);
            }
            self.read_more(stream, READ_SIZE).await?;
        }
    }

    async fn read_small(&mut self, stream: &mut TcpStream, size: usize) -> Result<BytesMut, Closed> {
        self.buffer.reserve(size.saturating_sub(self.buffer.len()));
        while self.buffer.len() < size {
            self.read_more(stream, size).await?;
        }
        Ok(self.buffer.split_to(size))
    }

    async fn read_large(
        &mut self,
        stream: &mut TcpStream,
        size: usize,
        door: &Door,
    ) -> Result<FrameBytes, Closed> {
        let permits = u32::try_from(size.div_ceil(PERMIT_SIZE)).unwrap_or(u32::MAX);
        let permit = std::sync::Arc::clone(&door.frames).acquire_many_owned(permits).await;
        let permit = permit.map_err(|_| Closed::Stopping)?;
        let mut buffer = door.buffers.take();
        let begun = self.buffer.split_to(size.min(self.buffer.len()));
        buffer.bytes.put_slice(&begun);
        while buffer.bytes.len() < size {
            let rest = size - buffer.bytes.len();
            if stream.read_buf(&mut (&mut buffer.bytes).limit(rest)).await? == 0 {
                return Err(Closed::ByClient);
            }
        }
        Ok(FrameBytes::Large(buffer, permit))
    }
}

/// What the work gives, unless it takes too long.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Closed>>) -> Result<T, Closed> {
    timeout(limit, work).await.unwrap_or(Err(Closed::Late(limit)))
}
