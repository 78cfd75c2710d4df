//! Logs on stderr: text for people, JSON for whatever collects logs.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

/// Variables that hold a filter where no option does; the first that is set and good counts.
const VARIABLES: [&str; 2] = ["TWINMASK_LOG", "RUST_LOG"];

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter is none.
    #[error("log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("log filter: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Logs to stderr from now on: text on a terminal, one JSON object per line into pipes and files.
///
/// `filter` is a level or a list as in `RUST_LOG` (`info,quinn=warn`); without one `TWINMASK_LOG` or `RUST_LOG` count,
/// and `default` without those.
///
/// # Errors
/// A filter that is none, or a second call in one process.
pub fn start_log(filter: Option<&str>, default: LevelFilter) -> Result<(), LogError> {
    let filter = match filter {
        Some(text) => text.parse()?,
        None => from_environment(|name| std::env::var(name).ok(), default),
    };
    Ok(lines(filter, std::io::stderr().is_terminal(), std::io::stderr).try_init()?)
}

fn from_environment(variable: impl Fn(&str) -> Option<String>, default: LevelFilter) -> Targets {
    let mut found = VARIABLES.iter().filter_map(|name| variable(name)?.parse().ok());
    found.next().unwrap_or_else(|| Targets::new().with_default(default))
}

/// A log of lines that go to `writer`.
fn lines<W>(filter: Targets, people_read: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(people_read);
    let layer = if people_read { layer.boxed() } else { layer.json().boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, people_read: bool) -> String {
        let written = Written::default();
        let writer = written.clone();
        let log = lines(filter.parse().expect("a filter"), people_read, move || writer.clone());
        tracing::subscriber::with_default(log, || {
            tracing::info!(answer = 42, "loud");
            tracing::debug!("quiet");
        });
        let bytes = written.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn people_get_text_and_services_json() {
        let text = logged("info", true);
        assert!(text.contains("INFO") && text.contains("loud") && !text.contains('{'), "{text}");
        let json = logged("info", false);
        assert!(json.starts_with('{') && json.contains(r#""fields":{"message":"loud","answer":42}"#), "{json}");
        assert_eq!((text.lines().count(), json.lines().count()), (1, 1));
    }

    #[test]
    fn filters_are_levels_or_lists() {
        assert_eq!(logged("off", false), "");
        assert_eq!(logged("debug", false).lines().count(), 2);
        assert_eq!(logged("warn,twinmask_settings=debug", false).lines().count(), 2);
        assert_eq!(logged("debug,twinmask_settings=warn", false), "");
        let error = start_log(Some("quinn=loud"), LevelFilter::INFO).expect_err("no level");
        assert!(matches!(error, LogError::Filter(_)) && error.to_string().starts_with("log filter: "), "{error}");
    }

    #[test]
    fn our_variable_comes_first_and_a_bad_one_counts_for_nothing() {
        let chosen = |ours: Option<&str>, rusts: Option<&str>| {
            let of = |name: &str| if name == "TWINMASK_LOG" { ours } else { rusts };
            from_environment(|name| of(name).map(str::to_owned), LevelFilter::WARN).default_level()
        };
        assert_eq!(chosen(Some("debug"), Some("error")), Some(LevelFilter::DEBUG));
        assert_eq!(chosen(Some("a=loud"), Some("error")), Some(LevelFilter::ERROR));
        assert_eq!(chosen(None, None), Some(LevelFilter::WARN));
    }
}
