//! The page around a report's parts: its style, and text as HTML wants it.

/// Text that means only itself in HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A section with a heading; nothing when there is nothing in it.
pub(super) fn section(title: &str, inner: &str) -> String {
    if inner.is_empty() {
        return String::new();
    }
    format!("<section><h2>{}</h2>\n{inner}</section>\n", escaped(title))
}

/// A table of texts; nothing without rows.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells = |tag: &str, texts: &mut dyn Iterator<Item = &str>| -> String {
        texts
            .map(|text| format!("<{tag}>{}</{tag}>", escaped(text)))
            .collect()
    };
    let head = cells("th", &mut heads.iter().copied());
    let body: String = rows
        .iter()
        .map(|row| {
            let row = cells("td", &mut row.iter().map(String::as_str));
            format!("<tr>{row}</tr>\n")
        })
        .collect();
    format!(
        "<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n"
    )
}

/// The whole page. It refers to nothing outside itself.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title)
    )
}

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1c1f24; --dim: #5b6470; --line: #dfe3e8; --paper: #fbfbfa;
  --s0: #2a6fc9; --s1: #d1660a; --s2: #15916a; --s3: #8a4fd0; --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa4b0; --line: #343a42; --paper: #16191d;
  --s0: #6aa5f0; --s1: #f09a4d; --s2: #4cc79c; --s3: #b890ee; --mark: #ff8a80; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 36px 0 10px; }
p { margin: 6px 0; } .dim, figcaption { color: var(--dim); } figcaption b { color: var(--ink); }
.warn { border-left: 4px solid var(--mark); padding: 2px 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin-top: 18px; }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles b { display: block; font-size: 21px; } .tiles span { color: var(--dim); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); gap: 22px; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: var(--dim); }
.grid { stroke: var(--line); } .mark { stroke: var(--mark); stroke-dasharray: 5 4; }
.line { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); } .line.s3 { stroke: var(--s3); }
.bar.s0 { fill: var(--s0); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--dim); }
.key { display: inline-block; width: 14px; height: 3px; margin-right: 6px; vertical-align: middle; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); } .key.s2 { background: var(--s2); } .key.s3 { background: var(--s3); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 600; }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_only_text() {
        assert_eq!(
            escaped("<a b='\"&\"'>"),
            "&lt;a b=&#39;&quot;&amp;&quot;&#39;&gt;"
        );
        let table = table(&["a"], &[vec!["<script>".to_owned()]]);
        assert!(table.contains("<td>&lt;script&gt;</td>"), "{table}");
    }
}
