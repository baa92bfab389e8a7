//! The `bezant` command: starts a node, or sends requests to one.
//!
//! A command parses its arguments, asks the server, prints the answer and ends with an exit code for its
//! outcome (`exit`). Answers go to stdout, everything else to stderr. Each command is in the module of its
//! name, except for `pay` (in `transfer`), `books` (in `asset`), `export` and `import` (in `exchange`).
//! `session` holds the connection, `money` reads and writes amounts, `output` prints.
//!
//! It never holds an amount in a float, never decides about money (the ledger decides), and never sends one
//! id for two intents.
#![deny(clippy::float_arithmetic)]

mod account;
mod asset;
mod bench;
mod child;
mod cluster;
mod demo;
mod events;
mod exchange;
mod exit;
mod flags;
mod inspect;
mod json;
mod listing;
mod money;
mod output;
mod pending_change;
mod session;
mod sim;
mod start;
mod transfer;
mod verify;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use bezant_daemon::StopSignals;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use exit::Failure;
use output::Format;
use session::{Global, Session};

/// A durable ledger of accounts and transfers
#[derive(Debug, Parser)]
#[command(
    name = "bezant",
    version = env!("BEZANT_VERSION"),
    propagate_version = true,
    arg_required_else_help = true,
    after_help = exit::CODES,
    after_long_help = concat_examples()
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn concat_examples() -> String {
    format!(
        "Examples:\n  bezant start\n  bezant account create alice --asset EUR\n  bezant pay alice bob 10.50 EUR\n  \
         bezant account history alice\n  bezant verify --all\n\nAn account is named by its id or by its name: digits \
         are an id, all else is a name.\n\n{}",
        exit::CODES
    )
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Start a node
    Start(start::StartArgs),
    /// Create, show, list, name and limit accounts
    #[command(subcommand, after_help = "Example:\n  bezant account create alice --asset EUR")]
    Account(account::AccountCommand),
    /// Create, show, list, post and void transfers
    #[command(subcommand, after_help = "Example:\n  bezant transfer create alice bob 10.50 EUR --pending")]
    Transfer(transfer::TransferCommand),
    /// Move money at once
    Pay(transfer::PayArgs),
    /// List and register assets
    #[command(subcommand, after_help = "Example:\n  bezant asset register POINTS 100001 --scale 0")]
    Asset(asset::AssetCommand),
    /// Show the sums of every ledger
    Books(asset::BooksArgs),
    /// Follow the transfers as they happen
    Events(events::EventsArgs),
    /// Recompute hash chains and balances
    Verify(verify::VerifyArgs),
    /// Write a history to a file
    Export(exchange::export::ExportArgs),
    /// Create accounts and transfers from a file
    #[command(subcommand, after_help = "Example:\n  bezant import transfers transfers.csv")]
    Import(exchange::import::ImportCommand),
    /// Show the files of a stopped node
    Inspect(inspect::InspectArgs),
    /// Measure how fast a node is
    Bench(bench::BenchArgs),
    /// Show the nodes of a cluster, and change its members
    #[command(subcommand, after_help = "Example:\n  bezant cluster status --server a:7070,b:7070,c:7070")]
    Cluster(cluster::ClusterCommand),
    /// Start three nodes, pay, kill the leader, and prove that no payment was lost
    Demo(demo::DemoArgs),
    /// Run whole nodes in a simulation that tries to break them
    Sim(sim::SimArgs),
    /// Print a script that completes commands in a shell
    Completions(CompletionsArgs),
}

/// The arguments of `bezant completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bezant completions bash > /etc/bash_completion.d/bezant
  bezant completions zsh > ~/.zfunc/_bezant
  bezant completions fish > ~/.config/fish/completions/bezant.fish")]
struct CompletionsArgs {
    /// Shell of the script
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// The options for the connection to a server.
const CONNECTION: &[&str] = &["server", "timeout", "read", "session"];
/// Commands that ignore some of the options of all commands: their help does not show these options.
const WITHOUT: &[(&str, &[&str])] = &[
    ("start", &["server", "timeout", "read", "session", "output"]),
    ("demo", &["server", "timeout", "read", "session", "output"]),
    ("completions", &["server", "timeout", "read", "session", "output"]),
    ("bench", &["timeout", "read", "session"]),
    ("inspect", CONNECTION),
    ("sim", CONNECTION),
];

/// The command line, with help that shows only the options that each command uses.
fn command() -> clap::Command {
    let mut command = Cli::command();
    // Copies the options of all commands into each of them.
    command.build();
    let command = command.mut_subcommand("bench", |bench| {
        bench.mut_args(|option| {
            if option.get_id() != "server" {
                return option;
            }
            let help = "Server to measure, or several of a cluster: URL,URL [default: a node that it starts]";
            option.help(help).long_help(help).hide_env(true)
        })
    });
    WITHOUT.iter().fold(command, |command, (name, options)| {
        command.mut_subcommand(name, |subcommand| {
            subcommand.mut_args(|option| {
                let is_heeded = !options.contains(&option.get_id().as_str());
                if is_heeded { option } else { option.hide(true) }
            })
        })
    })
}

impl Cli {
    /// Parses the words of a command line.
    fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.global.is_server_named = is_named(&matches, "server");
        Ok(cli)
    }
}

/// True when the option is on the command line, before or after a command, and not only in the environment.
fn is_named(matches: &ArgMatches, option: &str) -> bool {
    matches.value_source(option) == Some(ValueSource::CommandLine)
        || matches.subcommand().is_some_and(|(_, matches)| is_named(matches, option))
}

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let format = cli.global.output;
    let filter = log_filter(std::env::var("BEZANT_LOG").ok().as_deref());
    let has_colours = io::stderr().is_terminal() && !output::is_plain();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(has_colours).with_writer(io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::from(error), format),
    };
    let result = runtime.block_on(Box::pin(run(cli)));
    // After a second stop signal the process must not wait for tasks that still run.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => report(&failure, format),
    }
}

/// The filter of the log: warnings, or the filter in `BEZANT_LOG`.
///
/// The crate `h2` warns of every connection that misbehaves, as often as an attacker likes; the server itself
/// logs that at most once a second. So warnings of `h2` are logged only when the setting names `h2`.
fn log_filter(setting: Option<&str>) -> EnvFilter {
    let wanted = setting.and_then(|setting| EnvFilter::try_new(setting).ok());
    let names_it = wanted.is_some() && setting.is_some_and(|setting| setting.contains("h2"));
    let filter = wanted.unwrap_or_else(|| EnvFilter::new("warn"));
    match "h2=error".parse() {
        Ok(directive) if !names_it => filter.add_directive(directive),
        _ => filter,
    }
}

/// Prints the failure; returns its exit code.
fn report(failure: &Failure, format: Format) -> ExitCode {
    failure.report(format);
    failure.exit_code()
}

/// Prints the help that was asked for, or the error of arguments that cannot be parsed.
fn misread(error: &clap::Error) -> ExitCode {
    let arguments: Vec<_> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    if error.use_stderr() && wants_json(&arguments) {
        return report(&Failure::Usage(error.to_string().trim_end().to_owned()), Format::Json);
    }
    // An error is ignored: a pipe that is closed early has a reader that needs no more.
    drop(error.print());
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// True when arguments that cannot be parsed as a whole contain the option for JSON.
fn wants_json(arguments: &[String]) -> bool {
    let joined = ["-ojson", "-o=json", "--output=json"];
    let is_output = |name: &String| ["-o", "--output"].contains(&&**name);
    let is_pair = |pair: &[String]| matches!(pair, [name, value] if is_output(name) && value == "json");
    arguments.iter().any(|argument| joined.contains(&&**argument)) || arguments.windows(2).any(is_pair)
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Start(args) => start::run(args).await?,
        Command::Verify(args) => verify::run(&global, &args).await?,
        Command::Inspect(args) => inspect::run(global.output, &args)?,
        Command::Cluster(command) => command.run(&global).await?,
        Command::Demo(_) | Command::Completions(_) if global.output == Format::Json => {
            return Err(Failure::Usage("this command prints only text: leave -o json out".to_owned()));
        }
        Command::Demo(args) => return demo::run(&args).await,
        Command::Sim(args) => return sim::run(&args, global.output),
        Command::Bench(args) => {
            let server = global.server.filter(|_| global.is_server_named);
            let ended = bench::run(args, server, global.output == Format::Json).await;
            return ended.map_err(|error| error.downcast().unwrap_or_else(Failure::Other));
        }
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "bezant", &mut script);
            let mut stdout = io::stdout().lock();
            stdout.write_all(&script).and_then(|()| stdout.flush()).map_err(Failure::of_output)?;
        }
        command => {
            let session = Session::connect(&global).await?;
            match &command {
                // An export to a file removes its partial file first.
                Command::Events(_) | Command::Export(_) => {}
                _ => watch_signals(&session)?,
            }
            let result = run_in_session(command, &session).await;
            let end = session.end();
            result.and(end).map_err(|failure| session.changes.explain(failure))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Handles signals from here on: a signal ends the command with a message about its changes.
fn watch_signals(session: &Session) -> Result<(), Failure> {
    let mut signals = StopSignals::new()?;
    let (changes, format) = (Arc::clone(&session.changes), session.output);
    #[expect(
        clippy::exit,
        reason = "the command itself may wait for its input, which nothing can interrupt"
    )]
    tokio::spawn(async move {
        signals.next().await;
        let failure = changes.stopped();
        failure.report(format);
        std::process::exit(failure.number().into())
    });
    Ok(())
}

/// Runs a command that uses one session with a server.
async fn run_in_session(command: Command, session: &Session) -> Result<(), Failure> {
    match command {
        Command::Account(command) => command.run(session).await,
        Command::Transfer(command) => command.run(session).await,
        Command::Pay(args) => transfer::pay(session, &args).await,
        Command::Asset(command) => command.run(session).await,
        Command::Books(args) => asset::books(session, &args).await,
        Command::Events(args) => events::run(session, &args).await,
        Command::Export(args) => exchange::export::run(session, &args).await,
        Command::Import(command) => command.run(session).await,
        _ => unreachable!("invariant: `run` keeps the others"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_h2_are_logged_only_by_name() {
        for (setting, has_h2, has_own) in [
            (None, false, true),
            (Some("debug"), false, true),
            (Some("h2=warn"), true, false),
            (Some("("), false, true),
        ] {
            let subscriber = tracing_subscriber::fmt().with_env_filter(log_filter(setting)).finish();
            tracing::subscriber::with_default(subscriber, || {
                let h2 = tracing::enabled!(target: "h2::proto::streams::recv", tracing::Level::WARN);
                let own = tracing::enabled!(target: "bezant_server::connection", tracing::Level::WARN);
                assert_eq!((h2, own), (has_h2, has_own), "{setting:?}");
            });
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_only_the_options_of_the_command() {
        let help = |name: &str| {
            let mut command = command();
            command.find_subcommand_mut(name).expect(name).render_long_help().to_string()
        };
        for (name, options) in WITHOUT {
            for option in *options {
                assert!(!help(name).contains(&format!("--{option} ")), "{name} --help shows --{option}");
            }
        }
        for option in ["--server", "--timeout", "--read", "--session", "--output"] {
            assert!(help("pay").contains(option), "{option}");
        }
        let bench = help("bench");
        assert!(bench.contains("--server") && bench.contains("--output"), "{bench}");
        assert!(!bench.contains("env: BEZANT_SERVER") && !bench.contains("127.0.0.1:7070]"), "{bench}");
    }

    #[test]
    fn the_version_begins_with_that_of_the_package() {
        assert!(env!("BEZANT_VERSION").starts_with(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn only_the_command_line_names_a_server() {
        let read = |line: &str| Cli::read(line.split(' ').map(OsString::from)).unwrap().global;
        for line in ["bezant bench --server a:7070", "bezant --server a:7070 bench"] {
            let global = read(line);
            assert!(global.is_server_named && global.server.as_deref() == Some("a:7070"), "{line}");
        }
        assert!(!read("bezant bench").is_server_named);
    }

    #[test]
    fn the_option_for_json_is_found_in_wrong_arguments() {
        let wants = |line: &str| wants_json(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in
            ["bezant pay -o json", "bezant --output json pay", "bezant pay --output=json", "bezant -ojson"]
        {
            assert!(wants(line), "{line}");
        }
        assert!(!wants("bezant pay json -o table"));
    }

    #[test]
    fn a_negative_amount_is_not_parsed_as_a_flag() {
        for line in ["pay a b -1 EUR", "transfer create a b -0.5", "transfer post 77 -8.25 EUR"] {
            let words = ["bezant"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            for subcommand in command.get_subcommands() {
                let path = format!("{path} {}", subcommand.get_name());
                let help = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("bezant "), "{path} --help shows no example");
                walk(subcommand, &path);
            }
        }
        walk(&Cli::command(), "bezant");
    }
}
