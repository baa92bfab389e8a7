//! The speed of the transfer history on this machine's disk: `cargo run --release -p bezant-runtime --example
//! history [ROWS] [FOLDER]`. Appends transfers with random ids between 10,000 accounts. A second thread
//! indexes them, as in a node. Absent ids are looked up during the appends and at the end.

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bezant_runtime::FileDisk;
use bezant_storage::disk::Disk;
use bezant_storage::{History, HistoryQuery, HistoryReader};
use bezant_types::{
    AccountFilter, AccountFilterFlags, AccountId, Balances, FetchKey, Head, HistoryPosition, LedgerNumber,
    Movement, MovementKind, Nanos, QueryFilter, Transfer, TransferFlags, TransferId,
};

const ENTRY_ROWS: u64 = 8189;
const ACCOUNTS: u64 = 10_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

fn movement(random: &mut Random, number: u64) -> Movement {
    let timestamp = Nanos(1_700_000_000_000_000_000 + number * 700);
    let debit = random.next() % ACCOUNTS;
    let credit = (debit + 1 + random.next() % (ACCOUNTS - 1)) % ACCOUNTS;
    let transfer = Transfer {
        id: TransferId(random.wide()),
        debit_account_id: AccountId(u128::from(debit) + 1),
        credit_account_id: AccountId(u128::from(credit) + 1),
        amount: 100,
        ledger: LedgerNumber(978),
        code: 1,
        flags: TransferFlags::default(),
        timestamp,
        ..Transfer::default()
    };
    let (debit, credit) = (Balances::default(), Balances::default());
    let head = Head([7; 32]);
    let kind = MovementKind::SinglePhase;
    Movement { transfer, kind, timestamp, debit, credit, debit_head: head, credit_head: head }
}

/// Processor time of the calling thread, as Linux counts it; 0 elsewhere.
fn thread_time() -> Duration {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = counts.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn per(time: Duration, count: u64) -> u128 {
    time.as_nanos() / u128::from(count.max(1))
}

fn absent(reader: &HistoryReader, random: &mut Random) -> Result<Duration, Box<dyn Error>> {
    let keys: Vec<_> = (0..ENTRY_ROWS).map(|_| FetchKey::Transfer(TransferId(random.wide()))).collect();
    let start = Instant::now();
    let found = reader.fetch(&keys)?;
    assert!(found.transfers.is_empty(), "random ids are not there");
    Ok(start.elapsed())
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", ")
}

#[expect(clippy::print_stdout, clippy::too_many_lines, reason = "a report, from top to bottom")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments.next().map_or(Ok(2_000_000), |rows| rows.parse())?;
    let folder = arguments.next().map_or_else(|| PathBuf::from("history-speed"), PathBuf::from);
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&folder)?);
    let mut history = History::open(Arc::clone(&disk), HistoryPosition::default())?;
    let reader = history.reader();
    let mut random = Random(1);

    let (to_jobs, jobs) = mpsc::channel::<bezant_storage::Job>();
    let (to_history, finished) = mpsc::channel();
    let indexer = std::thread::spawn(move || {
        for job in jobs {
            if to_history.send(job.run()).is_err() {
                break;
            }
        }
        thread_time()
    });
    let (mut waiting, mut append_cpu, mut append_wall, mut absent_wall) =
        (0_u64, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut slowest, mut absent_keys, mut next, mut backlog) = (Duration::ZERO, 0, 0, 0);
    let start = Instant::now();
    while next < rows || waiting > 0 {
        let count = ENTRY_ROWS.min(rows - next);
        let entry = Arc::new((next..next + count).map(|number| movement(&mut random, number)).collect());
        next += count;
        let (wall, cpu) = (Instant::now(), thread_time());
        history.append(entry, Arc::new(Vec::new()))?;
        let done = |outcome| finished.try_recv().map_or(outcome, Some);
        if let Some(outcome) = if count == 0 { Some(finished.recv()?) } else { done(None) } {
            history.complete(outcome?)?;
            waiting -= 1;
        }
        while let Some(job) = history.next_job() {
            to_jobs.send(job)?;
            waiting += 1;
        }
        if count > 0 {
            slowest = slowest.max(wall.elapsed());
            append_wall += wall.elapsed();
            append_cpu += thread_time().saturating_sub(cpu);
            backlog = backlog.max(history.unindexed_rows().movements);
        }
        if next.is_multiple_of(ENTRY_ROWS * 16) {
            absent_wall += absent(&reader, &mut random)?;
            absent_keys += ENTRY_ROWS;
        }
    }
    println!("{rows} rows in {:?}, the making of them included", start.elapsed());
    println!("append: {} ns of processor a row, {} ns in all", per(append_cpu, rows), per(append_wall, rows));
    println!("slowest append of {ENTRY_ROWS} rows: {slowest:?}; most rows without an index: {backlog}");
    println!("absent id, while rows came: {} ns", per(absent_wall, absent_keys));
    drop(to_jobs);
    println!("index: {} ns of processor a row", per(indexer.join().unwrap_or_default(), rows));
    let wall = Instant::now();
    history.flush()?;
    println!("flush: {:?}", wall.elapsed());
    let position = history.position();
    history.handle_checkpointed(position)?;
    let time = (0..10).map(|_| absent(&reader, &mut random)).sum::<Result<Duration, _>>()?;
    println!("absent id, at the end: {} ns", per(time, 10 * ENTRY_ROWS));
    ask(&reader, rows)?;

    let (mut row_bytes, mut index_bytes) = (0, 0);
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = entry.metadata()?.len();
        if name.contains("-index-") { index_bytes += size } else { row_bytes += size }
    }
    println!("disk a row: {} bytes of rows, {} of indexes", row_bytes / rows, index_bytes / rows);
    println!("memory: {}", memory());
    drop((history, reader));
    let wall = Instant::now();
    let history = History::open(disk, position)?;
    println!("open: {:?}; {}", wall.elapsed(), memory());
    black_box(history);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a report")]
fn ask(reader: &HistoryReader, rows: u64) -> Result<(), Box<dyn Error>> {
    let sides = AccountFilterFlags { debits: true, credits: true, reversed: true };
    for (name, limit, flags) in [
        ("newest 10 of an account", 10, sides),
        ("oldest 10 of an account", 10, AccountFilterFlags { reversed: false, ..sides }),
        ("all of an account", 8189, sides),
    ] {
        let start = Instant::now();
        let mut found = 0;
        for account in 1..=100 {
            let filter = AccountFilter {
                account_id: AccountId(account * 97),
                limit,
                flags,
                ..AccountFilter::default()
            };
            found += reader
                .read(&HistoryQuery::AccountTransfers(filter), bezant_types::MovementNumber(u64::MAX))?
                .len();
        }
        println!("{name}: {:?}, {} rows", start.elapsed() / 100, found / 100);
    }
    for (name, ledger, reversed) in
        [("oldest 8189 of a ledger", 978, false), ("newest of no ledger", 1, true)]
    {
        let start = Instant::now();
        let filter = QueryFilter {
            ledger: LedgerNumber(ledger),
            code: 1,
            limit: 8189,
            reversed,
            timestamp_min: Nanos(1_700_000_000_000_000_000 + rows * 700 / 3),
            ..QueryFilter::default()
        };
        let found =
            reader.read(&HistoryQuery::QueryTransfers(filter), bezant_types::MovementNumber(u64::MAX))?.len();
        println!("{name}: {:?}, {found} rows", start.elapsed());
    }
    Ok(())
}
