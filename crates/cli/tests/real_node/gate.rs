//! A proxy between the program and a node. It disturbs the call with which an import pauses expiry, or the
//! calls after it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::node::Node;

/// A frame of headers, with which a call begins.
pub(crate) const HEADERS: u8 = 1;
const DATA: u8 = 0;
/// The head of a frame: size in 3 bytes, type in 1, and more.
const HEAD_SIZE: usize = 9;
/// The offset of the operation in a call `Submit`: after the frame's head, 5 bytes of gRPC, and the field's
/// number.
const OPERATION_AT: usize = HEAD_SIZE + 6;
/// The beginning of a pause there: operation 14, 16 bytes of records, of which the first is 1.
const PAUSE: [u8; 4] = [14, 0x12, 16, 1];
/// The number of no operation.
const UNKNOWN: u8 = 99;

/// The fault that the gate injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The call with this number after the pause never arrives, and its connection stays open. The call after
    /// the pause has number 1.
    Hold(usize),
    /// The connection of the call with this number breaks, and no other connection is accepted.
    Cut(usize),
    /// The operation that pauses expiry is unknown to the server, as in version 0.1.
    IsOld,
}

/// The proxy to which the program connects in place of the node.
pub(crate) struct Gate {
    /// Its address, as `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// True once a call was held.
    is_held: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn start(node: &Node, trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let is_held = Arc::new(AtomicBool::new(false));
        let passage = Passage { trouble, is_held: Arc::clone(&is_held), later_calls: Arc::default() };
        let server = node.url.trim_start_matches("http://").to_owned();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if passage.is_cut() {
                    continue;
                }
                let server = TcpStream::connect(&server).expect("the node runs");
                let [from, to] = [&server, &client].map(|stream| stream.try_clone().expect("a socket"));
                let passage = passage.clone();
                std::thread::spawn(move || passage.pass_calls(client, server));
                std::thread::spawn(move || std::io::copy(&mut { from }, &mut { to }));
            }
        });
        Self { url, is_held }
    }

    pub(crate) fn has_held(&self) -> bool {
        self.is_held.load(SeqCst)
    }
}

/// The state that the connections of one gate share.
#[derive(Clone)]
struct Passage {
    trouble: Trouble,
    is_held: Arc<AtomicBool>,
    /// The count of calls from the pause on, which counts as 1; 0 = it has not come.
    later_calls: Arc<AtomicUsize>,
}

impl Passage {
    /// True once no connection is accepted any more.
    fn is_cut(&self) -> bool {
        matches!(self.trouble, Trouble::Cut(last) if self.later_calls.load(SeqCst) > last)
    }

    fn pass_calls(&self, mut client: TcpStream, mut server: TcpStream) {
        if !pass_preface(&mut client, &mut server) {
            return;
        }
        while let Some(mut frame) = next_frame(&mut client) {
            if frame[3] == HEADERS && self.later_calls.load(SeqCst) > 0 {
                let later = self.later_calls.fetch_add(1, SeqCst);
                match self.trouble {
                    Trouble::Hold(call) if later >= call => {
                        self.is_held.store(true, SeqCst);
                        // Everything else that the program sends is dropped, until the program ends.
                        while next_frame(&mut client).is_some() {}
                        return;
                    }
                    Trouble::Cut(call) if later >= call => {
                        // This ends the thread that reads answers, too. The sockets may be closed already.
                        drop(client.shutdown(Shutdown::Both));
                        drop(server.shutdown(Shutdown::Both));
                        return;
                    }
                    _ => {}
                }
            }
            let is_pause = frame.get(OPERATION_AT..).is_some_and(|rest| rest.starts_with(&PAUSE));
            if frame[3] == DATA && is_pause {
                self.later_calls.store(1, SeqCst);
                if self.trouble == Trouble::IsOld {
                    frame[OPERATION_AT] = UNKNOWN;
                }
            }
            if server.write_all(&frame).is_err() {
                return;
            }
        }
    }
}

/// The 24 bytes with which HTTP/2 begins; false when there is no more to pass on.
pub(crate) fn pass_preface(client: &mut TcpStream, server: &mut TcpStream) -> bool {
    let mut preface = [0; 24];
    client.read_exact(&mut preface).and_then(|()| server.write_all(&preface)).is_ok()
}

/// The next frame of HTTP/2, with its head; `None` at the end.
pub(crate) fn next_frame(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEAD_SIZE];
    client.read_exact(&mut frame).ok()?;
    let size = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
    frame.resize(HEAD_SIZE + usize::try_from(size).expect("24 bits"), 0);
    client.read_exact(&mut frame[HEAD_SIZE..]).ok()?;
    Some(frame)
}
