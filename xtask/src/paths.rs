//! The paths that Rust code names: in its `use` items, and in its expressions and types. Comments, strings
//! and tests name none.

use std::collections::BTreeMap;

use crate::flags::end_of;

/// What the code of a file names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Every path, as its parts: `crate::a::B` is `["crate", "a", "B"]`.
    pub(crate) paths: Vec<Vec<String>>,
    /// The paths of `pub use` items of any visibility, by the name that they export.
    pub(crate) exported: BTreeMap<String, Vec<String>>,
}

/// Finds the paths in the code of a file.
pub(crate) fn names(code: &str) -> Names {
    let tokens = without_tests(&tokens(code));
    let mut names = Names::default();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index] == "use" && is(&tokens, index + 1, is_word) {
            let is_exported = index > 0 && ["pub", ")"].contains(&tokens[index - 1].as_str());
            let mut found = Vec::new();
            index += 1;
            use_tree(&tokens, &mut index, &[], &mut found);
            for (name, path) in found {
                if is_exported {
                    names.exported.insert(name, path.clone());
                }
                names.paths.push(path);
            }
        } else if is_word(&tokens[index]) {
            let mut path = vec![tokens[index].clone()];
            while is(&tokens, index + 1, |token| token == "::") && is(&tokens, index + 2, is_word) {
                path.push(tokens[index + 2].clone());
                index += 2;
            }
            if path.len() > 1 {
                names.paths.push(path);
            }
            index += 1;
        } else {
            index += 1;
        }
    }
    names
}

fn is(tokens: &[String], index: usize, test: impl Fn(&str) -> bool) -> bool {
    tokens.get(index).is_some_and(|token| test(token))
}

fn is_word(token: &str) -> bool {
    token.starts_with(is_letter)
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Reads a tree of a `use` item from `index` on: the name that each path brings in, and the path.
fn use_tree(tokens: &[String], index: &mut usize, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*index) {
        *index += 1;
        match token.as_str() {
            "{" => {
                while *index < tokens.len() && tokens[*index] != "}" {
                    use_tree(tokens, index, &path, found);
                    *index += usize::from(is(tokens, *index, |token| token == ","));
                }
                *index += 1;
                return;
            }
            "::" => {}
            "*" => break,
            "self" if !before.is_empty() && path.len() == before.len() => {}
            word if is_word(word) => path.push(word.to_owned()),
            _ => return,
        }
        let goes_on = is(tokens, *index, |token| token == "::") || token == "::";
        if !goes_on {
            break;
        }
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if is(tokens, *index, |token| token == "as") {
        name = tokens.get(*index + 1).cloned().unwrap_or_default();
        *index += 2;
    }
    found.push((name, path));
}

/// The words and signs of Rust code; `::` is one token.
fn tokens(code: &str) -> Vec<String> {
    let letters: Vec<char> = code.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let mut index = 0;
    while index < letters.len() {
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < letters.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '"' => index = end_of(&letters, index + 1, None) + 1,
            // A character may be a quote; a lifetime has no closing quote.
            '\'' if at(index + 1) == '\\' => index = end_of_character(&letters, index + 3),
            '\'' if at(index + 2) == '\'' => index += 3,
            ':' if at(index + 1) == ':' => {
                found.push("::".to_owned());
                index += 2;
            }
            letter if is_letter(letter) => {
                let size = letters[index..].iter().take_while(|letter| is_letter(**letter)).count();
                let word: String = letters[index..index + size].iter().collect();
                index += size;
                let hashes = letters[index..].iter().take_while(|letter| **letter == '#').count();
                if word.ends_with('r') && word.len() <= 2 && at(index + hashes) == '"' {
                    index = end_of(&letters, index + hashes + 1, Some(hashes)) + 1 + hashes;
                } else {
                    found.push(word);
                }
            }
            letter => {
                if !letter.is_whitespace() {
                    found.push(letter.to_string());
                }
                index += 1;
            }
        }
    }
    found
}

/// The index after the quote that closes an escaped character.
fn end_of_character(letters: &[char], start: usize) -> usize {
    letters[start.min(letters.len())..]
        .iter()
        .position(|letter| *letter == '\'')
        .map_or(letters.len(), |quote| start + quote + 1)
}

/// The tokens without the items that only tests have.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned);
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index..].starts_with(&attribute) {
            index = end_of_item(tokens, index + attribute.len());
        } else {
            kept.push(tokens[index].clone());
            index += 1;
        }
    }
    kept
}

/// The index after an item: after its semicolon, or after the brace that closes its body.
fn end_of_item(tokens: &[String], start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token.as_str() {
            ";" if depth == 0 => return index + 1,
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        names(code).paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn use_items_and_expressions_name_paths() {
        assert_eq!(
            paths("use crate::a::{self, B, c::{D as E, F}};"),
            ["crate::a", "crate::a::B", "crate::a::c::D", "crate::a::c::F"]
        );
        assert_eq!(paths("fn f(x: &super::T) { crate::a::go::<u8>(x); x.y; }"), ["super::T", "crate::a::go"]);
        assert_eq!(paths("use a::b;\nuse c::d;"), ["a::b", "c::d"]);
        assert_eq!(paths("fn f() -> impl Fn() + use<'_> { a::b }"), ["a::b"]);
    }

    #[test]
    fn comments_strings_and_tests_name_none() {
        let code = "//! crate::a::B\nlet s = \"crate::c\"; let r = r#\"super::d\"#; let q = '\"';\n\
                    let n = '\\''; let b = b\"crate::e\";\n\
                    #[cfg(test)]\nmod tests { use super::*; fn f() { crate::x::y() } }\nuse crate::kept;";
        assert_eq!(paths(code), ["crate::kept"]);
        assert_eq!(paths("#[cfg(test)]\nmod tests;\nuse crate::kept;"), ["crate::kept"]);
    }

    #[test]
    fn exported_names_are_known_with_their_paths() {
        let exported = names("pub(crate) use a::{B, c as D};\nuse e::F;").exported;
        let shown: Vec<String> =
            exported.iter().map(|(name, path)| name.clone() + "=" + &path.join("::")).collect();
        assert_eq!(shown, ["B=a::B", "D=a::c"]);
    }
}
