//! Flags of accounts and transfers by name, as on the command line: `history,linked`. Numbers are accepted
//! too.

use bezant_client::{AccountFlags, TransferFlags};

macro_rules! parser {
    ($(#[$doc:meta])* $function:ident, $flags:ident) => {
        $(#[$doc])*
        pub(crate) fn $function(text: &str) -> Result<$flags, String> {
            if text.trim().is_empty() {
                return Ok($flags::NONE);
            }
            if let (true, Ok(bits)) = (text.bytes().all(|letter| letter.is_ascii_digit()), text.parse()) {
                return Ok($flags(bits));
            }
            text.split([',', '|']).map(str::trim).try_fold($flags::NONE, |flags, name| {
                let flag = $flags::from_name(name).ok_or_else(|| {
                    let known: Vec<_> = $flags::NAMES.iter().map(|(_, name)| *name).collect();
                    format!("there is no flag {name:?}; the flags are {}", known.join(", "))
                })?;
                Ok(flags.union(flag))
            })
        }
    };
}

parser! {
    /// Reads the flags of an account.
    parse_account_flags, AccountFlags
}
parser! {
    /// Reads the flags of a transfer.
    parse_transfer_flags, TransferFlags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_names_or_a_number() {
        let both = AccountFlags::HISTORY.union(AccountFlags::LINKED);
        assert_eq!(parse_account_flags("history, linked"), Ok(both));
        assert_eq!(parse_account_flags("linked|history"), Ok(both));
        assert_eq!(parse_account_flags("9"), Ok(both));
        assert_eq!(parse_account_flags(""), Ok(AccountFlags::NONE));
        assert_eq!(parse_transfer_flags("pending"), Ok(TransferFlags::PENDING));
        for wrong in ["+2", "pending,", ",", "pending linked", "65536", "Pending"] {
            assert!(parse_transfer_flags(wrong).is_err(), "{wrong:?}");
        }
        let error = parse_account_flags("hidden").unwrap_err();
        assert!(error.contains("history"), "the error names the flags: {error}");
    }
}
