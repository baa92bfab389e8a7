//! The handshake of a connection: both sides identify themselves, and prove that they have the cluster's
//! token.
//!
//! The dialer sends its [`Hello`]. The acceptor answers with its own `Hello` and a proof. The dialer sends
//! its proof, and the acceptor accepts the connection. The token is never sent: a proof is SHA-256 over the
//! token's digest, the side that proves, and everything that both sides have sent. Every refusal contains
//! what to change.
//!
//! | message | content |
//! |---|---|
//! | 1 hello, 2 welcome | [`Hello`]; its fields byte by byte are in `docs/formats/peers.md` |
//! | 3 confirm | proof 32 bytes |
//! | 4 accepted | the acceptor's incarnation, 32 bytes |
//! | 5 refused | UTF-8 text |
//! | 6 wait | nothing: the admission is under way, and needs no operator |

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bezant_consensus::{EngineKind, Members};
use bezant_types::{LogIndex, Nanos, NodeId};
use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::frame;
use super::incarnation::Incarnation;
use crate::clock::{Clock, Reading};
use crate::draw::draw;
use crate::group::directory::Claim;

/// The version of the protocol between nodes; nodes of different versions refuse each other.
const VERSION: u16 = 4;
/// The largest message of the handshake in bytes: the longest list of members, and space for the rest.
const MESSAGE_SIZE_MAX: usize = 8 << 10;

/// Sent in place of the entry that added the node, by a node that wants to join.
const JOINS: u64 = u64::MAX;
/// A slower exchange gives no exact reading of the peer's clock.
const EXCHANGE_MAX: Duration = Duration::from_millis(100);
/// Sent in place of the receiver's number, when any node may answer.
pub(super) const ANY_NODE: NodeId = NodeId(0);

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const CONFIRM: u8 = 3;
const ACCEPTED: u8 = 4;
const REFUSED: u8 = 5;
const WAIT: u8 = 6;

/// Why a handshake failed.
#[derive(Debug, Error)]
pub(super) enum HandshakeError {
    /// Refused, with what an operator should change.
    #[error("{0}")]
    Refused(String),
    /// A node that asks for admission is not a member yet.
    #[error("it has asked for admission, and is not a member yet")]
    NotYet,
    /// The connection broke, or the peer is too slow.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a node sends of itself in the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) token: [u8; 32],
    pub(crate) node: NodeId,
    pub(crate) disk: u128,
    pub(crate) is_fresh: bool,
    /// The entry that added it, as stored in its folder; `None` when it wants to join.
    pub(crate) since: Option<LogIndex>,
    /// Its engine; `None` when it wants to join with the engine of the others.
    pub(crate) engine: Option<EngineKind>,
    /// Its list of members. When it wants to join, the list is empty, or holds itself with its address when
    /// it asks for admission.
    pub(crate) members: Members,
    /// The incarnation of its process; `None` when it wants to join.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) clock: Clock,
}

/// The identity of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) node: NodeId,
    pub(super) disk: u128,
    pub(super) is_fresh: bool,
    /// The reading of its clock.
    pub(super) clock: Reading,
    /// The entry that added it: see [`Claim`].
    pub(super) since: Option<LogIndex>,
    /// Its engine.
    pub(super) engine: Option<EngineKind>,
    /// Its list of members.
    pub(super) members: Members,
    /// The incarnation of its process; `None` when it sent none.
    pub(super) incarnation: Option<Incarnation>,
}

impl Met {
    /// The identity that it claims.
    pub(super) const fn claim(&self) -> Claim {
        Claim { node: self.node, disk: self.disk, since: self.since }
    }

    /// The address of a node that asks for admission; `None` for other nodes.
    pub(super) fn asks_at(&self) -> Option<&str> {
        let own = self.members.nodes.iter().find(|member| member.node == self.node)?;
        (!self.is_member()).then_some(&own.address)
    }

    /// False for a node that wants to join.
    pub(super) const fn is_member(&self) -> bool {
        self.since.is_some()
    }
}

/// What each side sends of itself.
#[derive(Clone, Debug)]
struct Hello {
    node: NodeId,
    to: NodeId,
    disk: u128,
    is_fresh: bool,
    since: Option<LogIndex>,
    engine: Option<EngineKind>,
    wall: u64,
    random: [u8; 16],
    members: Members,
    /// The proof. A hello has nothing to prove yet, and contains the incarnation here.
    proof: [u8; 32],
}

impl Hello {
    fn new(own: &Own, to: NodeId) -> Self {
        let random = u128::from(draw()) << 64 | u128::from(draw());
        Self {
            node: own.node,
            to,
            disk: own.disk,
            is_fresh: own.is_fresh,
            since: own.since,
            engine: own.engine,
            wall: own.clock.now().wall.0,
            random: random.to_le_bytes(),
            members: own.members.clone(),
            proof: [0; 32],
        }
    }

    /// Everything except the proof.
    fn content(&self) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(512);
        bytes.put_u16_le(VERSION);
        bytes.put_u64_le(self.node.0);
        bytes.put_u64_le(self.to.0);
        bytes.put_u128_le(self.disk);
        bytes.put_u8(u8::from(self.is_fresh));
        bytes.put_u64_le(self.since.map_or(JOINS, |since| since.0));
        bytes.put_u8(self.engine.map_or(0, |engine| engine as u8));
        bytes.put_u64_le(self.wall);
        bytes.put_slice(&self.random);
        bytes.put_slice(&self.members.encode());
        bytes
    }

    fn encode(&self, kind: u8) -> Bytes {
        let mut bytes = BytesMut::with_capacity(512);
        bytes.put_u8(kind);
        bytes.put_slice(&self.content());
        bytes.put_slice(&self.proof);
        bytes.freeze()
    }

    /// The version comes first, so that another version is reported as such.
    fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let mut reader = bezant_codec::Reader::new(bytes);
        let broken = |_| refused(OTHER_PROTOCOL);
        let version = u16::from_le_bytes(reader.array().map_err(broken)?);
        if version != VERSION {
            return Err(refused(&format!(
                "the peer has version {version} of the protocol between nodes, and this node version \
                 {VERSION}: run the same version on both"
            )));
        }
        let node = NodeId(reader.u64().map_err(broken)?);
        let to = NodeId(reader.u64().map_err(broken)?);
        let disk = u128::from_le_bytes(reader.array().map_err(broken)?);
        let is_fresh = reader.array::<1>().map_err(broken)? != [0];
        let since = reader.u64().map_err(broken)?;
        let since = (since != JOINS).then_some(LogIndex(since));
        let [code] = reader.array::<1>().map_err(broken)?;
        let engine = EngineKind::from_code(code);
        if engine.is_none() && code != 0 {
            return Err(refused(OTHER_PROTOCOL));
        }
        let wall = reader.u64().map_err(broken)?;
        let random = reader.array().map_err(broken)?;
        let mut rest = reader.rest();
        let members = Members::decode(&mut rest).ok_or_else(|| refused(OTHER_PROTOCOL))?;
        let proof = rest.try_into().map_err(|_| refused(OTHER_PROTOCOL))?;
        Ok(Self { node, to, disk, is_fresh, since, engine, wall, random, members, proof })
    }

    /// Makes a [`Met`] of this. The peer read its clock at most `exchange` ago; the dialer knows that time,
    /// the acceptor does not.
    fn met(&self, exchange: Option<Duration>) -> Met {
        let passed = exchange.unwrap_or_default() / 2;
        let wall = self.wall.saturating_add(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX));
        let is_exact = exchange.is_some_and(|exchange| exchange <= EXCHANGE_MAX);
        Met {
            node: self.node,
            disk: self.disk,
            is_fresh: self.is_fresh,
            clock: Reading { wall: Nanos(wall), at: Instant::now(), is_exact },
            since: self.since,
            engine: self.engine,
            members: self.members.clone(),
            incarnation: None,
        }
    }
}

/// Proves that a side has the token, and that both have received the same.
fn proof(token: &[u8; 32], side: u8, dialer: &Hello, acceptor: &Hello) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(token);
    hash.update([side]);
    for content in [dialer.content(), acceptor.content()] {
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

/// All nodes of a cluster have the same engine, and begin with the same list of nodes. Later the newer list
/// counts.
fn check_cluster(own: &Own, peer: &Hello) -> Result<(), HandshakeError> {
    if let (Some(ours), Some(theirs)) = (own.engine, peer.engine)
        && ours != theirs
    {
        return Err(refused(&format!(
            "two nodes have different engines, {theirs} and {ours}: all nodes of a cluster have the \
             same engine, for good; start the new node on an empty folder with the engine of the others; see \"Why a node is \
             refused\" in docs/operations.md"
        )));
    }
    let zero = LogIndex(0);
    let numbers = |members: &Members| members.nodes.iter().map(|member| member.node).collect::<Vec<_>>();
    let (ours, theirs) = (numbers(&own.members), numbers(&peer.members));
    let are_members = own.since.is_some() && peer.since.is_some();
    let both_begin = are_members && own.members.index == zero && peer.members.index == zero;
    let differs = both_begin && !ours.is_empty() && !theirs.is_empty() && ours != theirs;
    if differs { Err(refused(OTHER_NODES)) } else { Ok(()) }
}

/// Compares in constant time.
fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

fn refused(text: &str) -> HandshakeError {
    HandshakeError::Refused(text.to_owned())
}

const OTHER_NODES: &str =
    "the peer has another list of nodes: give all nodes the same numbers, or two leaders could be elected";
const OTHER_PROTOCOL: &str = "the peer does not use the protocol between nodes";
const WRONG_TOKEN: &str = "the peer has another cluster token: give all nodes of a cluster the same";

/// The dialer's side: returns the node that answered at the address of node `to`; 0 for any node.
pub(super) fn dial(
    stream: &mut (impl Read + Write),
    own: &Own,
    to: NodeId,
    admit: impl FnOnce(&Met) -> Result<(), HandshakeError>,
) -> Result<Met, HandshakeError> {
    let begun = Instant::now();
    let mut hello = Hello::new(own, to);
    hello.proof = own.incarnation.map_or([0; 32], Incarnation::encode);
    frame::write_all(stream, &[hello.encode(HELLO)])?;
    let welcome = Hello::decode(&receive(stream, WELCOME)?)?;
    let met = welcome.met(Some(begun.elapsed()));
    if !is_equal(&welcome.proof, &proof(&own.token, WELCOME, &hello, &welcome)) {
        return Err(refused(WRONG_TOKEN));
    }
    check_cluster(own, &welcome)?;
    if to != ANY_NODE && welcome.node != to {
        return Err(refused(&format!(
            "it is node {}, and not node {to}: check the list of nodes",
            welcome.node
        )));
    }
    admit(&met)?;
    let mut confirm = BytesMut::with_capacity(33);
    confirm.put_u8(CONFIRM);
    confirm.put_slice(&proof(&own.token, CONFIRM, &hello, &welcome));
    frame::write_all(stream, &[confirm.freeze()])?;
    let incarnation = Incarnation::decode(&receive(stream, ACCEPTED)?);
    Ok(Met { incarnation, ..met })
}

/// The acceptor's side: returns the node that dialed. `admit` decides last, after the dialer has proved that
/// it has the token.
pub(super) fn accept(
    stream: &mut (impl Read + Write),
    own: &Own,
    admit: impl FnOnce(&Met) -> Result<(), HandshakeError>,
) -> Result<Met, HandshakeError> {
    let result = try_accept(stream, own, admit);
    match &result {
        Err(HandshakeError::Refused(text)) => {
            let mut bytes = BytesMut::with_capacity(1 + text.len());
            bytes.put_u8(REFUSED);
            bytes.put_slice(text.as_bytes());
            bytes.truncate(MESSAGE_SIZE_MAX);
            frame::write_all(stream, &[bytes.freeze()])?;
        }
        Err(HandshakeError::NotYet) => frame::write_all(stream, &[Bytes::from_static(&[WAIT])])?,
        Ok(_) | Err(HandshakeError::Io(_)) => {}
    }
    result
}

fn try_accept(
    stream: &mut (impl Read + Write),
    own: &Own,
    admit: impl FnOnce(&Met) -> Result<(), HandshakeError>,
) -> Result<Met, HandshakeError> {
    let hello = Hello::decode(&receive(stream, HELLO)?)?;
    if ![own.node, ANY_NODE].contains(&hello.to) {
        return Err(refused(&format!(
            "this is node {}, and node {} was dialed: check the list of nodes",
            own.node, hello.to
        )));
    }
    let mut welcome = Hello::new(own, hello.node);
    welcome.proof = proof(&own.token, WELCOME, &hello, &welcome);
    frame::write_all(stream, &[welcome.encode(WELCOME)])?;
    let confirm = receive(stream, CONFIRM)?;
    let expected = proof(&own.token, CONFIRM, &hello, &welcome);
    if !confirm.first_chunk().is_some_and(|proof| is_equal(proof, &expected)) {
        return Err(refused(WRONG_TOKEN));
    }
    check_cluster(own, &hello)?;
    // The age of the dialer's reading is not known here; this node dials that node, too.
    let met = Met { incarnation: Incarnation::decode(&hello.proof), ..hello.met(None) };
    admit(&met)?;
    let mut accepted = BytesMut::with_capacity(33);
    accepted.put_u8(ACCEPTED);
    if let Some(incarnation) = own.incarnation {
        accepted.put_slice(&incarnation.encode());
    }
    frame::write_all(stream, &[accepted.freeze()])?;
    Ok(met)
}

/// The content of the next message, which must be of that kind.
fn receive(stream: &mut impl Read, kind: u8) -> Result<Bytes, HandshakeError> {
    let mut message = frame::read(stream, MESSAGE_SIZE_MAX)?;
    match message.first() {
        Some(found) if *found == kind => Ok(message.split_off(1)),
        Some(&REFUSED) => Err(HandshakeError::Refused(String::from_utf8_lossy(&message[1..]).into_owned())),
        Some(&WAIT) => Err(HandshakeError::NotYet),
        _ => Err(refused(OTHER_PROTOCOL)),
    }
}
