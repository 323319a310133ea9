//! Class names: one Unicode form for all, and notes about misleading names.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

/// A class name in Unicode's composed form (NFC), in which names are stored and compared.
///
/// macOS decomposes file names (NFD), in ZIP archives too, so the same `é` may be one character or
/// two. By the Unicode standard (UAX #15) the two are the same name.
#[must_use]
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// Number of groups of names that a note lists.
const LISTED: usize = 5;

/// A note about names of different classes that a reader may mistake for each other.
pub(super) fn similar_note(classes: &[String]) -> Option<String> {
    let mut alike: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for class in classes {
        alike.entry(skeleton(class)).or_default().push(class);
    }
    let groups: Vec<String> = alike
        .into_values()
        .filter(|names| names.len() > 1)
        .map(|names| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" and "))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let more = if groups.len() > LISTED {
        format!("; and {} more", groups.len() - LISTED)
    } else {
        String::new()
    };
    Some(format!(
        "These classes are kept apart, but their names differ only in letter case, spaces, `_` or \
         `-`: {}{more}. Give them the same \
         name if they mean the same.",
        groups[..groups.len().min(LISTED)].join("; ")
    ))
}

/// A name without the features that are easily overlooked: letter case, blanks, `_` and `-`, and
/// Unicode's compatibility forms (NFKC) such as fullwidth letters. Between two digits a separator
/// counts: `1-2` is not `12`, and `-1` is not `1`.
fn skeleton(name: &str) -> String {
    let is_blank = |letter: char| {
        letter.is_whitespace() || matches!(letter, '_' | '\u{200b}'..='\u{200d}' | '\u{feff}')
    };
    let letters: Vec<char> =
        name.trim_matches(is_blank).nfkc().flat_map(char::to_lowercase).collect();
    let mut skeleton = String::new();
    let mut separated = false;
    for (place, &letter) in letters.iter().enumerate() {
        if is_blank(letter) || letter == '-' && place > 0 {
            separated = true;
            continue;
        }
        if separated
            && letter.is_ascii_digit()
            && skeleton.ends_with(|last: char| last.is_ascii_digit())
        {
            skeleton.push('_');
        }
        skeleton.push(letter);
        separated = false;
    }
    // If a name consists of separators, they count.
    if skeleton.is_empty() { name.to_owned() } else { skeleton }
}

/// A note for names that are numbers: readers may take them for the indices of the model's outputs,
/// which they are not.
pub(super) fn numbers_note(classes: &[String]) -> Option<String> {
    const SHOWN: usize = 20;
    let numbers = classes.iter().all(|class| class.bytes().all(|byte| byte.is_ascii_digit()));
    if !numbers || classes.iter().enumerate().all(|(place, class)| *class == place.to_string()) {
        return None;
    }
    let map: Vec<String> = classes
        .iter()
        .enumerate()
        .take(SHOWN)
        .map(|(place, class)| format!("{place} is {class:?}"))
        .collect();
    let more = if classes.len() > SHOWN {
        format!(" and {} more", classes.len() - SHOWN)
    } else {
        String::new()
    };
    Some(format!(
        "The class names are numbers. Regraft always shows the name; the index among the model's \
         outputs is another number: {}{more}.",
        map.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_named_once_each() {
        let note = |names: &[&str]| {
            similar_note(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        for pair in [
            ["Cat", "cat"],
            ["cat", "cat "],
            [" cat", "cat"],
            ["hot dog", "hot_dog"],
            ["hot-dog", "hotdog"],
            ["hot  dog", "hot dog"],
            ["cat\u{a0}", "cat"],
            ["c\u{200b}at", "cat"],
            ["\u{ff43}at", "cat"],
            ["\u{c9}t\u{e9}", "\u{e9}t\u{e9}"],
        ] {
            let said = note(&pair).unwrap_or_else(|| panic!("{pair:?}"));
            assert!(said.contains(&format!("{:?} and {:?}", pair[0], pair[1])), "{said}");
        }
        for others in [
            &["1-2", "12"][..],
            &["-1", "1"],
            &["1_0", "10", "1"],
            &["cat", "cats"],
            &["e", "\u{e9}"],
            &["_", "-"],
            &[],
        ] {
            assert_eq!(note(others), None, "{others:?}");
        }
        let many: Vec<String> =
            (0..7).flat_map(|place| [format!("a{place}"), format!("A{place}")]).collect();
        assert!(similar_note(&many).unwrap().contains("\"a4\" and \"A4\"; and 2 more"));
    }
}
