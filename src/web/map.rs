//! The map of services: who asks whom, from left to right, coloured by the worst open finding. Drawn here, so that it
//! needs no script; the table beside it says the same in words.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::layout::encoded;
use super::words;
use crate::rules::Severity;
use crate::store::{EdgeRow, ServiceRow};

/// Most services on a picture that can still be read: those that stand in the most calls.
const MAX_NODES: usize = 60;
const COLUMN: f64 = 270.0;
const ROW: f64 = 58.0;
const WIDTH: f64 = 170.0;
const HEIGHT: f64 = 38.0;
/// Longest name in a box, in letters.
const LETTERS: usize = 18;

struct Node<'a> {
    name: &'a str,
    service: Option<&'a ServiceRow>,
    x: f64,
    y: f64,
}

/// The picture; nothing where nobody asks anybody.
pub(super) fn draw(services: &[ServiceRow], edges: &[EdgeRow]) -> Markup {
    // Edges come most calls first, so the first names are the busiest.
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for name in edges.iter().flat_map(|edge| [edge.caller.as_str(), edge.callee.as_str()]) {
        if shown.len() < MAX_NODES {
            shown.insert(name);
        }
    }
    if shown.is_empty() {
        return Markup::default();
    }
    let all: BTreeSet<&str> =
        edges.iter().flat_map(|edge| [edge.caller.as_str(), edge.callee.as_str()]).collect();
    let edges: Vec<&EdgeRow> = edges
        .iter()
        .filter(|edge| shown.contains(edge.caller.as_str()) && shown.contains(edge.callee.as_str()))
        .collect();
    let columns = arranged(columns(&shown, &edges), &edges);
    let nodes = place(&columns, services);
    let height = columns.iter().map(Vec::len).max().unwrap_or_default() as f64 * ROW + 8.0;
    let width = columns.len() as f64 * COLUMN - (COLUMN - WIDTH) + 8.0;
    html! {
        figure.map {
            div.scroll tabindex="0" {
                svg role="group" aria-labelledby="map-title" width=(width) height=(height)
                    viewBox={ "0 0 " (width) " " (height) } {
                    title id="map-title" { "Who asks whom: " (words::counted(shown.len() as i64, "service", "services")) }
                    // A line from a service to itself would run through its box.
                    @for edge in edges.iter().filter(|edge| edge.caller != edge.callee) { (line(edge, &nodes)) }
                    @for node in nodes.values() { (boxed(node)) }
                }
            }
            @if shown.len() < all.len() {
                figcaption { "The busiest " (shown.len()) " of " (all.len()) "; the table holds all services." }
            }
        }
    }
}

/// Names, each right of all who ask it. A circle is entered where it is first reached.
fn columns<'a>(shown: &BTreeSet<&'a str>, edges: &[&'a EdgeRow]) -> Vec<Vec<&'a str>> {
    let mut left = shown.clone();
    let mut depth: BTreeMap<&str, usize> = BTreeMap::new();
    while let Some(name) = next(&left, &depth, edges) {
        left.remove(name);
        let own = *depth.entry(name).or_default();
        for edge in edges.iter().filter(|edge| edge.caller == name && left.contains(edge.callee.as_str())) {
            let known = depth.entry(&edge.callee).or_default();
            *known = (*known).max(own + 1);
        }
    }
    let mut columns: Vec<Vec<&str>> = Vec::new();
    for (name, column) in depth {
        if columns.len() <= column {
            columns.resize(column + 1, Vec::new());
        }
        columns[column].push(name);
    }
    columns
}

/// Each column ordered by where those stand who ask, so that few lines cross.
fn arranged<'a>(mut columns: Vec<Vec<&'a str>>, edges: &[&EdgeRow]) -> Vec<Vec<&'a str>> {
    let mut heights: BTreeMap<&str, f64> = BTreeMap::new();
    for column in &mut columns {
        let callers = |name: &str| {
            let callers = edges.iter().filter(|edge| edge.callee == name);
            let known: Vec<f64> =
                callers.filter_map(|edge| heights.get(edge.caller.as_str()).copied()).collect();
            known.iter().sum::<f64>() / known.len().max(1) as f64
        };
        let mut placed: Vec<(f64, &str)> = column.iter().map(|name| (callers(name), *name)).collect();
        placed.sort_by(|one, other| one.0.total_cmp(&other.0));
        *column = placed.into_iter().map(|(_, name)| name).collect();
        let middle = column.len() as f64 / 2.0;
        heights.extend(column.iter().enumerate().map(|(row, name)| (*name, row as f64 - middle)));
    }
    columns
}

/// One that nobody left asks; in a circle the one that stands furthest left.
fn next<'a>(
    left: &BTreeSet<&'a str>,
    depth: &BTreeMap<&'a str, usize>,
    edges: &[&'a EdgeRow],
) -> Option<&'a str> {
    let is_asked = |name: &str| {
        edges
            .iter()
            .any(|edge| edge.callee == name && edge.caller != name && left.contains(edge.caller.as_str()))
    };
    let free = left.iter().copied().find(|name| !is_asked(name));
    free.or_else(|| left.iter().copied().min_by_key(|name| depth.get(name).copied().unwrap_or(usize::MAX)))
}

fn place<'a>(columns: &[Vec<&'a str>], services: &'a [ServiceRow]) -> BTreeMap<&'a str, Node<'a>> {
    let most = columns.iter().map(Vec::len).max().unwrap_or_default() as f64;
    let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for (column, names) in columns.iter().enumerate() {
        let above = (most - names.len() as f64) / 2.0;
        for (row, name) in names.iter().copied().enumerate() {
            let service = services.iter().find(|service| service.name == name);
            let x = 4.0 + column as f64 * COLUMN;
            let y = 4.0 + (above + row as f64) * ROW;
            nodes.insert(name, Node { name, service, x, y });
        }
    }
    nodes
}

fn line(edge: &EdgeRow, nodes: &BTreeMap<&str, Node<'_>>) -> Markup {
    let (from, to) = (&nodes[edge.caller.as_str()], &nodes[edge.callee.as_str()]);
    let (x1, y1, x2, y2) = (from.x + WIDTH, from.y + HEIGHT / 2.0, to.x, to.y + HEIGHT / 2.0);
    let bend = ((x2 - x1).abs() / 2.0).max(24.0);
    let path = format!("M{x1:.0},{y1:.0} C{:.0},{y1:.0} {:.0},{y2:.0} {x2:.0},{y2:.0}", x1 + bend, x2 - bend);
    // Ten times the calls, one step thicker.
    let thick = 1.0 + (edge.pace.count.max(1) as f64).log10() * 0.6;
    html! {
        path class={ "edge " (colour(edge.worst)) } d=(path) stroke-width=(format!("{thick:.1}")) {
            title {
                (edge.caller) " → " (edge.callee) ": " (words::counted(edge.pace.count, "call", "calls")) ", 95 % within "
                (words::duration(edge.pace.p95_ms))
                @if let Some(worst) = edge.worst { ", worst finding " (worst.id()) }
            }
        }
    }
}

fn boxed(node: &Node<'_>) -> Markup {
    let worst = node.service.and_then(|service| service.worst);
    let below = match node.service {
        Some(service) => format!("95 % within {}", words::duration(service.pace.p95_ms)),
        None => "sends no spans".to_owned(),
    };
    let shape = html! {
        rect class={ "node " (colour(worst)) } x=(node.x) y=(node.y) width=(WIDTH) height=(HEIGHT) rx="6" {}
        text x=(node.x + 10.0) y=(node.y + 16.0) { (cut(node.name)) }
        text.below x=(node.x + 10.0) y=(node.y + 30.0) { (below) }
        title { (node.name) @if let Some(worst) = worst { ", worst finding " (worst.id()) } }
    };
    html! {
        @if node.service.is_some() { a href={ "/services/" (encoded(node.name)) } { (shape) } } @else { g.outside { (shape) } }
    }
}

fn colour(worst: Option<Severity>) -> &'static str {
    worst.map_or("fine", Severity::id)
}

fn cut(name: &str) -> String {
    let mut letters = name.chars();
    let head: String = letters.by_ref().take(LETTERS).collect();
    if letters.next().is_some() { format!("{head}…") } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Pace;

    fn edge(caller: &str, callee: &str) -> EdgeRow {
        let pace = Pace { count: 10, error_ratio: 0.0, p50_ms: 1.0, p95_ms: 2.0 };
        EdgeRow { caller: caller.into(), callee: callee.into(), pace, worst: None }
    }

    fn depths(edges: &[EdgeRow]) -> Vec<Vec<String>> {
        let edges: Vec<&EdgeRow> = edges.iter().collect();
        let names = edges.iter().flat_map(|edge| [edge.caller.as_str(), edge.callee.as_str()]).collect();
        columns(&names, &edges)
            .iter()
            .map(|column| column.iter().map(|it| (*it).to_owned()).collect())
            .collect()
    }

    #[test]
    fn who_is_asked_stands_right_of_who_asks() {
        let shop = [edge("web", "cart"), edge("cart", "db"), edge("web", "pay"), edge("pay", "db")];
        assert_eq!(depths(&shop), [vec!["web"], vec!["cart", "pay"], vec!["db"]]);
        let shortcut = [edge("web", "db"), edge("web", "pay"), edge("pay", "db")];
        assert_eq!(depths(&shortcut), [vec!["web"], vec!["pay"], vec!["db"]]);
    }

    #[test]
    fn who_is_asked_stands_at_the_height_of_who_asks() {
        let edges = [edge("a", "z"), edge("b", "y"), edge("c", "x")];
        let edges: Vec<&EdgeRow> = edges.iter().collect();
        let columns = arranged(vec![vec!["a", "b", "c"], vec!["x", "y", "z"]], &edges);
        assert_eq!(columns, [vec!["a", "b", "c"], vec!["z", "y", "x"]]);
    }

    #[test]
    fn circles_and_those_who_ask_themselves_end() {
        assert_eq!(depths(&[edge("a", "b"), edge("b", "a")]), [vec!["a"], vec!["b"]]);
        assert_eq!(depths(&[edge("a", "a")]), [vec!["a"]]);
    }

    #[test]
    fn a_picture_stays_readable_and_says_what_it_leaves_out() {
        let many: Vec<EdgeRow> = (0..100).map(|number| edge("web", &format!("<b>{number:03}"))).collect();
        let drawn = draw(&[], &many).into_string();
        assert_eq!(drawn.matches("<rect").count(), MAX_NODES);
        assert!(drawn.contains("The busiest 60 of 101") && !drawn.contains("<b>"), "{drawn}");
        assert_eq!(draw(&[], &[]).into_string(), "");
        assert!(!draw(&[], &[edge("a", "a")]).into_string().contains("<path"));
    }
}
