//! The file of settings, in TOML: one for a node, or one that all nodes of a cluster share.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::SettingsError;

/// The settings of a file. Whatever it leaves out is `None` or empty.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    #[serde(default)]
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) tigerbeetle_listen: Option<String>,
    /// A number, or a string for numbers that TOML cannot hold.
    pub(crate) tigerbeetle_cluster: Option<ClusterNumber>,
    pub(crate) token: Option<String>,
    pub(crate) engine: Option<String>,
    #[serde(default)]
    pub(crate) nodes: Vec<FileNode>,
}

/// A node in the file that all nodes share. A missing `listen`, `data_dir` or `tigerbeetle_listen` is taken
/// from the top level of the file; a missing `peer_listen` is `peer`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileNode {
    pub(crate) id: u64,
    /// The address at which the other nodes reach it.
    pub(crate) peer: String,
    pub(crate) peer_listen: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) tigerbeetle_listen: Option<String>,
}

/// A number of up to 128 bits. In the file it is a number if it fits into 63 bits, else a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ClusterText")]
pub(crate) struct ClusterNumber(pub(crate) u128);

#[derive(Deserialize)]
#[serde(untagged)]
enum ClusterText {
    Number(u64),
    Text(String),
}

impl TryFrom<ClusterText> for ClusterNumber {
    type Error = std::num::ParseIntError;

    fn try_from(text: ClusterText) -> Result<Self, Self::Error> {
        Ok(Self(match text {
            ClusterText::Number(number) => number.into(),
            ClusterText::Text(text) => text.parse()?,
        }))
    }
}

impl SettingsFile {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let what = format!("{}{}", place(&text, &error), error.message());
            SettingsError::Toml { path: path.to_owned(), what }
        })
    }
}

/// The line of the file with the error, and its key: messages of the parser name no key.
fn place(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return String::new() };
    let at = before.matches('\n').count();
    let line = text.lines().nth(at).unwrap_or_default().trim();
    let key = line.split_once('=').map(|(key, _)| format!(", {}", key.trim())).unwrap_or_default();
    format!("line {}{key}: ", at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_a_number_or_a_string_with_one() {
        let cluster = |text: &str| {
            toml::from_str::<SettingsFile>(&format!("tigerbeetle_cluster = {text}\n"))
                .ok()
                .and_then(|file| file.tigerbeetle_cluster)
        };
        assert_eq!(cluster("7"), Some(ClusterNumber(7)));
        assert_eq!(cluster(&format!("\"{}\"", u128::MAX)), Some(ClusterNumber(u128::MAX)));
        assert_eq!((cluster("-1"), cluster("\"x\"")), (None, None));
    }

    #[test]
    fn an_error_of_the_file_names_its_line_and_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "listen = \"127.0.0.1:1\"\ndata_dir = 7\n").unwrap();
        let error = SettingsFile::read(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 2, data_dir: "), "{error}");
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<SettingsFile>("listen = \"127.0.0.1:1\"\n").is_ok());
        let error = toml::from_str::<SettingsFile>("lisen = \"127.0.0.1:1\"\n").unwrap_err();
        assert!(error.message().contains("lisen"), "the error names it: {error}");
    }
}
