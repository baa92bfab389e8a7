//! Runs a target over many inputs, detects panics and hangs, and prints how to reproduce them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::{Mutator, Target};

/// The time after which an input counts as a hang. A target normally reads 64 KiB in a thousandth of this
/// time.
const HANG: Duration = Duration::from_secs(20);

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After that number of inputs.
    Inputs(u64),
    /// After that time, checked between two inputs.
    Time(Duration),
}

/// The result of a run without a failure.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Number of inputs that were tried.
    pub inputs: u64,
    /// Duration of the run.
    pub elapsed: Duration,
    /// Duration of the slowest input.
    pub slowest: Duration,
}

/// An input on which the target panicked or hung.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Name of the target.
    pub target: &'static str,
    /// The input.
    pub input: Vec<u8>,
    /// Number of inputs that were tried before it.
    pub inputs: u64,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "{} failed after {} inputs. Replay:", self.target, self.inputs)?;
        let hex = to_hex(&self.input);
        write!(formatter, "cargo run --release -p bezant-fuzz -- --target {} --replay {hex}", self.target)
    }
}

impl std::error::Error for Failure {}

/// The bytes as hex, as the driver prints and reads them.
fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("invariant: writing to a String succeeds");
        hex
    })
}

/// Runs `target` first on its unchanged seeds and then on inputs made from them, until `limit` or the first
/// failure.
///
/// A hanging input cannot be stopped from inside the process: after 20 seconds the input is printed and the
/// process aborts.
pub fn run(target: &Target, seed: u64, limit: Limit) -> Result<Report, Failure> {
    let seeds = (target.seeds)();
    let mut mutator = Mutator::new(&seeds, seed);
    let watch = Watch::start(target.name);
    let start = Instant::now();
    let mut report = Report { inputs: 0, elapsed: Duration::ZERO, slowest: Duration::ZERO };
    let mut originals = seeds.iter().cloned();
    loop {
        let is_over = match limit {
            Limit::Inputs(inputs) => report.inputs >= inputs,
            Limit::Time(time) => report.elapsed >= time,
        };
        if is_over {
            return Ok(report);
        }
        let input = originals.next().unwrap_or_else(|| mutator.next_input());
        let began = start.elapsed();
        watch.begin(&input);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            return Err(Failure { target: target.name, input, inputs: report.inputs });
        }
        report.elapsed = start.elapsed();
        report.slowest = report.slowest.max(report.elapsed.saturating_sub(began));
        report.inputs += 1;
    }
}

/// Runs `target` on one input, given as hex.
pub fn replay(target: &Target, hex: &str) -> anyhow::Result<()> {
    anyhow::ensure!(hex.len().is_multiple_of(2), "hex needs two digits per byte");
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.ok_or_else(|| anyhow::anyhow!("hex allows only the digits 0 to 9 and a to f"))?;
    let input: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (target.run)(&input);
    Ok(())
}

/// Watches the current input from another thread, until it is dropped.
struct Watch {
    current: Arc<Mutex<(Instant, Vec<u8>)>>,
    _end: mpsc::Sender<()>,
}

impl Watch {
    fn start(target: &'static str) -> Self {
        let current = Arc::new(Mutex::new((Instant::now(), Vec::new())));
        let (end, ended) = mpsc::channel::<()>();
        let watched = Arc::clone(&current);
        std::thread::spawn(move || {
            while ended.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                let (since, input) = &*watched.lock().unwrap_or_else(PoisonError::into_inner);
                if since.elapsed() > HANG {
                    report_hang(target, input);
                    std::process::abort();
                }
            }
        });
        Self { current, _end: end }
    }

    fn begin(&self, input: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.0 = Instant::now();
        current.1.clear();
        current.1.extend_from_slice(input);
    }
}

#[expect(clippy::print_stderr, reason = "the process aborts next, so no caller can report this")]
fn report_hang(target: &'static str, input: &[u8]) {
    eprintln!("hang: {}", Failure { target, input: input.to_vec(), inputs: 0 });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks_on_a_flipped_first_byte(input: &[u8]) {
        assert_eq!(input.first().copied().unwrap_or(b'g'), b'g', "the parser trusts its input");
    }

    const FRAGILE: Target = Target {
        name: "fragile",
        about: "a parser that trusts its input",
        seeds: || vec![b"good".to_vec()],
        run: breaks_on_a_flipped_first_byte,
    };

    #[test]
    fn a_panic_is_found_and_its_input_replays() {
        let failure = run(&FRAGILE, 1, Limit::Inputs(10_000)).unwrap_err();
        assert_ne!(failure.input[0], b'g');
        let hex = to_hex(&failure.input);
        assert!(failure.to_string().contains(&hex));
        assert!(catch_unwind(|| replay(&FRAGILE, &hex)).is_err());
        replay(&FRAGILE, &to_hex(b"good")).unwrap();
    }

    #[test]
    fn every_target_survives_a_short_run() {
        for target in crate::TARGETS {
            let report = run(target, 1, Limit::Inputs(300)).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(report.inputs, 300, "{}", target.name);
        }
    }
}
