//! The comparison as one page that needs no other file: pictures are inlined, and nothing is loaded from anywhere.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail};

use super::comparison::{Compared, Comparison, computed, words};
use crate::results::{Column, Experiment, Table, Value};
use crate::text;

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:96rem;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;font-size:13px}
th,td{border:1px solid #8886;padding:.35rem .55rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
thead th{position:sticky;top:0;background:Canvas}
tbody th{font-weight:600}
.wide{overflow-x:auto}
.wide td{min-width:9rem;max-width:20rem}
.missing{color:#888;font-style:italic}
.wide tbody th{position:sticky;left:0;background:Canvas;z-index:1}
.cited::after{content:\" s\";font-size:75%;vertical-align:super;color:#2a6fb0}
img{max-width:100%;image-rendering:pixelated;background:#fff}
figure{margin:1rem 0}figcaption,.note,.source{color:#777;font-size:13px}";

/// The whole page; pictures are read from `folder`.
///
/// # Errors
/// When a picture cannot be read.
pub(super) fn page(comparison: &Comparison, folder: &Path) -> Result<String> {
    let mut body = String::from(
        "<h1>The other ways to offload a network privately, beside twinmask</h1>\n<p>Made by <code>alternatives \
         compare</code>. Every cell was measured by this code, or carries an <span class=\"cited\">s</span> for its \
         source: point at it. PSNR and SSIM say how much of the picture the best attack here got back: the higher, the \
         worse for privacy.</p>\n",
    );
    body += &main_table(&comparison.rows, folder)?;
    for (known, found) in &comparison.experiments {
        body += &format!("<h2>{}</h2>\n", escape(known.title));
        match found {
            Some(found) => body += &about(found, folder)?,
            None => {
                body += &format!("<p class=\"missing\">not run: <code>alternatives run {}</code></p>\n", known.name)
            }
        }
        let own = found.iter().flat_map(|f| f.tables.clone());
        for (title, table) in own.chain(computed(known)) {
            body += &format!("<h3>{}</h3>\n{}", escape(&title), own_table(&table));
        }
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Beside \
         twinmask</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    ))
}

fn main_table(rows: &[Compared], folder: &Path) -> Result<String> {
    let heads: String = rows.iter().map(|r| format!("<th>{}</th>", escape(&r.row.method))).collect();
    let mut out = format!("<div class=\"wide\"><table><thead><tr><th></th>{heads}</tr></thead><tbody>\n");
    for column in Column::ALL {
        out += &format!("<tr><th>{}</th>", escape(column.title()));
        for row in rows {
            out += &cell(row, column, folder)?;
        }
        out += "</tr>\n";
    }
    Ok(out + "</tbody></table></div>\n")
}

fn cell(row: &Compared, column: Column, folder: &Path) -> Result<String> {
    let cell = match row.cell(column) {
        Err(missing) => return Ok(format!("<td class=\"missing\">{}</td>", escape(&missing.replace('`', "")))),
        Ok(cell) => cell,
    };
    let title = cell.source.as_ref().map_or_else(String::new, |s| format!(" title=\"{}\"", escape(s)));
    let class = match (&cell.value, cell.measured) {
        (Value::Number(_), true) => " class=\"n\"",
        (Value::Number(_), false) => " class=\"n cited\"",
        (Value::Text(_), true) => "",
        (Value::Text(_), false) => " class=\"cited\"",
    };
    let picture = cell.picture.as_ref().map(|p| image(folder, p, column.title())).transpose()?.unwrap_or_default();
    Ok(format!("<td{class}{title}>{picture}{}</td>", escape(&words(cell))))
}

fn about(found: &Experiment, folder: &Path) -> Result<String> {
    let mut out = format!(
        "<p class=\"source\">budget <code>{}</code>, seed {}, {} s on {}</p>\n",
        escape(&found.budget),
        found.seed,
        text::number(found.took_s),
        escape(&found.machine)
    );
    for (title, file) in &found.pictures {
        let image = image(folder, file, title)?;
        out += &format!("<figure>{image}<figcaption>{}</figcaption></figure>\n", escape(title));
    }
    if !found.differences.is_empty() {
        let items: String = found.differences.iter().map(|d| format!("<li>{}</li>", escape(d))).collect();
        out += &format!("<p>How it differs from what was published:</p><ul>{items}</ul>\n");
    }
    Ok(out)
}

fn own_table(table: &Table) -> String {
    let heads: String = table.columns.iter().map(|c| format!("<th>{}</th>", escape(c))).collect();
    let cell = |v: &Value| {
        let class = if matches!(v, Value::Number(_)) { " class=\"n\"" } else { "" };
        format!("<td{class}>{}</td>", escape(&text::value(v)))
    };
    let row = |row: &Vec<Value>| format!("<tr>{}</tr>\n", row.iter().map(cell).collect::<String>());
    let rows: String = table.rows.iter().map(row).collect();
    let note = table.note.as_ref().map_or_else(String::new, |n| format!("<p class=\"note\">{}</p>\n", escape(n)));
    format!("<div class=\"wide\"><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n{note}")
}

/// The picture `file` of the folder as an element that holds it.
fn image(folder: &Path, file: &str, title: &str) -> Result<String> {
    if !matches!(Path::new(file).components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
        bail!("picture '{file}' is no file name");
    }
    let kind = match file.rsplit_once('.').map(|(_, end)| end) {
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        _ => bail!("picture '{file}' is neither PNG nor SVG"),
    };
    let path = folder.join(file);
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(format!("<img alt=\"{}\" src=\"data:{kind};base64,{}\">", escape(title), base64(&bytes)))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |w, &b| w << 8 | u32::from(b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let known = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in known {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn pictures_are_files_of_the_folder() {
        for file in ["../x.png", "/x.png", "a/b.png", "x.gif", ""] {
            assert!(image(Path::new("/nowhere"), file, "").is_err(), "{file}");
        }
    }
}
