//! The lines of a script that create an event: their arguments, and the bytes of the event.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use bezant_ledger::{
    ChangeBounds, Event, ExtendedAccount, ExtendedTransfer, Operation, SetBounds, SetName, TaggedAccount,
    TaggedTransfer, name_to_bytes,
};
use bezant_types::{
    Account, AccountFlags, AccountId, Bounds, Head, LedgerNumber, Nanos, Transfer, TransferFlags, TransferId,
};
use bytes::{BufMut, Bytes, BytesMut};
use goldenscript::Argument;

type Parsed<T> = Result<T, Box<dyn Error>>;

/// The event of one line.
pub(super) struct Line {
    pub(super) operation: Operation,
    pub(super) label: String,
    pub(super) bytes: Bytes,
}

/// The `key=value` arguments of a line. Each is taken once, and a line with an argument left is an error.
pub(super) struct Arguments {
    rest: Vec<(String, String)>,
}

/// A number that may be written as `max` or `min`.
pub(super) trait Number: FromStr<Err: Display> + Copy {
    const MAX: Self;
    const MIN: Self;
}

macro_rules! numbers {
    ($($number:ident)+) => { $(impl Number for $number {
        const MAX: Self = $number::MAX;
        const MIN: Self = $number::MIN;
    })+ };
}
numbers! { u8 u16 u32 u64 u128 i128 }

impl Arguments {
    pub(super) fn new(command: &goldenscript::Command) -> Parsed<Self> {
        let mut rest = Vec::new();
        for argument in &command.args {
            if let Argument::KeyValue(key, value) = argument {
                rest.push((key.clone(), value.clone()));
            } else if !matches!(command.name.as_str(), "time" | "lookup" | "rules") {
                return Err(format!("not key=value: {argument}").into());
            }
        }
        Ok(Self { rest })
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.rest.iter().position(|(name, _)| name == key)?;
        Some(self.rest.remove(at).1)
    }

    pub(super) fn number<N: Number>(&mut self, key: &str, default: N) -> Parsed<N> {
        self.take(key).map_or(Ok(default), |text| parse(key, &text))
    }

    /// The number of `key`, which stays in the list; 0 when the key is missing.
    pub(super) fn peek(&self, key: &str) -> Parsed<u128> {
        self.rest.iter().find(|(name, _)| name == key).map_or(Ok(0), |(_, text)| parse(key, text))
    }

    /// Bits of the flags, by name or number, joined by `/`.
    fn flags(&mut self, bit: impl Fn(&str) -> Option<u16>) -> Parsed<u16> {
        let Some(text) = self.take("flags") else { return Ok(0) };
        text.split('/').try_fold(0, |bits, name| {
            let flag = bit(name).or_else(|| name.parse().ok());
            Ok(bits | flag.ok_or_else(|| format!("no flag {name}"))?)
        })
    }

    pub(super) fn finish(self) -> Parsed<()> {
        self.rest.first().map_or(Ok(()), |(key, _)| Err(format!("no argument {key}").into()))
    }
}

fn parse<N: Number>(key: &str, text: &str) -> Parsed<N> {
    match text {
        "max" => Ok(N::MAX),
        "min" => Ok(N::MIN),
        text => text.parse().map_err(|error| format!("{key}={text}: {error}").into()),
    }
}

fn name_bytes(text: &str) -> Parsed<[u8; 64]> {
    if text == "not-utf8" {
        let mut bytes = [0; 64];
        bytes[0] = 0xff;
        return Ok(bytes);
    }
    name_to_bytes(text).ok_or_else(|| "a name has more than 64 bytes".into())
}

fn take_bounds(arguments: &mut Arguments) -> Parsed<Bounds> {
    Ok(Bounds {
        minimum: arguments.number("minimum", i128::MIN)?,
        maximum: arguments.number("maximum", i128::MAX)?,
    })
}

pub(super) fn account(arguments: &mut Arguments) -> Parsed<Line> {
    let is_extended = arguments
        .rest
        .iter()
        .any(|(key, _)| ["name", "minimum", "maximum", "tagged"].contains(&key.as_str()));
    let flags = arguments.flags(|name| AccountFlags::from_name(name).map(|flag| flag.0))?;
    let account = Account {
        id: AccountId(arguments.number("id", 0)?),
        debits_pending: arguments.number("debits_pending", 0)?,
        debits_posted: arguments.number("debits_posted", 0)?,
        credits_pending: arguments.number("credits_pending", 0)?,
        credits_posted: arguments.number("credits_posted", 0)?,
        user_data_128: arguments.number("user_data_128", 0)?,
        user_data_64: arguments.number("user_data_64", 0)?,
        user_data_32: arguments.number("user_data_32", 0)?,
        reserved: arguments.number("reserved", 0)?,
        ledger: LedgerNumber(arguments.number("ledger", 1)?),
        code: arguments.number("code", 1)?,
        flags: AccountFlags(flags),
        timestamp: Nanos(arguments.number("timestamp", 0)?),
    };
    let label = format!("account {}", shown(account.id.0));
    if !is_extended {
        let bytes = Account::write_all(&[account]);
        return Ok(Line { operation: Operation::CreateAccounts, label, bytes });
    }
    let name = name_bytes(&arguments.take("name").unwrap_or_default())?;
    let is_tagged = arguments.number("tagged", 0_u8)? != 0;
    let extended = ExtendedAccount { account, bounds: take_bounds(arguments)?, name };
    if is_tagged {
        let bytes = TaggedAccount::write_all(&[TaggedAccount(extended)]);
        return Ok(Line { operation: Operation::CreateAccountsTagged, label, bytes });
    }
    let bytes = ExtendedAccount::write_all(&[extended]);
    Ok(Line { operation: Operation::CreateAccountsExtended, label, bytes })
}

/// `head` is the head of the debit account's spends, for `prev=head`.
pub(super) fn transfer(arguments: &mut Arguments, head: Option<Head>) -> Parsed<Line> {
    let flags = TransferFlags(arguments.flags(|name| TransferFlags::from_name(name).map(|flag| flag.0))?);
    let resolves = flags.intersects(TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING));
    let transfer = Transfer {
        id: TransferId(arguments.number("id", 0)?),
        debit_account_id: AccountId(arguments.number("debit", 0)?),
        credit_account_id: AccountId(arguments.number("credit", 0)?),
        amount: arguments.number("amount", 0)?,
        pending_id: TransferId(arguments.number("pending", 0)?),
        user_data_128: arguments.number("user_data_128", 0)?,
        user_data_64: arguments.number("user_data_64", 0)?,
        user_data_32: arguments.number("user_data_32", 0)?,
        timeout_seconds: arguments.number("timeout", 0)?,
        ledger: LedgerNumber(arguments.number("ledger", u32::from(!resolves))?),
        code: arguments.number("code", u16::from(!resolves))?,
        flags,
        timestamp: Nanos(arguments.number("timestamp", 0)?),
    };
    let label = format!("transfer {}", shown(transfer.id.0));
    let is_tagged = arguments.number("tagged", 0_u8)? != 0;
    let prev_hash = match arguments.take("prev").as_deref() {
        None if is_tagged => Head::NONE,
        None => {
            let bytes = Transfer::write_all(&[transfer]);
            return Ok(Line { operation: Operation::CreateTransfers, label, bytes });
        }
        Some("head") => head.ok_or("no debit account, so no head of spends")?,
        Some("stale") => Head([1; 32]),
        Some("none") => Head::NONE,
        Some(other) => return Err(format!("prev={other} is neither head, stale nor none").into()),
    };
    let extended = ExtendedTransfer { transfer, prev_hash };
    if is_tagged {
        let bytes = TaggedTransfer::write_all(&[TaggedTransfer(extended)]);
        return Ok(Line { operation: Operation::CreateTransfersTagged, label, bytes });
    }
    let bytes = ExtendedTransfer::write_all(&[extended]);
    Ok(Line { operation: Operation::CreateTransfersExtended, label, bytes })
}

pub(super) fn bounds(arguments: &mut Arguments) -> Parsed<Line> {
    let account_id = AccountId(arguments.number("id", 0)?);
    let bytes = SetBounds::write_all(&[SetBounds { account_id, bounds: take_bounds(arguments)? }]);
    Ok(Line { operation: Operation::SetBounds, label: format!("bounds {account_id}"), bytes })
}

pub(super) fn bound(arguments: &mut Arguments) -> Parsed<Line> {
    let account_id = AccountId(arguments.number("id", 0)?);
    let mut side = |key| -> Parsed<Option<i128>> {
        let is_named = arguments.rest.iter().any(|(name, _)| name == key);
        Ok(Some(arguments.number(key, 0)?).filter(|_| is_named))
    };
    let (minimum, maximum) = (side("minimum")?, side("maximum")?);
    let bytes = ChangeBounds::write_all(&[ChangeBounds { account_id, minimum, maximum }]);
    Ok(Line { operation: Operation::ChangeBounds, label: format!("bound {account_id}"), bytes })
}

pub(super) fn name(arguments: &mut Arguments) -> Parsed<Line> {
    let account_id = AccountId(arguments.number("id", 0)?);
    let name = name_bytes(&arguments.take("name").unwrap_or_default())?;
    let bytes = SetName::write_all(&[SetName { account_id, name }]);
    Ok(Line { operation: Operation::SetName, label: format!("name {account_id}"), bytes })
}

/// Encodes the event by hand, so that its code may be invalid.
pub(super) fn asset(arguments: &mut Arguments) -> Parsed<Line> {
    let ledger = arguments.number("ledger", 0_u32)?;
    let code = arguments.take("code").unwrap_or_default();
    let scale = arguments.number("scale", 0_u8)?;
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(ledger);
    bytes.put_u8(scale);
    bytes.put_bytes(0, 3);
    bytes.put_slice(code.as_bytes());
    bytes.put_bytes(0, 24_usize.checked_sub(code.len()).ok_or("a code of more than 16 bytes")?);
    let label = format!("asset {ledger} {code}");
    Ok(Line { operation: Operation::RegisterAssets, label, bytes: bytes.freeze() })
}

/// Encodes the event by hand, so that its first byte may be invalid.
pub(super) fn expiry(arguments: &mut Arguments) -> Parsed<Line> {
    let paused = arguments.number("paused", 0_u8)?;
    let mut bytes = BytesMut::new();
    bytes.put_u8(paused);
    bytes.put_bytes(0, 6);
    bytes.put_u8(arguments.number("reserved", 0_u8)?);
    bytes.put_u64_le(arguments.number("movements", 0_u64)?);
    let label = format!("expiry {}", if paused == 0 { "runs" } else { "paused" });
    Ok(Line { operation: Operation::SetExpiry, label, bytes: bytes.freeze() })
}

fn shown(id: u128) -> String {
    if id == u128::MAX { "max".to_owned() } else { id.to_string() }
}
