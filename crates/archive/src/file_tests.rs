//! Exports that are changed, cut and forged.

use std::io::Write;

use super::*;
use crate::lines::{ExportWriter, FileFormat};
use crate::packed::packed;
use crate::walk::tests::history;
use bezant_types::{AccountView, Movement, MovementKind, MovementNumber};

fn file(format: FileFormat, views: &[AccountView], rows: &[(MovementNumber, Movement)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::new(&mut bytes, format, None).unwrap();
    views.iter().try_for_each(|view| writer.account(view)).unwrap();
    rows.iter().try_for_each(|(number, movement)| writer.movement(*number, movement)).unwrap();
    let (accounts, movements) = (views.len() as u64, rows.len() as u64);
    writer.end(End { accounts, movements, is_exact: true }).unwrap();
    bytes
}

fn verify_bytes(bytes: &[u8]) -> Result<Verified, ArchiveError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    verify(file.path(), None)
}

/// True when the content of an export is wrong: it was damaged or forged.
fn is_of_content(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Damaged { .. } | ArchiveError::Broken { .. })
}

fn fails(bytes: &[u8]) -> bool {
    verify_bytes(bytes).is_err_and(|error| is_of_content(&error))
}

#[test]
fn a_correct_export_verifies() {
    let (rows, views) = history();
    for format in [FileFormat::Jsonl, FileFormat::Csv] {
        let covered = verify_bytes(&file(format, &views, &rows)).unwrap().covered;
        assert_eq!((covered.movements, covered.transfers), (9, 8), "{format:?}");
    }
}

#[test]
fn a_packed_export_verifies_and_its_damage_is_found() {
    let (rows, views) = history();
    for format in [FileFormat::Jsonl, FileFormat::Csv] {
        let whole = packed(&file(format, &views, &rows));
        assert_eq!(verify_bytes(&whole).unwrap().covered.movements, 9, "{format:?}");
        for size in [2, 12, whole.len() / 2, whole.len() - 1] {
            let error = verify_bytes(&whole[..size]).unwrap_err();
            assert!(is_of_content(&error), "{format:?}, {size}: {error}");
            assert!(error.to_string().contains("does not unpack"), "{format:?}, {size}: {error}");
        }
        let twice = verify_bytes(&packed(&whole)).unwrap_err().to_string();
        assert!(twice.contains("compressed twice"), "{twice}");
    }
    let error = verify_bytes(b"\x28\xb5\x2f\xfd rest").unwrap_err().to_string();
    assert!(error.contains("unpack it with unzstd"), "{error}");
}

#[test]
fn every_flipped_bit_of_the_file_is_found() {
    let (rows, views) = history();
    for format in [FileFormat::Jsonl, FileFormat::Csv] {
        let bytes = file(format, &views, &rows);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(fails(&changed), "{format:?}: a bit of byte {at} is not found");
        }
    }
}

#[test]
fn a_file_of_something_else_is_not_called_damaged() {
    for text in
        ["root:x:0:0:root:/root:/bin/bash\n", "id,name,asset\n1,alice,EUR\n", "{\"id\":1}\n", "x", "\n\n"]
    {
        let error = verify_bytes(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ArchiveError::NotAnExport { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains("no export of Bezant"), "{text:?}: {error}");
    }
}

#[test]
fn an_export_of_one_account_verifies_only_with_its_account() {
    let (rows, _) = history();
    let id = AccountId(1);
    let is_own = |movement: &Movement| {
        let transfer = &movement.transfer;
        let is_side = [transfer.debit_account_id, transfer.credit_account_id].contains(&id);
        is_side && movement.kind != MovementKind::Expired
    };
    let own: Vec<_> = rows.into_iter().filter(|(_, movement)| is_own(movement)).collect();
    let bytes = file(FileFormat::Csv, &[], &own);
    let error = verify_bytes(&bytes).unwrap_err();
    assert!(matches!(error, ArchiveError::Broken { is_maybe_of_one: true, .. }), "{error}");
    let mut of_one = tempfile::NamedTempFile::new().unwrap();
    of_one.write_all(&bytes).unwrap();
    assert_eq!(verify(of_one.path(), Some(id)).unwrap().covered.movements, own.len() as u64);
}

#[test]
fn a_cut_file_is_found() {
    let (rows, views) = history();
    for format in [FileFormat::Jsonl, FileFormat::Csv] {
        let bytes = file(format, &views, &rows);
        for size in 0..bytes.len() {
            assert!(fails(&bytes[..size]), "{format:?}: cut after {size} bytes");
        }
    }
}

#[test]
fn a_damaged_line_is_named_with_its_movement_and_transfer() {
    let (rows, views) = history();
    let text = String::from_utf8(file(FileFormat::Jsonl, &views, &rows)).unwrap();
    let changed = text.replacen("\"amount\":\"7\"", "\"amount\":\"8\"", 1);
    let error = verify_bytes(changed.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("line 7 (movement 2, transfer 12)"), "{error}");
}

#[test]
fn a_forged_row_with_good_checksums_breaks_the_chains() {
    let (mut rows, views) = history();
    rows[2].1.transfer.amount += 1;
    rows[2].1.debit.debits_posted += 1;
    let error = verify_bytes(&file(FileFormat::Jsonl, &views, &rows)).unwrap_err().to_string();
    assert!(error.contains("movement 2 (transfer 12)"), "{error}");
}

#[test]
fn marks_and_line_ends_of_other_systems_are_no_damage() {
    let (rows, views) = history();
    for format in [FileFormat::Jsonl, FileFormat::Csv] {
        let text = String::from_utf8(file(format, &views, &rows)).unwrap();
        for other in [format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
            assert_eq!(verify_bytes(other.as_bytes()).unwrap().covered.movements, 9, "{format:?}");
        }
        let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let error = verify_bytes(&utf16).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }
}
