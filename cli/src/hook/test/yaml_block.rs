//! Changing one key of a YAML file, by its lines: everything else stays as it was written.

/// As it would stand in a case.
pub fn yaml<T: serde::Serialize>(value: &T) -> String {
    serde_saphyr::to_string(value).unwrap_or_default().trim_end().to_owned()
}

/// Replaces the value of a key among the lines of one mapping whose keys are indented by `indent`, or adds it at the end.
pub fn replaced(lines: &[&str], indent: usize, key: &str, block: &str) -> String {
    let is_key = |line: &&str| {
        indent_of(line) == Some(indent)
            && line.trim_start().strip_prefix(key).is_some_and(|rest| rest.starts_with(':'))
    };
    let join = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let Some(start) = lines.iter().position(is_key) else {
        return join(lines) + block;
    };
    // A list may stand as far to the left as its key.
    let is_next = |line: &&str| {
        let is_item = line.trim_start().starts_with("- ");
        indent_of(line).is_some_and(|other| other < indent || other == indent && !is_item)
    };
    let length = lines[start + 1..].iter().position(is_next);
    let mut end = length.map_or(lines.len(), |length| start + 1 + length);
    // Empty lines and comments before the next key are its own.
    while end > start + 1 && indent_of(lines[end - 1]).is_none() {
        end -= 1;
    }
    join(&lines[..start]) + block + &join(&lines[end..])
}

/// How far a line is indented; none for one that is empty or a comment.
pub fn indent_of(line: &str) -> Option<usize> {
    let text = line.trim_start();
    (!text.is_empty() && !text.starts_with('#')).then(|| line.len() - text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_with_all_that_is_below_it() {
        for list in ["- a\n- b: 1\n  c: 2\n", "  - a\n", "  b: 1\n\n  # Of b.\n  c:\n  - 2\n"] {
            let text = format!("first: 1\nhost:\n{list}# Of last.\nlast: 2\n");
            let lines: Vec<&str> = text.lines().collect();
            let wanted = "first: 1\nhost: []\n# Of last.\nlast: 2\n";
            assert_eq!(replaced(&lines, 0, "host", "host: []\n"), wanted, "{list}");
        }
    }
}
