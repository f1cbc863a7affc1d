//! Rule pages as HTML. Their Markdown is ours and plain: headings, paragraphs, lists, tables, fenced blocks, and within
//! lines code, emphasis and links. Raw HTML is no part of it and comes out as text.

use maud::{Markup, PreEscaped, html};

/// A block of a page.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    Heading(usize, &'a str),
    Paragraph(String),
    List(Vec<String>),
    Table(Vec<Vec<&'a str>>),
    /// What stands after the fence's ticks, and the lines inside.
    Fenced(&'a str, Vec<&'a str>),
}

/// The page; headings start at the level below `base`.
pub(super) fn render(text: &str, base: usize) -> Markup {
    html! {
        @for block in blocks(text) {
            @match block {
                Block::Heading(level, text) => (heading(base + level - 1, text)),
                Block::Paragraph(text) => p { (inline(&text)) },
                Block::List(items) => ul { @for item in items { li { (inline(&item)) } } },
                Block::Table(rows) => (table(&rows)),
                Block::Fenced("trace", lines) => (drawing(&lines.join("\n"))),
                Block::Fenced(_, lines) => pre tabindex="0" { (lines.join("\n")) },
            }
        }
    }
}

/// A drawing in a box that scrolls by itself; lines that are evidence stand out.
pub(super) fn drawing(text: &str) -> Markup {
    html! {
        pre.drawing tabindex="0" {
            @for line in text.lines() {
                @if line.contains(" << ") || line.trim_end().ends_with(" <<") { b { (line) } } @else { (line) }
                "\n"
            }
        }
    }
}

fn heading(level: usize, text: &str) -> Markup {
    match level {
        ..=2 => html! { h2 { (inline(text)) } },
        3 => html! { h3 { (inline(text)) } },
        _ => html! { h4 { (inline(text)) } },
    }
}

fn table(rows: &[Vec<&str>]) -> Markup {
    html! {
        div.scroll tabindex="0" { table {
            @if let Some(head) = rows.first() {
                thead { tr { @for cell in head { th scope="col" { (inline(cell)) } } } }
            }
            tbody { @for row in rows.iter().skip(1) { tr { @for cell in row { td { (inline(cell)) } } } } }
        } }
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut lines = text.lines();
    // Whether the next line may continue the block before it.
    let mut open = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(language) = trimmed.strip_prefix("```") {
            let inside = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push(Block::Fenced(language.trim(), inside));
            open = false;
        } else if trimmed.is_empty() {
            open = false;
        } else if let Some(heading) = heading_of(trimmed) {
            blocks.push(heading);
            open = false;
        } else if let Some(item) = trimmed.strip_prefix("- ").or_else(|| trimmed.strip_prefix("* ")) {
            match blocks.last_mut() {
                Some(Block::List(items)) if open => items.push(item.to_owned()),
                _ => blocks.push(Block::List(vec![item.to_owned()])),
            }
            open = true;
        } else if trimmed.starts_with('|') && trimmed.ends_with('|') && trimmed.len() > 1 {
            let cells: Vec<&str> = trimmed[1..trimmed.len() - 1].split('|').map(str::trim).collect();
            let is_rule = cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-:".contains(c)));
            match blocks.last_mut() {
                Some(Block::Table(_)) if open && is_rule => {}
                Some(Block::Table(rows)) if open => rows.push(cells),
                _ => blocks.push(Block::Table(vec![cells])),
            }
            open = true;
        } else {
            continue_or_start(&mut blocks, open, trimmed);
            open = true;
        }
    }
    blocks
}

fn continue_or_start(blocks: &mut Vec<Block<'_>>, open: bool, line: &str) {
    let before = match blocks.last_mut() {
        Some(Block::Paragraph(text)) if open => Some(text),
        Some(Block::List(items)) if open => items.last_mut(),
        _ => None,
    };
    if let Some(text) = before {
        text.push(' ');
        text.push_str(line);
    } else {
        blocks.push(Block::Paragraph(line.to_owned()));
    }
}

fn heading_of(line: &str) -> Option<Block<'_>> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let text = line[level..].strip_prefix(' ')?;
    (1..=6).contains(&level).then(|| Block::Heading(level, text.trim()))
}

/// Code, emphasis and links within a line. A mark without its partner is text.
pub(super) fn inline(text: &str) -> Markup {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        out.push_str(&escaped(&rest[..at]));
        let marked = &rest[at..];
        let (html, length) = mark(marked).unwrap_or_else(|| (escaped(&marked[..1]), 1));
        out.push_str(&html);
        rest = &marked[length..];
    }
    out.push_str(&escaped(rest));
    PreEscaped(out)
}

/// The mark that `text` starts with, as HTML, and its length.
fn mark(text: &str) -> Option<(String, usize)> {
    if let Some(after) = text.strip_prefix('`') {
        let end = after.find('`')?;
        return Some((html! { code { (after[..end]) } }.into_string(), end + 2));
    }
    if let Some(after) = text.strip_prefix("**") {
        let end = after.find("**").filter(|end| *end > 0)?;
        return Some((html! { strong { (inline(&after[..end])) } }.into_string(), end + 4));
    }
    if let Some(after) = text.strip_prefix('*') {
        let end = after.find('*').filter(|end| *end > 0)?;
        let inner = &after[..end];
        // `2 * 3 * 4` is arithmetic.
        let tight = !inner.starts_with(' ') && !inner.ends_with(' ');
        return tight.then(|| (html! { em { (inline(inner)) } }.into_string(), end + 2));
    }
    let close = text.find("](")?;
    let end = close + text[close..].find(')')?;
    let (name, address) = (&text[1..close], &text[close + 2..end]);
    let safe = address.starts_with("https://") || address.starts_with("http://") || address.starts_with('/');
    safe.then(|| (html! { a href=(address) rel="noreferrer" { (inline(name)) } }.into_string(), end + 1))
}

fn escaped(text: &str) -> String {
    html! { (text) }.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_page_becomes_headings_text_and_drawings() {
        let page = "One call per item.\n\n## Example\n```trace\n|==| shop  server  GET /cart\n| =| shop  db  SELECT   <<\n```\n## Remedy\nAsk for\nthe set: `WHERE id = ANY($1)`.\n\n- a\n  b\n- c\n";
        assert_eq!(
            render(page, 1).into_string(),
            "<p>One call per item.</p><h2>Example</h2><pre class=\"drawing\" tabindex=\"0\">|==| shop  server  GET /cart\n<b>| =| shop  db  SELECT   &lt;&lt;</b>\n</pre><h2>Remedy</h2><p>Ask for the set: <code>WHERE id = ANY($1)</code>.</p><ul><li>a b</li><li>c</li></ul>"
        );
    }

    #[test]
    fn a_table_has_a_head() {
        let html = render("| a | b |\n|---|:-:|\n| 1 | `x` |\n", 1).into_string();
        assert!(html.contains("<th scope=\"col\">a</th>"), "{html}");
        assert!(html.contains("<tbody><tr><td>1</td><td><code>x</code></td></tr></tbody>"), "{html}");
    }

    #[test]
    fn marks_without_a_partner_are_text() {
        for (text, html) in [
            ("a ` b", "a ` b"),
            ("2 * 3 * 4", "2 * 3 * 4"),
            ("**x", "**x"),
            ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
            ("<b>`<i>`", "&lt;b&gt;<code>&lt;i&gt;</code>"),
            (
                "see [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110)",
                "see <a href=\"https://www.rfc-editor.org/rfc/rfc9110\" rel=\"noreferrer\">RFC 9110</a>",
            ),
            ("a **bold `x`** and *soft*", "a <strong>bold <code>x</code></strong> and <em>soft</em>"),
        ] {
            assert_eq!(inline(text).into_string(), html);
        }
    }

    #[test]
    fn an_unfinished_fence_runs_to_the_end() {
        assert_eq!(render("```\na\nb", 1).into_string(), "<pre tabindex=\"0\">a\nb</pre>");
    }
}
