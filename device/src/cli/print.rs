//! What goes to standard output.

/// Prints a line to standard output; a reader that has gone is no error.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}
pub(super) use say;

/// Writes one line of JSON.
pub(super) fn json(value: &impl serde::Serialize) {
    say!("{}", serde_json::to_string(value).expect("plain data has a JSON form"));
}
