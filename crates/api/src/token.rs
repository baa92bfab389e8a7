//! What a client has seen, and its place in the change events, as opaque text.
//!
//! Both may concern several groups, and each group counts for itself: so a number would not do. A
//! [`SessionToken`] has the last log entry of each group that the client has seen. An [`EventPosition`] has
//! the number of the next row of each group. Clients keep the text and send it back as it came; two of a kind
//! merge to the greater number of each group. A token is not signed: it grants no access and hides nothing.
//!
//! The text is the kind with its version (`s1` a session, `e1` a position), then in base64url without
//! padding: the number of groups, group and number of each in the order of the groups, and the two low bytes
//! of CRC-64/NVME over the kind and everything before them, little-endian. All numbers are varints: seven
//! bits a byte, the low ones first, with the high bit set in every byte but the last. A number of 0 is left
//! out. So a value has exactly one text, and every other text is refused.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bezant_types::{GroupId, LogIndex, MovementNumber};
use thiserror::Error;

/// The group of the ledger.
pub const LEDGER_GROUP: GroupId = GroupId(1);

/// The kind of a session's token, with the version of its encoding.
const SESSION: &str = "s1";
/// The kind of a position, with the version of its encoding.
const POSITION: &str = "e1";

/// Why a text is not a session's token or not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A number, in place of the token of a session.
    #[error("sessions are opaque since version 0.2: send the `Bezant-Session` of the last answer")]
    NumberOfSession,
    /// A number, in place of a position.
    #[error("positions are opaque since version 0.2: use the `position` of an event, or `start`")]
    NumberOfPosition,
    /// A position, in place of the token of a session.
    #[error("this is the position of an event: send the `Bezant-Session` of the last answer")]
    NotSession,
    /// The token of a session, in place of a position.
    #[error("this is the token of a session: use the `position` of an event, or `start`")]
    NotPosition,
    /// The text was changed or cut, or no server of this version made it.
    #[error("the text is damaged, or another version made it: send it exactly as it came")]
    Damaged,
}

/// The last log entry of each group that a client has seen.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SessionToken {
    /// The entries, by group; never 0.
    seen: BTreeMap<GroupId, LogIndex>,
}

impl SessionToken {
    /// The token of a client that has seen the log of one group up to `index`; 0 = nothing.
    pub fn of(group: GroupId, index: LogIndex) -> Self {
        Self { seen: (index.0 != 0).then_some((group, index)).into_iter().collect() }
    }

    /// True when nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The last entry of that group that was seen; 0 = none.
    pub fn seen(&self, group: GroupId) -> LogIndex {
        self.seen.get(&group).copied().unwrap_or_default()
    }

    /// Adds what another token has seen.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.seen, &other.seen);
    }
}

impl fmt::Display for SessionToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&encode(SESSION, self.seen.iter().map(|(group, index)| (*group, index.0))))
    }
}

impl FromStr for SessionToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if is_number(text) {
            return Err(TokenError::NumberOfSession);
        }
        if text.starts_with(POSITION) {
            return Err(TokenError::NotSession);
        }
        let numbers = decode(SESSION, text)?;
        Ok(Self { seen: numbers.into_iter().map(|(group, number)| (group, LogIndex(number))).collect() })
    }
}

/// A place in the change events: the number of the next row of each group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventPosition {
    /// The numbers, by group; never 0. A group that is missing begins with its first row.
    next: BTreeMap<GroupId, MovementNumber>,
}

impl EventPosition {
    /// The position before all events.
    pub const START: Self = Self { next: BTreeMap::new() };

    /// The position before row `next` of one group.
    pub fn of(group: GroupId, next: MovementNumber) -> Self {
        Self { next: (next.0 != 0).then_some((group, next)).into_iter().collect() }
    }

    /// The position after row `number` of one group.
    pub fn after(group: GroupId, number: MovementNumber) -> Self {
        Self::of(group, MovementNumber(number.0.saturating_add(1)))
    }

    /// The number of the next row of that group; 0 = its first row.
    pub fn next(&self, group: GroupId) -> MovementNumber {
        self.next.get(&group).copied().unwrap_or_default()
    }

    /// The groups of which at least one row is before this position.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.next.keys().copied()
    }

    /// Sets the place in one group to just after its row `number`; the places in the other groups stay.
    pub fn move_after(&mut self, group: GroupId, number: MovementNumber) {
        self.next.insert(group, MovementNumber(number.0.saturating_add(1)));
    }

    /// Takes the later place in each group.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.next, &other.next);
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&encode(POSITION, self.next.iter().map(|(group, number)| (*group, number.0))))
    }
}

impl FromStr for EventPosition {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if is_number(text) {
            return Err(TokenError::NumberOfPosition);
        }
        if text.starts_with(SESSION) {
            return Err(TokenError::NotPosition);
        }
        let numbers = decode(POSITION, text)?;
        Ok(Self { next: numbers.into_iter().map(|(group, next)| (group, MovementNumber(next))).collect() })
    }
}

/// Where a reader of change events begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsFrom {
    /// At a position. `start` is the position before all events.
    At(EventPosition),
    /// With the next new event: `now`.
    Now,
}

impl FromStr for EventsFrom {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text {
            "start" => Ok(Self::At(EventPosition::START)),
            "now" => Ok(Self::Now),
            text => text.parse().map(Self::At),
        }
    }
}

/// Takes the greater number of each group.
fn merge<Number: Copy + Ord + Default>(
    numbers: &mut BTreeMap<GroupId, Number>,
    others: &BTreeMap<GroupId, Number>,
) {
    for (group, number) in others {
        let known = numbers.entry(*group).or_default();
        *known = (*known).max(*number);
    }
}

/// True for digits alone: what version 0.1 used.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit())
}

fn encode(kind: &str, numbers: impl ExactSizeIterator<Item = (GroupId, u64)>) -> String {
    let mut bytes = Vec::new();
    put(&mut bytes, u64::try_from(numbers.len()).unwrap_or(u64::MAX));
    for (group, number) in numbers {
        put(&mut bytes, group.0.into());
        put(&mut bytes, number);
    }
    let sum = checksum(kind, &bytes);
    bytes.extend_from_slice(&sum);
    format!("{kind}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn decode(kind: &str, text: &str) -> Result<BTreeMap<GroupId, u64>, TokenError> {
    let text = text.strip_prefix(kind).ok_or(TokenError::Damaged)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged)?;
    let (mut rest, sum) = bytes.split_last_chunk::<2>().ok_or(TokenError::Damaged)?;
    if checksum(kind, rest) != *sum {
        return Err(TokenError::Damaged);
    }
    parse(&mut rest).filter(|_| rest.is_empty()).ok_or(TokenError::Damaged)
}

/// The numbers of all groups; `None` where they are not in the one form that `encode` gives them.
fn parse(rest: &mut &[u8]) -> Option<BTreeMap<GroupId, u64>> {
    let mut numbers = BTreeMap::new();
    for _ in 0..take(rest)? {
        let group = GroupId(u32::try_from(take(rest)?).ok()?);
        let number = take(rest).filter(|number| *number != 0)?;
        if numbers.last_key_value().is_some_and(|(last, _)| *last >= group) {
            return None;
        }
        numbers.insert(group, number);
    }
    Some(numbers)
}

/// The two low bytes of the checksum of a kind and its bytes.
fn checksum(kind: &str, bytes: &[u8]) -> [u8; 2] {
    let [low, second, ..] = bezant_codec::checksum(&[kind.as_bytes(), bytes].concat()).to_le_bytes();
    [low, second]
}

/// Appends a varint.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a varint from the front; `None` when it is cut off, too large, or longer than it has to be.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if (part << shift) >> shift != part {
            return None;
        }
        number |= part << shift;
        if first & 0x80 == 0 {
            return (*first != 0 || shift == 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(places: &[(u32, u64)]) -> EventPosition {
        let next = places.iter().map(|(group, next)| (GroupId(*group), MovementNumber(*next)));
        EventPosition { next: next.collect() }
    }

    fn session(seen: &[(u32, u64)]) -> SessionToken {
        let seen = seen.iter().map(|(group, index)| (GroupId(*group), LogIndex(*index)));
        SessionToken { seen: seen.collect() }
    }

    const SEVERAL: &[(u32, u64)] = &[(0, 1), (1, 127), (2, 128), (300, 1 << 35), (u32::MAX, u64::MAX)];

    #[test]
    fn tokens_of_several_groups_round_trip() {
        for places in [&[][..], &[(1, 1)], &[(1, u64::MAX)], SEVERAL] {
            let (position, session) = (position(places), session(places));
            assert_eq!(position.to_string().parse(), Ok(position.clone()), "{position}");
            assert_eq!(session.to_string().parse(), Ok(session.clone()), "{session}");
        }
        let several = position(SEVERAL);
        assert_eq!(several.next(GroupId(2)), MovementNumber(128));
        assert_eq!(
            several.next(GroupId(3)),
            MovementNumber(0),
            "a group that is missing begins at its start"
        );
        assert_eq!(several.groups().count(), 5);
        assert_eq!(session(SEVERAL).seen(GroupId(1)), LogIndex(127));
    }

    #[test]
    fn the_texts_never_change() {
        assert_eq!(EventPosition::START.to_string(), "e1AAqH");
        assert_eq!(EventPosition::after(LEDGER_GROUP, MovementNumber(41)).to_string(), "e1AQEqlyg");
        assert_eq!(SessionToken::of(LEDGER_GROUP, LogIndex(300)).to_string(), "s1AQGsAifY");
    }

    #[test]
    fn the_greater_number_of_each_group_is_kept() {
        let mut merged = position(&[(1, 5), (2, 9)]);
        merged.merge(&position(&[(1, 7), (2, 3), (4, 1)]));
        assert_eq!(merged, position(&[(1, 7), (2, 9), (4, 1)]));
        merged.move_after(GroupId(2), MovementNumber(9));
        assert_eq!(merged, position(&[(1, 7), (2, 10), (4, 1)]));
        let mut merged = SessionToken::default();
        assert!(merged.is_empty() && SessionToken::of(LEDGER_GROUP, LogIndex(0)).is_empty());
        merged.merge(&session(&[(3, 4)]));
        merged.merge(&session(&[(1, 2), (3, 1)]));
        assert_eq!(merged, session(&[(1, 2), (3, 4)]));
    }

    #[test]
    fn a_changed_letter_is_refused() {
        for text in [position(SEVERAL).to_string(), session(SEVERAL).to_string()] {
            for at in 2..text.len() {
                let mut letters = text.clone().into_bytes();
                letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(letters).unwrap();
                assert!(changed.parse::<EventPosition>().is_err(), "{changed}");
                assert!(changed.parse::<SessionToken>().is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_to_send() {
        let refused = |text: &str| (text.parse::<EventPosition>().err(), text.parse::<SessionToken>().err());
        let numbers = (Some(TokenError::NumberOfPosition), Some(TokenError::NumberOfSession));
        for number in ["0", "41", "18446744073709551616"] {
            assert_eq!(refused(number), numbers, "{number}");
        }
        let other = SessionToken::of(LEDGER_GROUP, LogIndex(7)).to_string();
        assert_eq!(other.parse::<EventPosition>(), Err(TokenError::NotPosition));
        let other = EventPosition::of(LEDGER_GROUP, MovementNumber(7)).to_string();
        assert_eq!(other.parse::<SessionToken>(), Err(TokenError::NotSession));
        let damaged = (Some(TokenError::Damaged), Some(TokenError::Damaged));
        for text in ["", "e", "x1AQE", "ü", "-1", "e2AQEqlyg", "s0"] {
            assert_eq!(refused(text), damaged, "{text}");
        }
        for text in ["e1", "e1AQEqlyg ", "e1AQEqlyg=", " e1AQEqlyg"] {
            assert_eq!(text.parse::<EventPosition>(), Err(TokenError::Damaged), "{text:?}");
        }
        let advice = TokenError::NumberOfPosition.to_string();
        assert!(advice.contains("use the `position` of an event, or `start`"), "{advice}");
    }

    #[test]
    fn a_value_has_one_text() {
        // Each of these says what another text says, or nothing: with a valid checksum it is refused all the
        // same.
        let with_sum = |bytes: &[u8]| {
            let whole = [bytes, &checksum(POSITION, bytes)].concat();
            format!("{POSITION}{}", URL_SAFE_NO_PAD.encode(whole))
        };
        assert_eq!(with_sum(&[1, 1, 5]).parse(), Ok(position(&[(1, 5)])));
        for bytes in [
            &[1, 1, 0][..],                                                         // a number of 0
            &[1, 1, 0x85, 0],                                                       // a longer varint
            &[2, 1, 5, 1, 6],                                                       // a group twice
            &[2, 2, 5, 1, 6],                                                       // another order
            &[1, 1, 5, 0],                                                          // more than the groups
            &[2, 1, 5],                                                             // fewer groups
            &[1, 1, 0x80],                         // a varint without its end
            &[1, 0x80, 0x80, 0x80, 0x80, 0x10, 5], // a group past 32 bits
            &[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], // a number past 64 bits
            &[1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], // a varint of 11 bytes
            &[],
        ] {
            assert_eq!(with_sum(bytes).parse::<EventPosition>(), Err(TokenError::Damaged), "{bytes:?}");
        }
    }

    #[test]
    fn a_reader_begins_at_a_position_or_now() {
        assert_eq!("start".parse(), Ok(EventsFrom::At(EventPosition::START)));
        assert_eq!("now".parse(), Ok(EventsFrom::Now));
        let position = position(&[(1, 42)]);
        assert_eq!(position.to_string().parse(), Ok(EventsFrom::At(position)));
        assert_eq!("41".parse::<EventsFrom>(), Err(TokenError::NumberOfPosition));
    }
}
