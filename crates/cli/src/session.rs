//! The session of one command with a server: the connection, the assets, and accounts by id or by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bezant_api::token::TokenError;
use bezant_client::ids::IdGenerator;
use bezant_client::{AccountId, AccountView, Client, ClientBuilder, LedgerNumber, Reads, SessionToken};
use bezant_daemon::is_address;
use tokio::sync::OnceCell;

use crate::exit::Failure;
use crate::money::{Assets, Unit};
use crate::output::{self, Format};
use crate::pending_change::Changes;

/// The default address of a server.
pub(crate) const SERVER_DEFAULT: &str = "http://127.0.0.1:7070";

/// The options of all commands: the server, the timeout, how fresh reads must be, and the format of answers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// Address of the server, or of several nodes of a cluster, separated by commas: the first that answers
    /// is used
    #[arg(
        long,
        help = "Server, or several of a cluster: URL,URL [default: http://127.0.0.1:7070]",
        env = "BEZANT_SERVER",
        value_name = "URL",
        value_parser = parse_servers,
        global = true,
        help_heading = "Connection"
    )]
    pub(crate) server: Option<String>,
    /// True when the command line names the server; the environment does not count.
    #[arg(skip)]
    pub(crate) is_server_named: bool,
    /// How long to try before giving up: 500ms, 10s, 2m [default: 10s]
    #[arg(
        long,
        env = "BEZANT_TIMEOUT",
        value_name = "TIME",
        value_parser = parse_duration,
        global = true,
        help_heading = "Connection"
    )]
    timeout: Option<Duration>,
    /// How fresh answers must be [default: linearizable; with --session: session]
    #[arg(long, env = "BEZANT_READ", global = true, value_enum, help_heading = "Connection")]
    pub(crate) read: Option<ReadArg>,
    /// File that carries a session from command to command: it holds what any of these commands has shown or
    /// made
    #[arg(
        long,
        env = "BEZANT_SESSION",
        value_name = "FILE",
        global = true,
        help = "File that carries a session from command to command; without it a session is one command",
        help_heading = "Connection"
    )]
    pub(crate) session: Option<PathBuf>,
    /// How to print answers
    #[arg(short, long, default_value = "table", global = true, value_enum, help_heading = "Output")]
    pub(crate) output: Format,
}

/// The default of `--timeout`: the time after which a command gives up.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

impl Global {
    /// The time after which a command gives up.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT_DEFAULT)
    }

    /// The same, only if the command line or the environment gives it.
    pub(crate) const fn timeout_asked(&self) -> Option<Duration> {
        self.timeout
    }
}

/// How fresh answers must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReadArg {
    /// Answers include every write that was acknowledged before
    Linearizable,
    /// Any node answers; answers include everything that this session has read or written before
    Session,
    /// Any node answers with its state; stderr shows how old that may be
    Stale,
}

/// The age of the oldest answer to a stale read, as JSON.
#[derive(Debug, serde::Serialize)]
struct Age {
    age_ms: u64,
}

/// A connection to a server, and the assets read from it.
#[derive(Debug)]
pub(crate) struct Session {
    /// The client of the server.
    pub(crate) client: Client,
    /// The format of answers.
    pub(crate) output: Format,
    /// The time after which a command gives up.
    pub(crate) timeout: Duration,
    /// Draws ids for accounts and transfers that are given without one.
    pub(crate) ids: IdGenerator,
    /// The changes that the command makes, for messages about their outcome.
    pub(crate) changes: Arc<Changes>,
    assets: OnceCell<Assets>,
    file: Option<PathBuf>,
}

impl Session {
    /// Connects to the server.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        let client = Self::builder(global)?.connect().await?;
        let file = global.session.clone();
        Ok(Self {
            client,
            output: global.output,
            timeout: global.timeout(),
            ids: IdGenerator::new(),
            changes: Arc::default(),
            assets: OnceCell::new(),
            file,
        })
    }

    /// The settings of a connection.
    pub(crate) fn builder(global: &Global) -> Result<ClientBuilder, Failure> {
        let server = global.server.as_deref().unwrap_or(SERVER_DEFAULT);
        let addresses = addresses(server);
        let share = u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut builder = addresses
            .into_iter()
            .fold(Client::builder(), ClientBuilder::address)
            .reads(match global.read {
                None if global.session.is_some() => Reads::Session,
                None | Some(ReadArg::Linearizable) => Reads::Linearizable,
                Some(ReadArg::Session) => Reads::Session,
                Some(ReadArg::Stale) => Reads::Stale,
            })
            .deadline(global.timeout())
            .connect_timeout(global.timeout() / share);
        // With several addresses the client limits each attempt: one that does not answer must not use up the
        // time.
        if share == 1 {
            builder = builder.attempt_timeout(global.timeout());
        }
        if let Some(file) = &global.session {
            builder = builder.seen(read_session(file)?);
        }
        Ok(builder)
    }

    /// Called after the command, also after a failure: reports the age of stale reads, and saves the session.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        if let Some(age) = self.client.take_age() {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            output::note(&match self.output {
                Format::Table => format!("a stale read: what it shows may be {age_ms} ms old"),
                Format::Json => serde_json::to_string(&Age { age_ms }).map_err(anyhow::Error::from)?,
            });
        }
        let Some(file) = &self.file else { return Ok(()) };
        // Another command may have seen more meanwhile.
        let mut seen = read_session(file)?;
        seen.merge(&self.client.seen());
        // A concurrent reader of the file finds the old session or the new one.
        let fresh = file.with_added_extension(format!("{}.new", std::process::id()));
        let written =
            std::fs::write(&fresh, format!("{seen}\n")).and_then(|()| std::fs::rename(&fresh, file));
        written.map_err(|error| Failure::Usage(format!("the session {}: {error}", file.display())))
    }

    /// The assets of the server, read once.
    pub(crate) async fn assets(&self) -> Result<&Assets, Failure> {
        self.assets.get_or_try_init(|| async { Ok(Assets::new(self.client.assets().await?)) }).await
    }

    /// The unit of the ledger's amounts.
    pub(crate) async fn unit(&self, ledger: LedgerNumber) -> Result<Unit, Failure> {
        Ok(self.assets().await?.unit(ledger))
    }

    /// The account with the id or name `text`: digits are an id, everything else is a name.
    pub(crate) async fn account(&self, text: &str) -> Result<AccountView, Failure> {
        let found = match parse_account_id(text)? {
            Some(id) => self.client.lookup_accounts(&[id]).await?,
            None => self.client.lookup_accounts_by_name(&[text]).await?,
        };
        found.into_iter().next().ok_or_else(|| Failure::NotFound(format!("there is no account {text}")))
    }
}

/// What a session has seen; nothing for a new session.
fn read_session(file: &Path) -> Result<SessionToken, Failure> {
    let wrong = |what: String| Failure::Usage(format!("the session {}: {what}", file.display()));
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map_err(|error| {
            wrong(match error {
                TokenError::NumberOfSession => {
                    "it is of version 0.1, which kept a number: delete it to begin a new session".to_owned()
                }
                _ => "it is no file of a session".to_owned(),
            })
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SessionToken::default()),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The addresses in a list separated by commas.
pub(crate) fn addresses(list: &str) -> Vec<String> {
    let with_scheme = |server: &str| {
        if server.contains("://") { server.to_owned() } else { format!("http://{server}") }
    };
    list.split(',').map(str::trim).filter(|server| !server.is_empty()).map(with_scheme).collect()
}

/// Checks a list of servers before any request is sent: each must be an address.
fn parse_servers(list: &str) -> Result<String, String> {
    for server in list.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        if server.contains("://") || is_address(server) {
            continue;
        }
        return Err(if server.bytes().all(|letter| letter.is_ascii_digit()) {
            format!("{server} is a port without a host: write 127.0.0.1:{server}")
        } else if server.contains(':') {
            format!("{server} is no address: write it as HOST:PORT")
        } else {
            format!("{server} has no port: write {server}:7070")
        });
    }
    if addresses(list).is_empty() {
        return Err("it names no server: write HOST:PORT".to_owned());
    }
    Ok(list.to_owned())
}

/// Parses `text` as an account id; `None` = it is a name.
pub(crate) fn parse_account_id(text: &str) -> Result<Option<AccountId>, Failure> {
    if text.is_empty() {
        return Err(Failure::Usage("an account has no empty name: give its id or its name".to_owned()));
    }
    if !text.bytes().all(|letter| letter.is_ascii_digit()) {
        return Ok(None);
    }
    parse_u128(text)
        .map(|id| Some(AccountId(id)))
        .map_err(|what| Failure::Usage(format!("the id {text}: {what}")))
}

/// Parses an id or a key of 128 bits; the error names the range.
pub(crate) fn parse_u128(text: &str) -> Result<u128, String> {
    let is_digits = text.bytes().all(|letter| letter.is_ascii_digit());
    let integer = text.parse().ok().filter(|_| is_digits);
    integer.ok_or_else(|| format!("it is no integer from 0 to {}", u128::MAX))
}

/// Parses `500ms`, `10s`, `2m`, `1h`, `7d`; a bare number is seconds. The length is not 0.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let millis = parse_millis(text).filter(|millis| *millis > 0);
    let wrong = || format!("{text:?} is no length of time: write it as 500ms, 10s, 2m, 1h or 7d");
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

/// Parses a length of whole seconds that fits in 32 bits: `90`, `15m`, `1h`, `7d`; 0 = none.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no length of whole seconds: write it as 90, 15m, 1h or 7d");
    let millis = parse_millis(text).filter(|millis| millis % 1_000 == 0).ok_or_else(wrong)?;
    u32::try_from(millis / 1_000)
        .map_err(|_| format!("{text:?} is longer than {} seconds, the longest there is", u32::MAX))
}

/// Milliseconds of a number and its unit.
fn parse_millis(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("session");
        assert!(read_session(&file).unwrap().is_empty(), "a new session has no file yet");
        let seen = SessionToken::of(bezant_client::GroupId(1), bezant_types::LogIndex(300));
        std::fs::write(&file, format!("{seen}\n")).unwrap();
        assert_eq!(read_session(&file).unwrap(), seen);
        for (text, advice) in
            [("300\n", "of version 0.1, which kept a number: delete it"), ("x", "no file of a session")]
        {
            std::fs::write(&file, text).unwrap();
            let failure = read_session(&file).unwrap_err();
            assert!(failure.number() == 2 && failure.to_string().contains(advice), "{failure}");
        }
    }

    #[test]
    fn digits_are_ids_and_other_texts_are_names() {
        assert_eq!(parse_account_id("42").unwrap(), Some(AccountId(42)));
        assert_eq!(parse_account_id("users:42").unwrap(), None);
        assert!(parse_account_id(&"9".repeat(40)).is_err(), "past 128 bits");
        assert!(parse_account_id("").is_err());
        assert!(parse_u128("+7").is_err(), "an id has no sign");
    }

    #[test]
    fn servers_are_separated_by_commas() {
        assert_eq!(addresses("a:1, https://b:2,"), ["http://a:1", "https://b:2"]);
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for list in ["127.0.0.1:7070", "a.example:1,b.example:2", "http://localhost", "[::1]:7070"] {
            assert_eq!(parse_servers(list).as_deref(), Ok(list));
        }
        assert!(parse_servers("18000").unwrap_err().contains("write 127.0.0.1:18000"));
        assert!(parse_servers("localhost").unwrap_err().contains("write localhost:7070"));
        assert!(parse_servers("localhost:http").unwrap_err().contains("HOST:PORT"));
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_hours(1)));
        for wrong in ["", "s", "1w", "-1s", "0", "1.5h", "99999999999999999999"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_expiry_is_in_whole_seconds() {
        let cases = [("0", 0), ("3600", 3600), ("1h", 3600), ("7d", 604_800), ("2000ms", 2)];
        for (text, seconds) in cases {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for wrong in ["", "1500ms", "-1", "1.5h", "50000d", "h"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
