//! The ledger's state as bytes: the same state gives the same bytes on every replica.
//!
//! All integers little-endian. The sections, in this order:
//!
//! | section | bytes | content |
//! |---|---|---|
//! | head | 128 | `BZLEDGER`, version u32 = 3, zero u32, time u64, newest movement's timestamp u64, greatest transfer id u128, movements u64, refusals u64, accounts u64, names u64, pending u64, assets u64, sessions u64, expiry paused u32 (0 or 1), zero 20 |
//! | accounts | 240 each | record 128, minimum i128, maximum i128, spends (sequence u64, head 32), receipts the same; in order of creation |
//! | names | 72 each | place of the account u64, name 64; in the order given |
//! | pending | 128 each | the record; in order of their timestamps |
//! | assets | 32 each | registered ones, as in the operation; in the order registered |
//! | sessions | 80 and the reply each | client u128, checksum u128, context u128, session u64, request u32, release u32, size of the reply u64, zero u64, the reply; least recently used first |
//!
//! In version 1 there are no sessions. In versions 1 and 2 no asset is registered for the ledger of a
//! built-in currency, and expiry is never paused. Otherwise their bytes are the same, and this program still
//! reads them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_codec::{
    DecodeError, Reader, account_from_bytes, account_to_bytes, transfer_from_bytes, transfer_to_bytes,
};
use bezant_rsm::{Context, RestoreError, Session, Sessions};
use bezant_types::limits::{NAME_SIZE_MAX, RECORD_SIZE};
use bezant_types::{
    Asset, Bounds, Chain, ClientId, Head, HistoryPosition, LedgerTotals, Nanos, SessionNumber, Transfer,
    TransferId, name_from_bytes,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::Ledger;
use crate::accounts::{AccountState, Accounts, Name};
use crate::assets::Assets;
use crate::pending::PendingTransfers;
use crate::query::totals;
use crate::rules::Rules;
use crate::window::Window;
use bezant_codec::{Event, Operation};

const MAGIC: &[u8; 8] = b"BZLEDGER";
const VERSION: u32 = 3;
/// Before a registered asset could replace a built-in one.
const VERSION_WITH_ALL_CURRENCIES: u32 = 2;
/// Before there were sessions.
const VERSION_WITHOUT_SESSIONS: u32 = 1;
const HEAD_SIZE: usize = 128;
const ACCOUNT_SIZE: usize = 240;
/// Size of a session without its reply.
const SESSION_SIZE: usize = 80;

/// The section that is written next.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The head, which was made when the cut began.
    Head(Vec<u8>, End),
    Accounts(End),
    Names(End),
    Pending(End),
    Assets(End),
    Sessions(End),
}

/// What the head says, and the last two sections, as they were when the cut began.
#[derive(Debug)]
pub(crate) struct End {
    /// Items of each section that are not yet written. The head has their numbers from when the cut began.
    accounts: usize,
    names: usize,
    pending: usize,
    assets: Vec<u8>,
    /// Least recently used first. Replies are shared, not copied.
    sessions: VecDeque<Session>,
}

impl Ledger {
    pub(crate) fn begin_cut(&mut self) {
        assert!(self.cut.is_none(), "a checkpoint is already in progress");
        assert!(self.scope.is_none(), "a checkpoint begins between two entries");
        let position = self.window.position();
        let mut head = Vec::with_capacity(HEAD_SIZE);
        head.put_slice(MAGIC);
        head.put_u32_le(VERSION);
        head.put_u32_le(0);
        head.put_u64_le(self.time.0);
        head.put_u64_le(self.last_movement_timestamp.0);
        head.put_u128_le(self.window.id_max().0);
        head.put_u64_le(position.movements);
        head.put_u64_le(position.refusals);
        head.put_u64_le(self.accounts.len() as u64);
        head.put_u64_le(self.accounts.names_len() as u64);
        head.put_u64_le(self.pending.len() as u64);
        head.put_u64_le(self.assets.registered().len() as u64);
        head.put_u64_le(self.sessions.len() as u64);
        head.put_u32_le(self.expiry_is_paused.into());
        head.put_bytes(0, HEAD_SIZE - head.len());
        let mut assets = BytesMut::new();
        self.assets.registered().iter().for_each(|asset| asset.write(&mut assets));
        let end = End {
            accounts: self.accounts.len(),
            names: self.accounts.names_len(),
            pending: self.pending.len(),
            assets: assets.into(),
            sessions: self.sessions.iter().cloned().collect(),
        };
        self.cut = Some(Cut::Head(head, end));
        self.accounts.begin_cut();
        self.pending.begin_cut();
    }

    pub(crate) fn poll_cut(&mut self, size: usize) -> Option<Vec<u8>> {
        let mut piece = Vec::with_capacity(size);
        let (next, piece) = match self.cut.take()? {
            Cut::Head(head, end) => (Some(Cut::Accounts(end)), head),
            Cut::Accounts(mut end) => {
                let count = size / ACCOUNT_SIZE + 1;
                let has_more = self.accounts.poll_states_cut(count, |state| {
                    end.accounts -= 1;
                    write_account(state, &mut piece);
                });
                assert!(
                    has_more || end.accounts == 0,
                    "the checkpoint has the accounts that its head counts"
                );
                (Some(if has_more { Cut::Accounts(end) } else { Cut::Names(end) }), piece)
            }
            Cut::Names(mut end) => {
                let count = size / NAME_SIZE_MAX + 1;
                let has_more = self.accounts.poll_names_cut(count, |name| {
                    end.names -= 1;
                    piece.put_u64_le(name.place as u64);
                    piece.put_slice(&name.bytes);
                });
                assert!(has_more || end.names == 0, "the checkpoint has the names that its head counts");
                (Some(if has_more { Cut::Names(end) } else { Cut::Pending(end) }), piece)
            }
            Cut::Pending(mut end) => {
                let count = size / RECORD_SIZE + 1;
                let has_more = self.pending.poll_cut(count, |transfer| {
                    end.pending -= 1;
                    piece.put_slice(&transfer_to_bytes(transfer));
                });
                assert!(
                    has_more || end.pending == 0,
                    "the checkpoint has the transfers that its head counts"
                );
                (Some(if has_more { Cut::Pending(end) } else { Cut::Assets(end) }), piece)
            }
            Cut::Assets(mut end) => {
                let assets = core::mem::take(&mut end.assets);
                (Some(Cut::Sessions(end)), assets)
            }
            Cut::Sessions(mut end) => {
                while piece.len() <= size
                    && let Some(session) = end.sessions.pop_front()
                {
                    write_session(&session, &mut piece);
                }
                ((!end.sessions.is_empty()).then_some(Cut::Sessions(end)), piece)
            }
        };
        self.cut = next;
        Some(piece)
    }

    pub(crate) fn from_checkpoint(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let reader = &mut Reader::new(checkpoint);
        let section = |section| move |_: DecodeError| RestoreError { section };
        let head = Heading::read(reader).map_err(section("head"))?;
        let accounts =
            read_all(reader, head.accounts, ACCOUNT_SIZE, read_account).map_err(section("accounts"))?;
        let places = accounts.len();
        let is_valid = head.has_times_of(&accounts) && is_balanced(&accounts);
        let accounts = is_valid.then(|| Accounts::restore(accounts)).flatten();
        let mut accounts = accounts.ok_or(RestoreError { section: "accounts" })?;
        let names = read_all(reader, head.names, 8 + NAME_SIZE_MAX, |reader| read_name(reader, places))
            .map_err(section("names"))?;
        accounts.restore_names(names).ok_or(RestoreError { section: "names" })?;
        let pending = read_all(reader, head.pending, RECORD_SIZE, |it| Ok(transfer_from_bytes(&it.array()?)))
            .map_err(section("pending"))?;
        let pending = PendingTransfers::restore(pending)
            .filter(|pending| head.has_time_of(pending) && are_reserved(pending, &mut accounts))
            .ok_or(RestoreError { section: "pending" })?;
        let assets =
            read_all(reader, head.assets, Operation::RegisterAssets.event_size(), Asset::from_reader)
                .map_err(section("assets"))?;
        let sessions =
            read_all(reader, head.sessions, SESSION_SIZE, read_session).map_err(section("sessions"))?;
        let sessions = Sessions::restore(sessions).ok_or(RestoreError { section: "sessions" })?;
        if !reader.is_empty() {
            return Err(RestoreError { section: "end" });
        }
        Ok(Self {
            accounts,
            pending,
            assets: Assets::new(assets),
            window: Window::new(head.position, head.id_max),
            last_movement_timestamp: head.last_movement_timestamp,
            sessions,
            expiry_is_paused: head.expiry_is_paused,
            time: head.time,
            scope: None,
            cut: None,
            rules: Rules::new(Rules::NEWEST),
        })
    }
}

struct Heading {
    time: Nanos,
    last_movement_timestamp: Nanos,
    id_max: TransferId,
    position: HistoryPosition,
    accounts: u64,
    names: u64,
    pending: u64,
    assets: u64,
    sessions: u64,
    expiry_is_paused: bool,
}

impl Heading {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.array()? != *MAGIC {
            return Err(DecodeError::Value);
        }
        let version = reader.u32()?;
        if !matches!(version, VERSION_WITHOUT_SESSIONS | VERSION_WITH_ALL_CURRENCIES | VERSION)
            || reader.u32()? != 0
        {
            return Err(DecodeError::Version);
        }
        let head = Self {
            time: Nanos(reader.u64()?),
            last_movement_timestamp: Nanos(reader.u64()?),
            id_max: TransferId(reader.u128()?),
            position: HistoryPosition { movements: reader.u64()?, refusals: reader.u64()? },
            accounts: reader.u64()?,
            names: reader.u64()?,
            pending: reader.u64()?,
            assets: reader.u64()?,
            sessions: reader.u64()?,
            expiry_is_paused: read_paused(reader)?,
        };
        if (version != VERSION && head.expiry_is_paused)
            || reader.array()? != [0; 20]
            || head.last_movement_timestamp > head.time
            || (version == VERSION_WITHOUT_SESSIONS && head.sessions != 0)
        {
            return Err(DecodeError::Reserved);
        }
        Ok(head)
    }

    /// True when no account is later than the entry of the checkpoint.
    fn has_times_of(&self, accounts: &[AccountState]) -> bool {
        accounts.last().is_none_or(|state| state.account.timestamp <= self.time)
    }

    /// True when no pending transfer is later than the newest movement.
    fn has_time_of(&self, pending: &PendingTransfers) -> bool {
        pending.iter().last().is_none_or(|transfer| transfer.timestamp <= self.last_movement_timestamp)
    }
}

/// True when debits equal credits in every ledger, posted and pending.
fn is_balanced(accounts: &[AccountState]) -> bool {
    totals(accounts).values().all(LedgerTotals::is_balanced)
}

/// True when the pending debits and credits of every account are those of its pending transfers. Takes each
/// transfer from its accounts, where nothing may be left, and gives it back: that needs no further memory.
fn are_reserved(pending: &PendingTransfers, accounts: &mut Accounts) -> bool {
    let places_of = |accounts: &Accounts, transfer: &Transfer| {
        Some((accounts.find(transfer.debit_account_id)?, accounts.find(transfer.credit_account_id)?))
    };
    for transfer in pending.iter() {
        let Some((debit, credit)) = places_of(accounts, transfer) else { return false };
        let debits = &mut accounts.change(debit).account.debits_pending;
        let Some(left) = debits.checked_sub(transfer.amount) else { return false };
        *debits = left;
        let credits = &mut accounts.change(credit).account.credits_pending;
        let Some(left) = credits.checked_sub(transfer.amount) else { return false };
        *credits = left;
    }
    let is_empty = |state: &AccountState| state.account.debits_pending | state.account.credits_pending == 0;
    let are_empty = accounts.all().iter().all(is_empty);
    for transfer in pending.iter() {
        let Some((debit, credit)) = places_of(accounts, transfer) else { return false };
        accounts.change(debit).account.debits_pending += transfer.amount;
        accounts.change(credit).account.credits_pending += transfer.amount;
    }
    are_empty
}

fn read_paused(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u32()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Value),
    }
}

/// Reads `count` items of `size` bytes, into an allocation of exactly that capacity.
fn read_all<T>(
    reader: &mut Reader<'_>,
    count: u64,
    size: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    // A count that is larger than the bytes allow must not allocate memory.
    let held = reader.rest().len() / size;
    let mut items = Vec::with_capacity(usize::try_from(count).map_or(held, |count| count.min(held)));
    for _ in 0..count {
        items.push(read(reader)?);
    }
    Ok(items)
}

fn write_account(state: &AccountState, piece: &mut Vec<u8>) {
    piece.put_slice(&account_to_bytes(&state.account));
    piece.put_i128_le(state.bounds.minimum);
    piece.put_i128_le(state.bounds.maximum);
    for chain in [state.spends, state.receipts] {
        piece.put_u64_le(chain.sequence);
        piece.put_slice(&chain.head.0);
    }
}

fn read_account(reader: &mut Reader<'_>) -> Result<AccountState, DecodeError> {
    let account = account_from_bytes(&reader.array()?);
    let bounds = Bounds { minimum: reader.i128()?, maximum: reader.i128()? };
    let mut chain = || -> Result<Chain, DecodeError> {
        Ok(Chain { sequence: reader.u64()?, head: Head(reader.array()?) })
    };
    let (spends, receipts) = (chain()?, chain()?);
    let state = AccountState { account, bounds, spends, receipts };
    let is_valid = bounds.minimum <= bounds.maximum && state.sums_fit();
    if is_valid { Ok(state) } else { Err(DecodeError::Value) }
}

fn write_session(session: &Session, piece: &mut Vec<u8>) {
    piece.put_u128_le(session.client.0);
    piece.put_u128_le(session.checksum);
    piece.put_u128_le(session.context.0);
    piece.put_u64_le(session.number.0);
    piece.put_u32_le(session.request);
    piece.put_u32_le(session.release);
    piece.put_u64_le(session.reply.len() as u64);
    piece.put_u64_le(0);
    piece.put_slice(&session.reply);
}

fn read_session(reader: &mut Reader<'_>) -> Result<Session, DecodeError> {
    let client = ClientId(reader.u128()?);
    let checksum = reader.u128()?;
    let context = Context(reader.u128()?);
    let number = SessionNumber(reader.u64()?);
    let (request, release) = (reader.u32()?, reader.u32()?);
    let size = usize::try_from(reader.u64()?).map_err(|_| DecodeError::Value)?;
    if reader.u64()? != 0 {
        return Err(DecodeError::Reserved);
    }
    let reply = Bytes::copy_from_slice(reader.take(size)?);
    Ok(Session { client, number, release, request, checksum, context, reply })
}

fn read_name(reader: &mut Reader<'_>, places: usize) -> Result<Name, DecodeError> {
    let place = usize::try_from(reader.u64()?).map_err(|_| DecodeError::Value)?;
    if place >= places {
        return Err(DecodeError::Value);
    }
    let bytes = reader.array()?;
    if name_from_bytes(&bytes).is_none_or(str::is_empty) {
        return Err(DecodeError::Value);
    }
    Ok(Name { place, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_into_an_allocation_of_their_number() {
        fn number(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
            reader.u64()
        }
        let bytes = [7; 48];
        let read = |count| read_all(&mut Reader::new(&bytes), count, 8, number);
        for count in [0, 1, 5, 6] {
            let items = read(count).unwrap();
            assert_eq!((items.len() as u64, items.capacity() as u64), (count, count));
        }
        assert!(read(7).is_err() && read(u64::MAX).is_err(), "more than there are bytes for");
        let large = read_all(&mut Reader::new(&bytes[..7]), u64::MAX, 1 << 60, number);
        assert!(large.is_err(), "no memory for items of which not even one fits");
    }
}
