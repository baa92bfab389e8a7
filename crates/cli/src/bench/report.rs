//! The figures of a run, as a table or as JSON.

use std::io::{self, Write};

use anyhow::Result;
use bezant_load::{IdOrder, Latency, Report};

/// Writes the figures to standard output.
pub(super) fn print(report: &Report, as_json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
    } else {
        write_table(report, &mut out)?;
    }
    Ok(())
}

fn write_table(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let order = match report.id_order {
        IdOrder::Sequential => "growing",
        IdOrder::Random => "random",
    };
    writeln!(
        out,
        "{} transfers, {} a request, {} client(s), {order} ids, {} accounts, {} processors, {}",
        thousands(report.transfers),
        thousands(report.batch),
        report.clients,
        thousands(report.accounts),
        report.processors,
        if report.protocol == "grpc" { "gRPC" } else { "TigerBeetle's protocol" }
    )?;
    writeln!(out)?;
    writeln!(out, "{:<36} {:>12}", "transfers a second", thousands(report.transfers_per_second))?;
    writeln!(out, "{:<36} {:>12}", "seconds", decimal(report.elapsed_milliseconds, 3))?;
    if report.retries > 0 {
        writeln!(out, "{:<36} {:>12}", "requests tried again", thousands(report.retries))?;
    }
    if let Some(bytes) = report.server_memory_peak_bytes {
        writeln!(out, "{:<36} {:>12}", "peak memory of the server, MiB", thousands(bytes >> 20))?;
    }
    if let Some(bytes) = report.disk_bytes_per_transfer {
        writeln!(out, "{:<36} {:>12}", "bytes on disk a transfer", thousands(bytes))?;
    }
    if let Some(microseconds) = report.restart_microseconds {
        writeln!(out, "{:<36} {:>12}", "seconds to restart after kill -9", decimal(microseconds / 1000, 3))?;
    }
    writeln!(out)?;
    writeln!(out, "{:<36} {:>12} {:>12} {:>12}", "milliseconds", "p50", "p99", "p100")?;
    write_latency(out, "request of transfers", report.request_latency_microseconds)?;
    for query in &report.queries {
        write_latency(out, query.name, query.latency_microseconds)?;
    }
    writeln!(out)?;
    writeln!(out, "every transfer was accepted, and the books balance")
}

fn write_latency(out: &mut impl Write, name: &str, latency: Latency) -> io::Result<()> {
    let [p50, p99, p100] = [latency.p50, latency.p99, latency.p100].map(|value| decimal(value, 3));
    writeln!(out, "{name:<36} {p50:>12} {p99:>12} {p100:>12}")
}

/// A number with its last `places` digits after a decimal point: 1234 with 3 is `1.234`.
fn decimal(number: u64, places: usize) -> String {
    let digits = format!("{number:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{whole}.{fraction}")
}

/// A number with commas between thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_separators() {
        assert_eq!(thousands(2_000_000), "2,000,000");
        assert_eq!(thousands(819), "819");
        assert_eq!(decimal(12_345, 3), "12.345");
        assert_eq!(decimal(7, 3), "0.007");
    }
}
